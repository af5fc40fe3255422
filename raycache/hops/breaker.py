"""Which peers are left alone, since they were silent when they were asked.

A circuit breaker as a plain object. A peer that was silent is not asked again until it has answered what it was asked
before, or until its rest is over. Then one caller may try it, and the others go on leaving it alone for as long again. Each
further silence doubles the rest, up to a bound. Any answer ends it.

Source: Nygard, Release It!, 2007, "Circuit Breaker".
"""

from __future__ import annotations

from typing import NamedTuple

#: Of the longest rest to the first.
_REST_GROWTH_MAX = 6.0
#: Names that are remembered; those of workers that are gone are never answered for.
_PEERS_MAX = 4_096


class Resting(NamedTuple):
    """A peer that is left alone."""

    peer: str
    #: How long from now.
    left_s: float
    #: How often it was silent in a row.
    silences: int


class _Rest(NamedTuple):
    until_s: float
    rest_s: float
    silences: int


class Breaker:
    """One process's view of its peers, by name. Safe to use from several threads: each step is one change of a dict.

    Args:
        rest_s: how long a peer is left alone after its first silence.
    """

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._rests: dict[str, _Rest] = {}
        #: How often a peer was silent, all together.
        self.silences = 0

    def silent(self, peer: str, now_s: float) -> None:
        """A peer showed no sign of life for as long as it was waited for."""
        self.silences += 1
        before = self._rests.get(peer)
        if before is None and len(self._rests) >= _PEERS_MAX:
            self._rests.pop(next(iter(self._rests)))
        longest_s = _REST_GROWTH_MAX * self._rest_s
        rest_s = self._rest_s if before is None else min(2 * before.rest_s, longest_s)
        self._rests[peer] = _Rest(now_s + rest_s, rest_s, 1 if before is None else before.silences + 1)

    def answered(self, peer: str) -> None:
        """A peer has answered, if only now what it was asked long ago."""
        if self._rests:
            self._rests.pop(peer, None)

    def admits(self, peer: str, now_s: float) -> bool:
        """Whether a peer may be asked. True for one caller when its rest is over: who was admitted says what came of it."""
        rest = self._rests.get(peer) if self._rests else None
        if rest is None:
            return True
        if now_s < rest.until_s:
            return False
        self._rests[peer] = rest._replace(until_s=now_s + rest.rest_s)
        return True

    def resting(self, now_s: float) -> list[Resting]:
        """The peers that are left alone, those that were silent first before others."""
        return [
            Resting(peer, max(0.0, rest.until_s - now_s), rest.silences) for peer, rest in list(self._rests.items())
        ]
