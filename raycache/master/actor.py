"""The master actor: carries calls to the `MasterService`, asks the lake what the service needs, keeps workers alive.

Theory of operation. The service decides on the event loop, one thing at a time. Before it answers a question it says
which look-ups it needs; these run in threads, their results are fed back, and then it answers. A background task
compares Ray's live nodes with the workers, and starts or forgets workers as the service says; each started worker is
watched by a call that ends only when its actor does. Changes of state are in the journal before they are confirmed, so
that Ray may kill and restart this actor at any time.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec

import ray

from raycache import paths as names
from raycache.clock import SystemClock
from raycache.errors import ConflictError, RaycacheError, UnavailableError
from raycache.invalidations import EVERYTHING
from raycache.master.background import until, watched
from raycache.master.figures.checkpoint import Checkpoint
from raycache.master.footer_shelf import FooterShelf
from raycache.master.journal import Journal, open_journal
from raycache.master.loads.board import JobBoard
from raycache.master.loads.driver import JobDriver
from raycache.master.loads.expansion import LoadListing
from raycache.master.namespace.asking import Asking
from raycache.master.namespace.lister import Lister
from raycache.master.namespace.lookups import Need
from raycache.master.namespace.mount_table import RedactedMount
from raycache.master.service import MasterService
from raycache.master.syncing import run_sync
from raycache.master.worker_keeper import Launcher, WorkerKeeper
from raycache.messages import (
    Delivery,
    Hello,
    HoldersReply,
    JobProgress,
    ListRequest,
    LoadSurvey,
    MountInfo,
    MountTable,
    NodeFigures,
    OverviewReply,
    ResolveRequest,
    StatusReply,
    SyncReply,
    decode,
    encode,
)
from raycache.rules import Rule, RuleKind, RuleTable
from raycache.settings import Settings
from raycache.types import WorkerId
from raycache.ufs.base import UnderStorage
from raycache.ufs.open import open_storage
from raycache.ufs.trees import check_directory

P = ParamSpec("P")
_log = logging.getLogger(__name__)

_NODES_PERIOD_S = 0.5
_RULES_TIMEOUT_S = 3.0
_WORKERS_WAIT_MAX = 10
#: Looks at whether a new quota is divided among the workers, which takes two or three heartbeats.
_QUOTA_WAIT_MAX = 60
_QUOTA_LOOK_S = 0.05
_UNMOUNTS_KEPT_MAX = 100
#: A longer journal is compacted when the master starts.
_JOURNAL_RECORDS_MAX = 1_000


def replies(method: Callable[P, Awaitable[Any]]) -> Callable[P, Awaitable[bytes]]:
    """Turn a method's result or error into a reply blob, so that errors keep their class."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> bytes:
        try:
            return encode((True, await method(*args, **kwargs)))
        except RaycacheError as error:
            return encode((False, error))

    return wrapped


