"""Faults in the rewriting of segments, and in what a restart finds, are each caught; see `test_planted_faults`."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.workers.tiers import compaction
from raycache.workers.tiers.compaction import Compaction
from raycache.workers.tiers.tiers import Tiers

from .engine import ViolationError
from .node import Slot
from .plan import _of_small_files, plan_of
from .scenario import simulate

SEEDS_MAX = 60


def caught_by() -> str:
    """As in `test_planted_faults`, in plans of small files."""
    for seed in range(SEEDS_MAX):
        try:
            simulate(seed, _of_small_files(plan_of(seed)))
        except ViolationError as error:
            print(f"seed {seed}: {error}")
            return error.checker
    return ""


def test_a_freed_block_that_a_restart_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is freed singly must be noted beside the file."""
    monkeypatch.setattr(Slot, "forget", lambda self, segment, blocks: None)
    assert caught_by() == "FreedStaysFreed"


def test_a_rewritten_segment_with_the_old_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks move to the front when those before them are left out."""
    monkeypatch.setattr(compaction.SegmentEntry, "_replace", lambda self, **changes: self)
    assert caught_by() in ("ReadsAreOfOneVersion", "ServicesKeepTheirInvariants")


def test_a_rewritten_segment_that_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader has the old copy mapped: it is dropped when the lease ends, not before."""

    def settle_one(self: Tiers, segment: Any) -> None:
        now_s = self._out.now_s
        if segment.draining and not segment.holds:
            self._out.now_s = float("inf")
        original(self, segment)
        self._out.now_s = now_s

    original = Tiers.settle_one
    monkeypatch.setattr(Tiers, "settle_one", settle_one)
    assert caught_by() == "LeasesAreKept"


def test_room_for_a_rewrite_that_is_not_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy needs room beside the segment until it takes its place."""
    monkeypatch.setattr(Compaction, "reserved_bytes", lambda self, tier: 0)
    assert caught_by() == "ServicesKeepTheirInvariants"
