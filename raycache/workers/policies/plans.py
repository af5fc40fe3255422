"""What readers have told of the order in which they will read: when each file is wanted next. Pure.

Theory of operation. A plan is a sequence of files, told piece by piece. How far it has come is seen by what is asked for:
several processes may read one plan side by side, each a little ahead of the others, so a position counts as passed when its
file is asked for within `slack` positions of the furthest one, or when the furthest one is `slack` past it. Uses of all plans
stand on one scale, of positions: a new plan begins where the furthest of the others is now.

What nobody has gone on with for `SILENT_S` is forgotten: its reader is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from raycache.types import VersionId

NEVER = float("inf")
#: A plan's reader says every second or so that it goes on.
SILENT_S = 60.0
#: Positions that one worker remembers, of all plans: some 100 bytes each.
POSITIONS_MAX = 1 << 19
_SLACK_MIN = 8


class _Plan:
    """One sequence: `files` holds what is at `base` and after it."""

    def __init__(self, first: int, zero: float, now_s: float) -> None:
        self.base = self.reached = first
        #: On the common scale, position 0.
        self.zero = zero
        self.told_s = now_s
        self.files: deque[VersionId] = deque()
        #: By file, the positions that have not been passed.
        self.uses: dict[VersionId, deque[int]] = {}

    @property
    def end(self) -> int:
        return self.base + len(self.files)

    @property
    def slack(self) -> int:
        return max(_SLACK_MIN, len(self.files) // 8)

    def take(self, file: VersionId, position: int) -> None:
        """The next use of a file, which is at `position`, has been."""
        positions = self.uses[file]
        positions.popleft()
        if not positions:
            del self.uses[file]
        self.reached = max(self.reached, position + 1)

    def pass_by(self) -> Iterable[VersionId]:
        """Give up positions that are too far behind; the files of which something was still expected there."""
        while self.base < self.reached - self.slack:
            file = self.files.popleft()
            if self.uses.get(file, (-1,))[0] == self.base:
                self.take(file, self.base)
                yield file
            self.base += 1


class Plans:
    """All plans that one worker was told of."""

    def __init__(self) -> None:
        self._plans: dict[str, _Plan] = {}
        #: Called with a file whose next use has changed.
        self.watchers: list[Callable[[VersionId], None]] = []

    def __bool__(self) -> bool:
        return bool(self._plans)

    def tell(self, name: str, first: int, files: Sequence[VersionId], now_s: float) -> tuple[int, int]:
        """A piece of a plan.

        Args:
            name: of the plan.
            first: position of the first of `files`; anything but the end of what is known begins the plan anew.
            files: versions, in the order in which they will be read; none: it goes on.
            now_s: the time.

        Returns:
            (the position behind the furthest one that was passed, the end of what is known by now).
        """
        plan = self._plans.get(name)
        if plan is None or plan.end != first:
            self._end(name)
            zero = max((other.zero + other.reached for other in self._plans.values()), default=0.0) - first
            plan = self._plans[name] = _Plan(first, zero, now_s)
        plan.told_s = now_s
        room = POSITIONS_MAX - sum(len(other.files) for other in self._plans.values())
        for file in islice(files, max(0, room)):
            plan.uses.setdefault(file, deque()).append(plan.end)
            plan.files.append(file)
            self._changed(file)
        return plan.reached, plan.end

    def passed(self, file: VersionId) -> None:
        """A reader asks for a file: the plan that expects it first has come as far as that."""
        best: tuple[float, _Plan] | None = None
        for plan in self._plans.values():
            position = plan.uses.get(file, (NEVER,))[0]
            if position <= plan.reached + plan.slack and (best is None or plan.zero + position < best[0]):
                best = plan.zero + position, plan
        if best is None:
            return
        plan = best[1]
        plan.take(file, plan.uses[file][0])
        for late in plan.pass_by():
            self._changed(late)
        self._changed(file)

    def next_use(self, file: VersionId) -> float:
        """When a file is wanted next, on the common scale; infinity: nobody has said so."""
        uses = (plan.zero + plan.uses[file][0] for plan in self._plans.values() if file in plan.uses)
        return min(uses, default=NEVER)

    def expire(self, now_s: float) -> bool:
        """Forget plans that nobody goes on with; whether there were any."""
        silent = [name for name, plan in self._plans.items() if plan.told_s < now_s - SILENT_S]
        for name in silent:
            self._end(name)
        return bool(silent)

    def _end(self, name: str) -> None:
        plan = self._plans.pop(name, None)
        for file in plan.uses if plan is not None else ():
            self._changed(file)

    def _changed(self, file: VersionId) -> None:
        for watcher in self.watchers:
            watcher(file)
