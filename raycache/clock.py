"""Time as an argument: rules take `now_s`, services take a `Clock`. And times of files as moments."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """A source of monotonic seconds."""

    def now_s(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    # On the way of every read: this costs a call less than a method.
    now_s = staticmethod(time.monotonic)


class ManualClock:
    """A clock that moves only when told: for tests and the simulator."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds` >= 0."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        self._now_s += seconds


def moment_of(time_ns: int | None) -> dt.datetime | None:
    """Nanoseconds since the epoch, within 64 bits, as a moment; None is not known."""
    return None if time_ns is None else dt.datetime.fromtimestamp(time_ns / 1e9, tz=dt.UTC)
