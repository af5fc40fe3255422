"""Deliveries of counts; the receiver counts each of them once."""

from __future__ import annotations

from collections import OrderedDict

from raycache.messages.figures import Delivery

#: Readers whose last delivery is remembered; one that is silent for longer than this many others is forgotten.
_READERS_MAX = 10_000


class Deliveries:
    """Knows which deliveries were seen: a reader repeats one until it is acknowledged."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()

    def is_new(self, delivery: Delivery) -> bool:
        """Whether a delivery has not been seen; from now on it has."""
        if delivery.number <= self._last.get(delivery.reader, 0):
            return False
        self.note(delivery.reader, delivery.number)
        return True

    def note(self, reader: str, number: int) -> None:
        """A reader's deliveries up to this one have been seen, by whomever."""
        self._last[reader] = max(number, self._last.get(reader, 0))
        self._last.move_to_end(reader)
        if len(self._last) > _READERS_MAX:
            self._last.popitem(last=False)

    def saved(self) -> dict[str, int]:
        """The last number seen of each reader: for a checkpoint."""
        return dict(self._last)

    def restore(self, saved: dict[str, int]) -> None:
        """Go on from what an earlier receiver had seen."""
        self._last.update(saved)
