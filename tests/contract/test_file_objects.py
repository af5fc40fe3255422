"""File objects answer as Python's own do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.errors import InvalidRequestError
from tests.support.file_objects import CONTENT, THINGS_TO_DO, outcome
from tests.support.lone_filesystem import BytesFile


@pytest.mark.parametrize("name", THINGS_TO_DO)
def test_a_file_answers_as_open_does(tmp_path: Path, name: str) -> None:
    """Values, positions, and which kind of error, for everything in the table; or as `BytesIO` does, where they differ."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as stock:
        allowed = [outcome(stock, THINGS_TO_DO[name]), outcome(io.BytesIO(CONTENT), THINGS_TO_DO[name])]
        assert outcome(BytesFile(CONTENT), THINGS_TO_DO[name]) in allowed


_NUMBERS = st.integers(-3, 60)
_STEPS = st.one_of(
    st.tuples(st.just("read"), _NUMBERS),
    st.tuples(st.just("read1"), _NUMBERS),
    st.tuples(st.just("readline"), _NUMBERS),
    st.tuples(st.just("seek"), _NUMBERS),
    st.tuples(st.just("tell")),
    st.tuples(st.just("close")),
)


@settings(max_examples=300, deadline=None)
@given(st.text("ab\n", max_size=50).map(str.encode), st.lists(_STEPS, max_size=12))
def test_any_steps_end_where_those_of_bytesio_end(content: bytes, steps: list[tuple[Any, ...]]) -> None:
    """Each step gives the same, whatever came before it."""
    stock, ours = io.BytesIO(content), BytesFile(content)
    for method, *arguments in steps:

        def step(file: Any, method: str = method, arguments: list[Any] = arguments) -> Any:
            return getattr(file, method)(*arguments)

        if method == "read1" and arguments[0] < 0:
            continue  # how much that is, is up to the file
        assert outcome(stock, step) == outcome(ours, step), (method, arguments)


@settings(max_examples=300, deadline=None)
@given(st.text("ab\r\n", max_size=60).map(str.encode), st.text("ab\r\n", min_size=1, max_size=5), st.integers(0, 9))
def test_readuntil_ends_behind_the_mark(content: bytes, mark: str, chunk_bytes: int) -> None:
    """Also where the mark is longer than what is looked at, and where it lies across two looks."""
    file, left, pieces = BytesFile(content), content, []
    char = mark.encode()
    while left:
        end = left.find(char)
        wanted, left = (left, b"") if end < 0 else (left[: end + len(char)], left[end + len(char) :])
        pieces.append(file.readuntil(char, chunk_bytes))
        assert wanted == pieces[-1]
    assert b"" == file.readuntil(char, chunk_bytes)
    with pytest.raises(InvalidRequestError):
        file.readuntil(b"")


def test_a_file_is_not_pickled_by_accident() -> None:
    """It says so at once, as Python's own files do."""
    import pickle

    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(BytesFile(b"x"))
