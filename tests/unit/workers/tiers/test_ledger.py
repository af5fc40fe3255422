"""The books of a tier."""

from __future__ import annotations

import pytest

from raycache.types import Tier
from raycache.workers.tiers.ledger import TierLedger


def test_bytes_go_from_reserved_to_used_to_free() -> None:
    """Every booking moves bytes, none makes or loses any."""
    ledger = TierLedger(Tier.MEMORY, 10)
    ledger.reserve(6)
    ledger.commit(4)
    ledger.cancel(2)
    assert (ledger.used_bytes, ledger.reserved_bytes, ledger.free_bytes) == (4, 0, 6)
    ledger.release(4)
    assert ledger.free_bytes == 10


@pytest.mark.parametrize(
    ("verb", "size"), [("reserve", 5), ("commit", 4), ("cancel", 4), ("release", 4), ("reserve", -1)]
)
def test_a_booking_that_cannot_be_is_an_error_with_the_story(verb: str, size: int) -> None:
    """More than is free, reserved or used cannot be booked, and nothing changes."""
    ledger = TierLedger(Tier.DISK, 10)
    ledger.reserve(6)
    ledger.commit(3)
    with pytest.raises(AssertionError, match="capacity 10, used 3, reserved 3"):
        getattr(ledger, verb)(size)
    assert (ledger.used_bytes, ledger.reserved_bytes) == (3, 3)


def test_under_a_lowered_capacity_only_giving_back_is_possible() -> None:
    """What is used stays booked; nothing can be reserved until enough is released."""
    ledger = TierLedger(Tier.MEMORY, 10)
    ledger.reserve(8)
    ledger.commit(8)
    ledger.resize(4)
    assert ledger.free_bytes == -4
    with pytest.raises(AssertionError):
        ledger.reserve(1)
    ledger.release(6)
    ledger.reserve(2)
    assert ledger.free_bytes == 0
