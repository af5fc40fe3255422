"""What all connections of the proxy share: counters, shape, faults; and the gate their bodies pass."""

from __future__ import annotations

import threading
import time
from typing import Any

from raycache.testing.proxy.policy import Fault, FaultKind, Faults, Pacer, RequestKind, Shape

_PIECE_BYTES_MAX = 1 << 20
_PIECE_BYTES_MIN = 4 << 10
#: A paced body moves in pieces that take about so long.
_PIECE_S = 0.02


class Controls:
    """What all connections share: counters, shape, faults. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults = Faults()
        self._total_pacer = Pacer()
        self.shape = Shape()
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self._requests = dict.fromkeys(RequestKind, 0)
            self._data_bytes = 0
            self._faults_injected = 0
            #: `bucket/key` -> [data requests, bytes].
            self._by_key: dict[str, list[int]] = {}

    def counters(self) -> dict[str, Any]:
        """The fields of `ProxyCounters`."""
        with self._lock:
            counts: dict[str, Any] = {f"{kind}_requests": count for kind, count in self._requests.items()}
            by_key = {name: tuple(entry) for name, entry in self._by_key.items()}
            return {
                **counts,
                "data_bytes": self._data_bytes,
                "by_key": by_key,
                "faults_injected": self._faults_injected,
            }

    def inject(self, rules: list[Fault], seed: int) -> None:
        """Put other faults in force."""
        with self._lock:
            self._faults = Faults(rules, seed)

    def begin(self, kind: RequestKind, name: str, byte_range: str) -> FaultKind | None:
        """Count a request, and say what is to go wrong with it."""
        with self._lock:
            self._requests[kind] += 1
            if kind is RequestKind.DATA:
                self._by_key.setdefault(name, [0, 0])[0] += 1
            fate = self._faults.draw(kind, name, byte_range)
            self._faults_injected += fate is not None
            return fate

    def count_data(self, name: str, length: int) -> None:
        """Count bytes of a data request's body."""
        with self._lock:
            self._data_bytes += length
            self._by_key.setdefault(name, [0, 0])[1] += length

    def reserve_total(self, length: int, now_s: float) -> float:
        """When these bytes may have passed as far as all connections together are concerned."""
        with self._lock:
            return self._total_pacer.reserve(length, self.shape.total_bytes_per_s, now_s)


class BodyGate:
    """Counts and paces one body.

    Args:
        controls: the shared state.
        pacer: of the connection.
        counted_name: the key whose data bytes these are; None for other bodies.
    """

    def __init__(self, controls: Controls, pacer: Pacer, counted_name: str | None) -> None:
        self._controls = controls
        self._pacer = pacer
        self._counted_name = counted_name
        shape = controls.shape
        slowest = min(filter(None, (shape.connection_bytes_per_s, shape.total_bytes_per_s)), default=0.0)
        wanted = int(slowest * _PIECE_S) if slowest else _PIECE_BYTES_MAX
        self.piece_bytes = max(_PIECE_BYTES_MIN, min(_PIECE_BYTES_MAX, wanted))

    def __call__(self, length: int) -> None:
        # Counted before it is sent: once a client has read a body, all of it is counted.
        if self._counted_name is not None:
            self._controls.count_data(self._counted_name, length)
        now_s = time.monotonic()
        own_s = self._pacer.reserve(length, self._controls.shape.connection_bytes_per_s, now_s)
        wait_s = max(own_s, self._controls.reserve_total(length, now_s)) - now_s
        if wait_s > 0:
            time.sleep(wait_s)
