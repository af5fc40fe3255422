"""Writes a running master's journal: off its loop, in order, within a deadline; and says when it cannot.

Theory of operation. One thread writes. A write that fails, or does not end in time, is refused to whoever wanted the change;
but it may stand in the journal nevertheless. So after a failure the next thing written is everything, anew (`compact`): then
the journal says again what the master knows, and only then the change is added. A write that hangs (a disk, a mount that does
not answer) holds this thread, and nothing else; until it ends, changes are refused at once.

State and journal are equal whenever no write is on its way, since a change is made so in the same turn of the loop in which
its write has ended. So `snapshot` is taken at the beginning of a turn of this scribe, never while one is waited for.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raycache.errors import ConflictError, RaycacheError, UnavailableError
from raycache.master.journal.records import Journal, Record

_log = logging.getLogger(__name__)

DEADLINE_S = 20.0


class Scribe:
    """Runs in the master's event loop.

    Args:
        journal: begun.
        snapshot: records that replay to the present state.
        problem: why nothing could be written when it was begun; "" where it could.
        deadline_s: of one write.
    """

    def __init__(
        self,
        journal: Journal,
        snapshot: Callable[[], Sequence[Record]],
        problem: str = "",
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._journal = journal
        self._snapshot = snapshot
        self._deadline_s = deadline_s
        #: Why changes are refused now; "" when they are not.
        self.problem = problem
        #: What stands there may not be what is known here.
        self._doubtful = bool(problem)
        #: Another cache has taken it over: nothing is written any more.
        self._lost = False
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="raycache-journal")
        self._hung: asyncio.Future[Any] | None = None

    async def write(self, records: Sequence[Record]) -> None:
        """Write some records down, all or none.

        Raises:
            UnavailableError, NoSpaceError, DeniedError, ConflictError: they are not; nothing may be changed.
        """
        if not records:
            return
        async with self._turn:
            await self._guarded(self._journal.append, records)

    async def tend(self) -> None:
        """To be called every few seconds: heals what a failure left, compacts, gives the sign of life."""
        if self._turn.locked():
            return
        async with self._turn:
            try:
                if self._journal.wants_compaction:
                    self._doubtful = True
                await self._guarded(None, ())
                await self._run(self._journal.claim)
            except ConflictError as error:
                self._lose(error)
            except RaycacheError as error:
                self._say(error)

    async def keep(self, record: Record) -> None:
        """Keep one record beside the others; see `Journal.keep`."""
        await self._run(self._journal.keep, record)

    async def clear(self) -> None:
        """The cache is stopped: leave nothing, and write nothing more."""
        async with self._turn:
            if not self._lost:
                await self._run(self._journal.clear)
            self._lost, self.problem = True, "the cache is stopped"

    async def _guarded(self, append: Callable[..., None] | None, records: Sequence[Record]) -> None:
        if self._lost:
            raise ConflictError(self.problem)
        try:
            if self._doubtful:
                await self._run(self._journal.compact, list(self._snapshot()))
                self._doubtful = False
            if append is not None:
                await self._run(append, *records)
        except ConflictError as error:
            self._lose(error)
            raise
        except RaycacheError as error:
            self._doubtful = True
            self._say(error)
            raise
        self.problem = ""

    def _say(self, error: RaycacheError) -> None:
        if not self.problem:
            _log.warning("changes are refused until the journal can be written: %s", error)
        self.problem = str(error)

    def _lose(self, error: RaycacheError) -> None:
        _log.error("%s", error)
        self._lost, self.problem = True, str(error)

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._hung is not None and not self._hung.done():
            raise UnavailableError(
                f"the journal {self._journal.place} does not answer; changes are refused until it does"
            )
        call = asyncio.get_running_loop().run_in_executor(self._thread, functools.partial(work, *arguments))
        done, _ = await asyncio.wait({call}, timeout=self._deadline_s)
        if not done:
            self._hung = call
            call.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # it was told already
            raise UnavailableError(
                f"the journal {self._journal.place} did not answer within {self._deadline_s:g} s; "
                "changes are refused until it does"
            )
        try:
            return call.result()
        except RaycacheError:
            raise
        except Exception as error:  # a store's driver: whatever it is, it is not written
            raise UnavailableError(
                f"the journal {self._journal.place} cannot be written: {type(error).__name__}"
            ) from error
