"""How fast loads may ask the lake: a rate, and a window that shrinks when the lake says "slow down". Time as an argument.

`TokenBucket` holds one job to its bandwidth. There is one `Congestion` for all loads of the cluster: a complaint to one
worker counts for all, since it is the same lake. Additive increase, multiplicative decrease, as TCP does it: halved at most once
in `CUT_PERIOD_S`, because the requests on the way when the lake first complained complain too; grown with every answer
that brings no complaint, by about a twentieth of the full window a second.

Source: Chiu & Jain, "Analysis of the increase and decrease algorithms for congestion avoidance", 1989.
"""

from __future__ import annotations

CUT_PERIOD_S = 1.0
GROW_PERIOD_S = 0.5
GROW_SHARE = 0.025


class TokenBucket:
    """A rate of bytes, with a burst. May be overdrawn by one batch, and then waits until that is paid for.

    Args:
        rate_bytes_s: > 0.
        burst_bytes: what may go at once after a pause.
        now_s: it starts full.
    """

    def __init__(self, rate_bytes_s: float, burst_bytes: float, now_s: float) -> None:
        self._rate_bytes_s = rate_bytes_s
        self._burst_bytes = burst_bytes
        self._level_bytes = burst_bytes
        self._at_s = now_s

    def ready(self, now_s: float) -> bool:
        """Whether something may go now."""
        self._fill(now_s)
        return self._level_bytes > 0

    def take(self, size_bytes: float, now_s: float) -> None:
        """Something goes; a negative size gives back what did not go after all."""
        self._fill(now_s)
        self._level_bytes = min(self._burst_bytes, self._level_bytes - size_bytes)

    def _fill(self, now_s: float) -> None:
        if now_s > self._at_s:
            grown = self._level_bytes + (now_s - self._at_s) * self._rate_bytes_s
            self._level_bytes = min(self._burst_bytes, grown)
            self._at_s = now_s


class Congestion:
    """The window of requests that all loads together may have on the way to the lake. Without complaints: no limit.

    Args:
        full_requests: what the workers send at most by themselves; a window that has grown to it is open again.
    """

    def __init__(self) -> None:
        #: None: open.
        self.window: float | None = None
        self._cut_s = float("-inf")
        self._grown_s = float("-inf")
        #: By worker incarnation: complaints it has counted.
        self._heard: dict[tuple[str, int], int] = {}

    def answered(self, worker: str, epoch: int, slow_downs: int, full_requests: int, now_s: float) -> None:
        """A worker has answered a load.

        Args:
            worker, epoch: of the answer; the count of an earlier incarnation is no news.
            slow_downs: complaints of the lake it has counted since its start.
            full_requests: what all workers together send at most by themselves, >= 1.
            now_s: the time.
        """
        known = self._heard.get((worker, epoch))
        if known is None:
            for other in [key for key in self._heard if key[0] == worker]:
                del self._heard[other]
        self._heard[worker, epoch] = max(slow_downs, known or 0)
        if known is not None and slow_downs > known:
            if now_s - self._cut_s >= CUT_PERIOD_S:
                now = full_requests if self.window is None else min(self.window, full_requests)
                self.window = max(1.0, now / 2)
                self._cut_s = now_s
        elif self.window is not None and now_s - max(self._grown_s, self._cut_s) >= GROW_PERIOD_S:
            self.window += max(1.0, full_requests * GROW_SHARE)
            self._grown_s = now_s
            if self.window >= full_requests:
                self.window = None

    def room(self, inflight_requests: int) -> int | None:
        """How many more requests may go now; None without limit. One may always go when none is on the way."""
        if self.window is None:
            return None
        return max(0 if inflight_requests else 1, int(self.window) - inflight_requests)
