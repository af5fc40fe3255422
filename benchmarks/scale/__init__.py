"""How the control plane scales: synthetic members and files over the real services. `make bench-scale`.

`master_half` is what one master takes at a thousand workers and many files. Memory is measured in processes of its own.
"""

from __future__ import annotations

from benchmarks.measure import Finding
from benchmarks.scale import master_half


def measure() -> list[Finding]:
    """All of it; some minutes."""
    return master_half.measure()
