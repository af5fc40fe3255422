"""Buffers that are freed stay with the process, until they are given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raycache.workers.stores import allocator

_PROGRAM = """
from pathlib import Path
import numpy as np
from raycache.workers.stores.allocator import give_back, keep_buffers

def held_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

keep_buffers()
before = held_mb()
buffers = [np.ones(1 << 23, np.uint8) for _ in range(16)]
del buffers
kept = held_mb() - before
give_back()
print(kept > 100, held_mb() - before < 30)
"""


@pytest.mark.skipif(allocator._glibc() is None, reason="another C library")
def test_freed_buffers_are_kept_and_given_back() -> None:
    """In a process of its own, since it is for good."""
    found = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["True", "True"]
