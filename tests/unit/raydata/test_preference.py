"""What a process wishes of placement, by its environment."""

from __future__ import annotations

import pytest

from raycache.errors import InvalidRequestError
from raycache.raydata.preference import cached_goes_first, placement_wait_s


@pytest.mark.parametrize(("given", "expected_s"), [("", 5.0), ("0", 0.0), (" 2.5 ", 2.5)])
def test_how_long_tasks_wait_for_their_node(monkeypatch: pytest.MonkeyPatch, given: str, expected_s: float) -> None:
    """A number of seconds, or the default."""
    monkeypatch.setenv("RAYCACHE_PLACEMENT_WAIT_S", given)
    assert expected_s == placement_wait_s()


@pytest.mark.parametrize("given", ["-1", "soon", "nan"])
def test_nonsense_is_said(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """With the variable's name."""
    monkeypatch.setenv("RAYCACHE_PLACEMENT_WAIT_S", given)
    with pytest.raises(InvalidRequestError, match="RAYCACHE_PLACEMENT_WAIT_S"):
        placement_wait_s()


def test_the_order_of_tasks_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached first, unless it is to be as planned; anything else is said."""
    for given, expected in (("", True), ("cached-first", True), ("planned", False)):
        monkeypatch.setenv("RAYCACHE_PLACEMENT_ORDER", given)
        assert expected == cached_goes_first()
    monkeypatch.setenv("RAYCACHE_PLACEMENT_ORDER", "random")
    with pytest.raises(InvalidRequestError, match="RAYCACHE_PLACEMENT_ORDER"):
        cached_goes_first()
