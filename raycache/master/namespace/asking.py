"""Look-ups on their way to the lake: each need is asked once at a time, however many wait for its answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from raycache.errors import RaycacheError
from raycache.master.namespace.lookups import Need

#: Takes the needs that failed.
Then: TypeAlias = Callable[[dict[Need, RaycacheError]], None]


class Asking:
    """The needs that have been asked and not answered yet."""

    def __init__(self) -> None:
        self._waiting: dict[Need, list[Callable[[Need, RaycacheError | None], None]]] = {}

    def __len__(self) -> int:
        """Needs on their way."""
        return len(self._waiting)

    def ask(self, needs: Sequence[Need], then: Then) -> list[Need]:
        """Wait for the answers to some needs.

        Args:
            needs: what is to be known.
            then: called when all of them are answered; at once without needs.

        Returns:
            The needs that are not on their way yet: the caller asks the lake, and says `answered` of each, whatever happens.
        """
        failed: dict[Need, RaycacheError] = {}
        left = dict.fromkeys(needs)

        def answered(need: Need, error: RaycacheError | None) -> None:
            del left[need]
            if error is not None:
                failed[need] = error
            if not left:
                then(failed)

        new = [need for need in left if need not in self._waiting]
        for need in left:
            self._waiting.setdefault(need, []).append(answered)
        if not left:
            then(failed)
        return new

    def answered(self, need: Need, error: RaycacheError | None) -> None:
        """The lake has answered, or could not be asked."""
        for one in self._waiting.pop(need):
            one(need, error)
