"""The order in which this process, or its helpers, will read: told to the workers, and loaded ahead of.

Theory of operation. A thread resolves what was planned, tells every worker all of it, piece by piece, and asks them how far
it has been read; what comes next is announced to them, as a prefetch is, as much as an eighth of the cache, at most
`AHEAD_BYTES_MAX`. It ends when everything has
been read, or when nothing was for `_IDLE_S`; the workers then forget the plan. Nothing waits for it, and whatever fails is
left out: without a plan the cache evicts by its policy.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from raycache.client.file_meta import FileMeta
from raycache.client.ports import WorkerCall, WorkerCalls
from raycache.errors import InvalidRequestError, RaycacheError
from raycache.messages import PlanNews, PlanReply, decode, encode
from raycache.types import FileKind, WorkerView

#: What is to be read next is loaded so far ahead, where an eighth of the cache is more.
AHEAD_BYTES_MAX = 64 << 20
#: Files in one message.
_PIECE = 8192
_PERIOD_S = 0.5
_TIMEOUT_S = 10.0
_IDLE_S = 600.0


class ReadPlan:
    """What this process has planned. Safe to use from several threads.

    Args:
        calls: to the workers.
        workers: which there are.
        resolve: paths to what stands there; it may ask the master.
        announce: files that will be read, in order, and how many bytes of them to load.
    """

    def __init__(
        self,
        calls: WorkerCalls,
        workers: Callable[[], Sequence[WorkerView]],
        resolve: Callable[[Sequence[str]], list[FileMeta]],
        announce: Callable[[Sequence[FileMeta], int], None],
    ) -> None:
        self._calls = calls
        self._workers = workers
        self._resolve = resolve
        self._announce = announce
        self._name = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._running = False
        #: Not resolved yet.
        self._paths: list[str] = []
        #: From position `base` on.
        self._base = 0
        self._files: list[FileMeta] = []
        #: The positions behind what was read, and what was announced.
        self._reached = self._announced = 0
        #: By actor name, the end of what a worker knows.
        self._told: dict[str, int] = {}

    def add(self, paths: Sequence[str]) -> None:
        """Files that will be read after those of earlier calls.

        Raises:
            InvalidRequestError: it is not a sequence of paths.
        """
        if isinstance(paths, str) or not all(isinstance(path, str) for path in paths):
            raise InvalidRequestError("a plan is a list of paths, in the order in which they will be read")
        with self._lock:
            self._paths += paths
            if self._running or not self._paths or self._closed.is_set():
                return
            self._running = True
        threading.Thread(target=self._run, name="raycache-read-plan", daemon=True).start()

    def close(self) -> None:
        """Go on with nothing; the thread ends by itself."""
        self._closed.set()

    def _run(self) -> None:
        moved_s = time.monotonic()
        while not self._closed.is_set():
            reached = self._reached
            with contextlib.suppress(RaycacheError):
                self._resolve_some()
                self._tell()
                self._look_ahead()
            if self._reached != reached:
                moved_s = time.monotonic()
            with self._lock:
                ended = not self._paths and self._reached >= self._end
                if ended or time.monotonic() - moved_s > _IDLE_S:
                    # What is planned next begins anew.
                    self._paths, self._running, self._name = [], False, uuid.uuid4().hex
                    self._files, self._told = [], {}
                    self._base = self._reached = self._announced = 0
                    return
            self._closed.wait(_PERIOD_S)

    @property
    def _end(self) -> int:
        return self._base + len(self._files)

    def _resolve_some(self) -> None:
        with self._lock:
            paths = self._paths[:_PIECE]
        if not paths:
            return
        try:
            found = self._resolve(paths)
        finally:
            # What cannot be resolved is left out.
            with self._lock:
                del self._paths[: len(paths)]
        self._files += [meta for meta in found if meta.kind is FileKind.FILE]

    def _tell(self) -> None:
        """One piece to each worker, and how far they have come."""
        names = [worker.actor_name for worker in self._workers()]
        self._told = {name: self._told.get(name, self._reached) for name in names}
        calls = []
        for name in names:
            first = self._told[name]
            files = [meta.version for meta in self._files[first - self._base :][:_PIECE]]
            calls.append(WorkerCall(name, "plan", (encode(PlanNews(self._name, first, files)),)))
        for name, answer in zip(names, self._calls.workers(calls, _TIMEOUT_S), strict=True):
            if isinstance(answer, RaycacheError):
                continue
            reply: PlanReply = decode(answer)
            self._told[name] = reply.end
            self._reached = max(self._reached, min(reply.reached, self._end))
        passed = min([self._reached, *self._told.values()]) - self._base
        if passed > _PIECE:
            del self._files[:passed]
            self._base += passed

    def _look_ahead(self) -> None:
        """Announce what comes next and was not announced, as far as a worker knows when it is wanted."""
        ahead_bytes = min(AHEAD_BYTES_MAX, sum(worker.weight_bytes for worker in self._workers()) // 8)
        start, size_bytes = max(self._announced, self._reached), 0
        for meta in self._files[self._reached - self._base : start - self._base]:
            size_bytes += meta.file.size_bytes
        chosen: list[FileMeta] = []
        for meta in self._files[start - self._base : max([0, *self._told.values()]) - self._base]:
            size_bytes += meta.file.size_bytes
            if size_bytes > ahead_bytes:
                break
            chosen.append(meta)
        if chosen:
            self._announced = start + len(chosen)
            self._announce(chosen, ahead_bytes)
