"""All of `epochs-large`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.large import own_order, placed, simulated
from benchmarks.large.lake import stage
from benchmarks.measure import Finding, Shown

PARTS = ("simulated", "placed", "own-order")


def measure(only: Sequence[str]) -> list[Finding]:
    """Run the parts, all by default; about half an hour."""
    chosen = only or PARTS
    found = Shown()
    if "simulated" in chosen:
        print(simulated.table())
        found += simulated.measure()
    if "placed" in chosen or "own-order" in chosen:
        with stage() as where:
            if "own-order" in chosen:
                found += own_order.measure(where)
            if "placed" in chosen:
                found += placed.measure(where)
    return found