class MasterActor:
    """One per cache: named, detached, restarted by Ray. Methods take and return blobs of `raycache.messages`."""

    def __init__(self, cache_id: str, settings: dict[str, Any], origins: dict[str, str], launcher: Launcher) -> None:
        self._cache_id = cache_id
        self._settings = Settings(**settings)
        self._origins = origins
        self._clock = SystemClock()
        self._started_s = self._clock.now_s()
        self._journal: Journal = open_journal(self._settings.journal, cache_id)
        records = self._journal.replay()
        self._service = MasterService(self._settings, records, started_s=self._started_s)
        self._restore_counts()
        self._board = JobBoard(self._settings, self._service.locations.holders)
        self._board.replay(records, self._started_s)
        if len(records) > _JOURNAL_RECORDS_MAX:
            self._journal.compact([*self._service.snapshot(), *self._board.snapshot()])
        self._threads = ThreadPoolExecutor(self._settings.listings_inflight_max, thread_name_prefix="raycache-ask")
        self._lister = Lister(self._storage_of, self._settings.listings_inflight_max)
        #: For listings of loads and syncs: apart from look-ups that readers wait for.
        self._long_lister = Lister(self._storage_of, self._settings.listings_inflight_max)
        self._asking = Asking()
        self._footers = FooterShelf()
        #: Addresses of the live nodes.
        self._hosts: dict[WorkerId, str] = {}
        #: Of late unmounts, by request id: what had been mounted, since Ray may run a call again.
        self._unmounted: dict[str, str] = {}
        self._journaling = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._keeping_counts = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = WorkerKeeper(cache_id, self._settings, self._service, launcher, self._clock, self._spawn)
        self._driver = JobDriver(
            self._settings,
            self._service,
            self._board,
            LoadListing(self._service, self._long_lister, self._ask, self._threads, self._clock),
            self._clock,
            self._record,
            self._workers.handle,
            self._spawn,
        )
        self._spawn(self._keep_workers())
        self._spawn(self._driver.drive_forever())

    # --- namespace ----------------------------------------------------------------------------------------------------

    @replies
    async def hello(self) -> Hello:
        """What a client needs to begin."""
        return Hello(
            self._cache_id,
            self._settings.as_dict(),
            self._origins,
            self._service.membership.view(),
            self._service.mounts.table(),
        )

    @replies
    async def resolve(self, blob: bytes) -> Any:
        """Answer a `ResolveRequest`."""
        request: ResolveRequest = decode(blob)
        errors = await self._ask(self._service.catalog.resolve_needs(request, self._clock.now_s()))
        return self._service.resolve(request, errors, self._clock.now_s())

    @replies
    async def list_directory(self, blob: bytes) -> Any:
        """Answer a `ListRequest`."""
        request: ListRequest = decode(blob)
        errors = await self._ask(self._service.catalog.list_needs(request, self._clock.now_s()))
        return self._service.catalog.listing(request, errors, self._clock.now_s())

    @replies
    async def holders(self, blob: bytes) -> HoldersReply:
        """Which workers hold blocks of these versions (`VersionId`)."""
        return self._service.locations.holders_of(decode(blob))

    @replies
    async def direct(self, blob: bytes) -> None:
        """Answer a `DirectRequest`: look-ups from now on follow it."""
        self._service.direct(decode(blob))

    @replies
    async def invalidate(self, changed: list[tuple[str, bool]]) -> None:
        """These paths, or also what is below them, were written; when this returns, no reader anywhere sees older ones."""
        await self._workers.announce(self._service.wrote(changed))

    @replies
    async def footers(self, keys: bytes) -> list[bytes]:
        """What is kept of the footers of some of these versions."""
        return self._footers.find(keys)

    @replies
    async def keep_footers(self, tables: list[tuple[bytes, bytes]]) -> None:
        """Keep tables of footers: (versions of the files, content)."""
        for keys, content in tables:
            self._footers.keep(keys, content)

    # --- mounts -------------------------------------------------------------------------------------------------------

    @replies
    async def mount(self, request_id: str, blob: bytes) -> MountTable:
        """Mount a `MountInfo`, after trying the store."""
        mount: MountInfo = decode(blob)
        root_uri, key = names.split_uri(mount.uri)

        def attempt() -> None:
            check_directory(open_storage(root_uri, mount.options), key.rstrip("/"))

        if self._service.mount(request_id, mount):
            # Not where it is mounted already.
            await asyncio.get_running_loop().run_in_executor(self._threads, attempt)
            await self._commit(lambda: self._service.mount(request_id, mount))
            await self._announce_mounts()
        return self._service.mounts.table()

    @replies
    async def auto_mount(self, root_uri: str, blob: bytes) -> MountTable:
        """Let a UFS authority mount itself, with a client's environment as its options."""
        await self._commit(lambda: self._service.auto_mount(root_uri, decode(blob)))
        return self._service.mounts.table()

    @replies
    async def unmount(self, request_id: str, path: str, force: bool) -> tuple[str, MountTable]:
        """Take a mount away; refused while a load of it runs, unless forced."""
        if request_id in self._unmounted:
            return self._unmounted[request_id], self._service.mounts.table()
        uri = self._service.mounts.at(path).uri
        for job in self._board.live():
            if job.reads_below(names.below(uri)):
                if not force:
                    raise ConflictError(f"{path} is in use by load {job.job_id}; stop it, or unmount with force=True")
                await self._driver.stop(job.job_id)
        await self._commit(lambda: self._service.unmount(request_id, path))
        await self._announce_mounts()
        self._unmounted[request_id] = uri
        while len(self._unmounted) > _UNMOUNTS_KEPT_MAX:
            del self._unmounted[next(iter(self._unmounted))]
        return uri, self._service.mounts.table()

    async def _announce_mounts(self) -> None:
        """Paths mean something else from now on, or may be written: all that is remembered of them is asked again."""
        await self._workers.announce(self._service.written.append([EVERYTHING]))

    @replies
    async def mounts(self) -> list[RedactedMount]:
        """All mounts, secrets hidden: (path, uri, readonly, metadata_ttl_s, options)."""
        return self._service.mounts.redacted()

    @replies
    async def mount_table(self) -> MountTable:
        """All mounts with their options: for workers."""
        return self._service.mounts.table()

    @replies
    async def sync(self, blob: bytes) -> SyncReply:
        """Carry a `SyncRequest` out."""
        # After a restart the workers, which know what is cached, are not all known yet.
        await until(lambda: not self._service.membership.missing()[0], _WORKERS_WAIT_MAX, _NODES_PERIOD_S)
        inventories = [handle.inventory.remote for handle in self._workers.live()]
        return await run_sync(decode(blob), self._service, self._long_lister, inventories, self._clock.now_s)

    # --- rules --------------------------------------------------------------------------------------------------------

    @replies
    async def add_rules(self, request_id: str, blob: bytes) -> None:
        """Say something new of some paths; the workers that can be reached have heard of it when this returns.

        Of a quota they have heard their shares, too, unless readers of what is too much make that take long.
        """
        said: list[Rule] = decode(blob)
        await self._commit(lambda: self._service.add_rules(request_id, said))
        news = encode(self._service.rules)
        await asyncio.gather(
            *(asyncio.wait_for(handle.heed_rules.remote(news), _RULES_TIMEOUT_S) for handle in self._workers.live()),
            return_exceptions=True,  # those hear of it with their next heartbeat
        )
        if any(rule.kind is RuleKind.QUOTA for rule in said):
            await until(self._service.quotas_settled, _QUOTA_WAIT_MAX, _QUOTA_LOOK_S)

    @replies
    async def rules(self) -> RuleTable:
        """All rules on paths: for workers."""
        return self._service.rules

    # --- workers ------------------------------------------------------------------------------------------------------

    @replies
    async def heartbeat(self, blob: bytes) -> Any:
        """A `Heartbeat` of a worker; answers a `HeartbeatReply`."""
        return self._service.heartbeat(decode(blob), self._clock.now_s())

    async def alive(self, worker: WorkerId, epoch: int) -> None:
        """A sign of life, from a thread of a worker."""
        self._service.membership.alive(worker, epoch, self._clock.now_s())

    @replies
    async def count(self, node: WorkerId, blob: bytes) -> None:
        """Counters of a reader on a node without a worker."""
        delivery: Delivery = decode(blob)
        self._service.count(node, delivery, self._clock.now_s())

    @replies
    async def stats(self) -> list[NodeFigures]:
        """Exact figures of all nodes: every live worker is asked first."""
        # Just restarted: what the workers have counted is on its way.
        await until(lambda: not self._service.membership.settling, _WORKERS_WAIT_MAX, _NODES_PERIOD_S)
        await self._workers.hear_all()
        return self._service.stats()

    @replies
    async def status(self) -> StatusReply:
        """The state of the cache."""
        return self._service.status(self._clock.now_s() - self._started_s, self._clock.now_s())

    @replies
    async def overview(self) -> OverviewReply:
        """Everything there is to show, from the last heartbeats: cheap, at most half a second old."""
        now_s = self._clock.now_s()
        return self._service.overview(now_s - self._started_s, now_s, self._hosts, self._board.all(now_s))

    async def ready(self) -> bytes:
        """(live nodes without a worker, live workers): start-up waits on it."""
        return encode((True, self._service.membership.missing()))

    # --- loads --------------------------------------------------------------------------------------------------------

    @replies
    async def load(self, request_id: str, blob: bytes) -> str:
        """Start a `LoadRequest`; the same request id again gives the same job."""
        return await self._driver.load(request_id, decode(blob))

    @replies
    async def load_files(self, request_id: str, blob: bytes) -> str:
        """Start a `LoadRequest` that is given its files, with their packed pages; as `load`."""
        request, pages = decode(blob)
        return await self._driver.load_files(request_id, request, pages)

    @replies
    async def survey(self, blob: bytes) -> LoadSurvey:
        """What a `LoadRequest` would do."""
        return await self._driver.survey(decode(blob))

    @replies
    async def require(self, blob: bytes) -> None:
        """Raise NotFoundError unless there is something that these paths mean: files, directories, globs."""
        await self._driver.require(decode(blob))

    @replies
    async def job_progress(self, job_id: str) -> JobProgress:
        """How far a job is."""
        return self._board.progress(job_id, self._clock.now_s())

    @replies
    async def job_ended(self, job_id: str, wait_s: float) -> JobProgress:
        """How far a job is: as soon as it has ended, or after `wait_s`."""
        return await self._driver.ended(job_id, wait_s)

    @replies
    async def job_stop(self, job_id: str) -> None:
        """Stop a job."""
        await self._driver.stop(job_id)

    @replies
    async def job_resume(self, job_id: str) -> None:
        """Let a stopped or failed job go on."""
        await self._driver.resume(job_id)

    @replies
    async def jobs(self) -> list[tuple[str, JobProgress]]:
        """All jobs known, newest first."""
        return self._board.all(self._clock.now_s())

    # --- inside: the lake ---------------------------------------------------------------------------------------------

    async def _ask(self, needs: list[Need]) -> dict[Need, RaycacheError]:
        """Look up what the service needs; each need is on the way at most once. Returns those that failed."""
        answer: asyncio.Future[dict[Need, RaycacheError]] = asyncio.get_running_loop().create_future()
        # An asker that has given up has cancelled its own future only.
        new = self._asking.ask(needs, lambda failed: None if answer.done() else answer.set_result(failed))
        if new:
            self._spawn(self._fetch(new))
        return await answer

    async def _fetch(self, needs: list[Need]) -> None:
        error: RaycacheError | None = UnavailableError("the look-up in the lake broke off; try again")
        outcomes: dict[Need, RaycacheError | None] = {}
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._threads, self._lister.fetch, needs)
            for need in needs:
                self._service.fetched(need, results[need])
                outcomes[need] = results[need].error
        finally:
            # Whatever happened, no asker waits for ever.
            for need in needs:
                self._asking.answered(need, outcomes.get(need, error))

    def _storage_of(self, mount: MountInfo) -> UnderStorage:
        return open_storage(names.split_uri(mount.uri)[0], mount.options)

    async def _commit(self, decide: Callable[[], list[dict[str, Any]]]) -> None:
        """Change something for good: decided by what stands now, written down, and then made so; one change at a time.

        Where the journal cannot be written, nothing has changed.
        """
        async with self._changing:
            records = decide()
            await self._record(records)
            self._service.apply(records)

    async def _record(self, records: list[dict[str, Any]]) -> None:
        """Write to the journal, off the loop, in order."""
        if records:
            async with self._journaling:
                loop = asyncio.get_running_loop()
                for record in records:
                    await loop.run_in_executor(self._threads, self._journal.append, record)

    def _restore_counts(self) -> None:
        try:
            record = self._journal.kept()
            if record is not None:
                self._service.restore(record, self._clock.now_s(), time.time())
        except Exception:
            # Counts must not keep a cache from starting: it goes on without those of the master before.
            _log.warning("what the master before had counted cannot be read", exc_info=True)

    async def _keep_counts(self, checkpoint: Checkpoint) -> None:
        def keep() -> None:
            self._journal.keep(checkpoint.record(time.time()))

        async with self._keeping_counts:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, keep)
            except Exception as error:  # whatever it is, counting goes on
                self._service.keeping.failed()
                _log.warning("counts are not kept for a restart of the master; trying again: %s", error)

    # --- inside: workers ----------------------------------------------------------------------------------------------

    async def _keep_workers(self) -> None:
        while True:
            try:
                self._hosts = {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]}
                self._workers.carry(self._service.nodes_changed(list(self._hosts), self._clock.now_s()))
                free = not self._keeping_counts.locked()
                checkpoint = self._service.checkpoint(self._clock.now_s()) if free else None
                if checkpoint is not None:
                    self._spawn(self._keep_counts(checkpoint))
            except Exception:
                # The head is busy, or something is wrong that the next look may not meet: this task must never end.
                _log.warning("comparing Ray's nodes with the workers failed; looking again", exc_info=True)
            await asyncio.sleep(_NODES_PERIOD_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
