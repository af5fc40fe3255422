"""What is cached now of what an execution has still to read: asked again and again while it runs. No Ray.

Theory of operation. Each task that waits has files. A thread asks the cluster which of these the workers hold, and tells
the queue. That costs one call for 50,000 files. A pause follows that is at least `PAUSE_S`, and fifty times as long as the
call took, so that it costs two percent of the time at most. The thread ends with the queue: when its last task has started, or nobody
has the queue any more.

What this process has read last is remembered, up to `FILES_MAX` files, so that of what is cached at the beginning the
coldest can be read first.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from raycache.errors import RaycacheError
from raycache.raydata.queueing.dispatch import DispatchQueue
from raycache.raydata.queueing.lanes import CachedShare, Noted

logger = logging.getLogger("raycache")

PAUSE_S = 0.5
_COST_SHARE = 0.02
FILES_MAX = 1_000_000


class LastRead:
    """In which order files were read last; of those that were read longest ago, nothing is known beyond `files_max`."""

    def __init__(self, files_max: int = FILES_MAX) -> None:
        self._files_max = files_max
        self._lock = threading.Lock()
        self._steps: OrderedDict[str, int] = OrderedDict()
        self._step = 0

    def read(self, names: Sequence[str]) -> None:
        """These are being read."""
        with self._lock:
            self._step += 1
            for name in names:
                self._steps[name] = self._step
                self._steps.move_to_end(name)
            while len(self._steps) > self._files_max:
                self._steps.popitem(last=False)

    def when(self, names: Sequence[str]) -> int:
        """When the first of them was read, in steps; 0: never."""
        return min((self._steps.get(name, 0) for name in names), default=0)

    @property
    def step(self) -> int:
        """The last one."""
        return self._step


#: Of this process.
LAST_READ = LastRead()


class Residence(Protocol):
    """What the cluster is asked and told."""

    def shares(self, names: Sequence[str], *, now: bool) -> Sequence[float]:
        """Of some files, the shares of their bytes that are cached: by what was asked last, or as it is now."""
        ...

    def count_task(self, name: str, *, out_of_turn: bool) -> None:
        """A task was started; with the name of its first file."""
        ...


class CachedNow:
    """Tells a queue what is cached of its tasks.

    Args:
        residence: the cluster.
        last_read: says which of what is cached was read longest ago; None: tasks keep their order among those.
    """

    def __init__(self, residence: Residence, last_read: LastRead | None) -> None:
        self._residence = residence
        self._last_read = last_read
        #: By number of the task.
        self._names: dict[int, tuple[str, ...]] = {}
        #: There may be more tasks.
        self.is_open = True

    def begin(self, queue: DispatchQueue[Any], tasks: Sequence[tuple[int, Sequence[str]]]) -> None:
        """More tasks, with their files; the cluster was asked for these just now."""
        self._names.update((number, tuple(names)) for number, names in tasks)
        try:
            queue.note(self._noted([number for number, _ in tasks], now=False), at_first=True)
        except RaycacheError as error:
            logger.debug("cannot tell what is cached: %s", error)

    def started(self, number: int, out_of_turn: bool) -> None:
        """A task has started."""
        names = self._names.pop(number, ())
        if names:
            with contextlib.suppress(RaycacheError):
                self._residence.count_task(names[0], out_of_turn=out_of_turn)
        if self._last_read is not None:
            self._last_read.read(names)

    def watch(self, queue: DispatchQueue[Any]) -> None:
        """Tell the queue until it is empty, in a thread."""
        threading.Thread(target=self._watch, args=(weakref.ref(queue),), name="raycache-cached", daemon=True).start()

    def _watch(self, found: weakref.ref[DispatchQueue[Any]]) -> None:
        pause_s = PAUSE_S
        while True:
            time.sleep(pause_s)
            queue = found()
            if queue is None or not (self.is_open or len(queue)):
                return
            started_s = time.monotonic()
            try:
                queue.note(self._noted(queue.waiting(), now=True))
            except RaycacheError as error:
                logger.debug("cannot tell what is cached now: %s", error)
            pause_s = max(PAUSE_S, (time.monotonic() - started_s) / _COST_SHARE)
            del queue

    def _noted(self, numbers: Sequence[int], *, now: bool) -> list[Noted]:
        names = [self._names.get(number, ()) for number in numbers]
        flat = list(dict.fromkeys(name for each in names for name in each))
        share = dict(zip(flat, self._residence.shares(flat, now=now), strict=True))
        last_read, step = self._last_read, 0 if self._last_read is None else self._last_read.step
        return [
            Noted(
                number,
                CachedShare.of(sum(share[name] for name in each) / len(each)),
                step if now or last_read is None else last_read.when(each),
            )
            for number, each in zip(numbers, names, strict=True)
            if each
        ]
