"""Whether load jobs are filling this worker, and since when: what they brought is not given up for copies between tiers."""

from __future__ import annotations

#: A job that has not asked for so long does not fill any more.
FILL_S = 60.0
_NEVER = float("inf")


class Filling:
    """The load jobs that ask this worker for blocks, as one."""

    def __init__(self) -> None:
        self._since_s = _NEVER
        self._until_s = -_NEVER

    def asked(self, since_s: float, now_s: float) -> None:
        """A load job that began then asks for blocks; infinity: it is none."""
        if since_s == _NEVER:
            return
        if now_s >= self._until_s:
            self._since_s = _NEVER
        self._since_s = min(self._since_s, since_s)
        self._until_s = now_s + FILL_S

    def spared_since_s(self, now_s: float) -> float:
        """What was loaded or used since then stays where it is; infinity: nothing is spared."""
        return self._since_s if now_s < self._until_s else _NEVER
