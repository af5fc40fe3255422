"""How fast links bring bytes, and how much is therefore asked for at a time. Pure: the clock is the caller's.

A request that breaks off is sent again from its beginning, and nothing of it can be handed out before it has ended. So one
request is to take a few seconds at most: over a fast link that is as much as anyone wants of a file at a time, over a slow
one it is a part of a block. What counts is what one request brings while the others run, since that is what it will get.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

#: What one request is to take.
_REQUEST_S = 8.0
#: Smaller ranges cost more in requests than they save in bytes.
RANGE_BYTES_MIN = 1 << 20
#: Shorter reads are as long as their way there and back, and tell nothing of the link.
_MEASURED_BYTES_MIN = 128 << 10
#: Of the newest measurement, in the running average.
_WEIGHT = 0.3
_LINKS_MAX = 256


class LinkSpeeds:
    """Bytes per second of one request, by store. Thread-safe."""

    def __init__(self) -> None:
        self._bytes_per_s: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, root_uri: str, length: int, took_s: float) -> None:
        """Take in that a read of `length` bytes took so long."""
        if length < _MEASURED_BYTES_MIN:
            return
        speed = length / max(took_s, 1e-6)
        with self._lock:
            known = self._bytes_per_s.get(root_uri, speed)
            self._bytes_per_s[root_uri] = known + _WEIGHT * (speed - known)
            if len(self._bytes_per_s) > _LINKS_MAX:
                self._bytes_per_s.popitem(last=False)

    def range_bytes(self, root_uri: str, length: int) -> int:
        """How many of `length` bytes to ask for at a time; whole MiB, or all of them. As much as wanted of an unknown link."""
        speed = self._bytes_per_s.get(root_uri)
        if speed is None or speed * _REQUEST_S >= length:
            return length
        return min(length, max(1, int(speed * _REQUEST_S / RANGE_BYTES_MIN)) * RANGE_BYTES_MIN)
