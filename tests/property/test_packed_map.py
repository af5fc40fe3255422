"""The packed map against a sorted dictionary: the same keys, values and ranges, whatever was done before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sortedcontainers import SortedDict

from raycache.master.namespace import packed_map
from raycache.master.namespace.packed_map import PackedMap

_KEYS = st.one_of(
    st.text("ab/0.", max_size=6),
    st.sampled_from(["", "a/\udcff", "a/\U0001f600", "a/\uffff", "é/漢", "a/0", "a/00", "a//", "b/" * 40]),
)
_VALUES = st.binary(max_size=40)


class _Maps(RuleBasedStateMachine):
    """Chunks of four, two of them open, so that they are cut, packed and emptied all the time."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(packed_map, "_CHUNK_MAX", 4)
        self.patch.setattr(packed_map, "_OPEN_MAX", 2)
        self.found, self.model = PackedMap(), SortedDict[str, bytes]()

    def teardown(self) -> None:
        self.patch.undo()

    @rule(key=_KEYS, value=_VALUES)
    def put(self, key: str, value: bytes) -> None:
        self.found[key] = self.model[key] = value

    @rule(many=st.dictionaries(_KEYS, _VALUES, max_size=12))
    def update(self, many: dict[str, bytes]) -> None:
        self.found.update(many)
        self.model.update(many)

    @rule(key=_KEYS, value=_VALUES)
    def put_if_absent(self, key: str, value: bytes) -> None:
        self.found.setdefault(key, value)
        self.model.setdefault(key, value)

    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        if self.model:
            key = data.draw(st.sampled_from(list(self.model)))
            del self.found[key], self.model[key]

    @rule(key=_KEYS)
    def look(self, key: str) -> None:
        assert self.model.get(key) == self.found.get(key)
        assert self.model.get(key, b"-") == self.found.get(key, b"-")
        assert (key in self.model) == (key in self.found)
        if key not in self.model:
            with pytest.raises(KeyError):
                del self.found[key]
            with pytest.raises(KeyError):
                self.found[key]

    @rule(low=st.none() | _KEYS, high=st.none() | _KEYS, inclusive=st.tuples(st.booleans(), st.booleans()))
    def range(self, low: str | None, high: str | None, inclusive: tuple[bool, bool]) -> None:
        expected = list(self.model.irange(low, high, inclusive))
        assert expected == list(self.found.irange(low, high, inclusive))
        assert [self.model[key] for key in expected] == [
            self.found[key] for key in self.found.irange(low, high, inclusive)
        ]

    @invariant()
    def the_same(self) -> None:
        if hasattr(self, "found"):
            assert list(self.model) == list(self.found.irange())
            assert len(self.model) == len(self.found)


TestMaps = _Maps.TestCase
TestMaps.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
