"""The master actor: carries calls to the `MasterService`, asks the lake what the service needs, keeps workers alive.

Theory of operation. The service decides on the event loop, one thing at a time. Before it answers a question it says
which look-ups it needs; these run in threads, their results are fed back, and then it answers. A background task
compares Ray's live nodes with the workers, and starts or forgets workers as the service says; each started worker is
watched by a call that ends only when its actor does. Changes of state are in the journal before they are confirmed, so
that Ray may kill and restart this actor at any time.

Its constructor constructs. The journal is read afterwards, in a thread, as often as it takes; until then heartbeats are told
so, and other calls wait a little (`gate`). A journal that can be read, but not written, is enough to answer from; changes are
refused, with the reason, until it can (`journal/scribe`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import ray

from raycache import paths as names
from raycache.clock import SystemClock
from raycache.errors import ConflictError, RaycacheError, UnavailableError
from raycache.invalidations import EVERYTHING
from raycache.master.background import until, watched
from raycache.master.figures.checkpoint import Checkpoint
from raycache.master.footer_shelf import FooterShelf
from raycache.master.gate import MasterGate, replies, replies_at_once
from raycache.master.journal.opening import Beginning, begin, open_journal
from raycache.master.journal.records import Journal
from raycache.master.journal.scribe import Scribe
from raycache.master.loads.board import JobBoard
from raycache.master.loads.driver import JobDriver
from raycache.master.loads.expansion import LoadListing
from raycache.master.namespace.bulkheads import Bulkheads
from raycache.master.namespace.mount_table import RedactedMount
from raycache.master.result_desk import ResultDesk
from raycache.master.service import MasterService
from raycache.master.syncing import run_sync
from raycache.master.worker_keeper import Launcher, WorkerKeeper
from raycache.messages import (
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

_log = logging.getLogger(__name__)

_NODES_PERIOD_S = 0.5
_RULES_TIMEOUT_S = 3.0
_WORKERS_WAIT_MAX = 10
#: Looks at whether a new quota is divided among the workers, which takes two or three heartbeats.
_QUOTA_WAIT_MAX = 60
_QUOTA_LOOK_S = 0.05
_UNMOUNTS_KEPT_MAX = 100
#: Between attempts to read the journal.
_BEGIN_PAUSE_S = 0.5
_BEGIN_PAUSE_MAX_S = 5.0
_TEND_PERIOD_S = 5.0
#: Of the time that callers wait for the master: what a store may take to answer a look-up.
_LOOK_UP_SHARE = 0.8


class MasterActor:
    """One per cache: named, detached, restarted by Ray. Methods take and return blobs of `raycache.messages`."""

    def __init__(self, cache_id: str, settings: dict[str, Any], origins: dict[str, str], launcher: Launcher) -> None:
        self._cache_id = cache_id
        self._settings, self._origins, self._launcher = Settings(**settings), origins, launcher
        self._clock = SystemClock()
        self._started_s = self._clock.now_s()
        #: Shut until the journal has been read: what is below is there from then on.
        self._gate = MasterGate()
        self._service: MasterService
        self._board: JobBoard
        self._stores: Bulkheads
        self._scribe: Scribe
        self._workers: WorkerKeeper
        self._driver: JobDriver
        self._footers = FooterShelf()
        #: Addresses of the live nodes.
        self._hosts: dict[WorkerId, str] = {}
        #: Of late unmounts, by request id: what had been mounted, since Ray may run a call again.
        self._unmounted: dict[str, str] = {}
        self._changing, self._keeping_counts = asyncio.Lock(), asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._begin_forever())

    async def _begin_forever(self) -> None:
        """Read the journal, until that succeeds, and begin."""
        start_ns, pause_s = time.time_ns(), _BEGIN_PAUSE_S
        while not self._gate.is_open:
            try:
                journal = await asyncio.to_thread(open_journal, self._settings.journal, f"{self._cache_id}.{start_ns}")
                beginning = await asyncio.to_thread(begin, journal, self._cache_id, start_ns)
            except Exception as error:
                # Whatever it is, a master that is not there is worse than one that says what is wrong.
                said = str(error) if isinstance(error, RaycacheError) else f"{type(error).__name__}: {error}"
                self._gate.trouble = said
                _log.warning("the journal cannot be read; trying again: %s", self._gate.trouble)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _BEGIN_PAUSE_MAX_S)
            else:
                self._begin(journal, beginning)

    def _begin(self, journal: Journal, beginning: Beginning) -> None:
        records, settings = beginning.records, self._settings
        self._service = service = MasterService(settings, records, started_s=self._started_s)
        service.damage = list(journal.damage)
        if beginning.kept is not None:
            try:
                service.restore(beginning.kept, self._clock.now_s(), time.time())
            except Exception:  # counts must not keep a cache from starting
                _log.warning("what the master before had counted cannot be read", exc_info=True)
        self._board = board = JobBoard(settings, service.locations.holders)
        board.replay(records, self._clock.now_s())
        self._scribe = Scribe(journal, lambda: [*service.snapshot(), *board.snapshot()], beginning.problem)
        bounds = settings.listings_inflight_max, _LOOK_UP_SHARE * settings.master_timeout_s
        self._stores = Bulkheads(_storage_of, *bounds, service.fetched, self._clock.now_s, self._spawn)
        self._workers = WorkerKeeper(self._cache_id, settings, service, self._launcher, self._clock, self._spawn)
        self._results = ResultDesk(service, self._workers, self._clock, self._spawn)
        self._driver = JobDriver(
            settings,
            service,
            board,
            LoadListing(service, self._stores.long_lister, self._stores.ask, self._stores.long_threads, self._clock),
            self._clock,
            self._scribe.write,
            self._workers.handle,
            self._spawn,
        )
        for work in (self._keep_workers(), self._tend_forever(), self._driver.drive_forever()):
            self._spawn(work)
        self._gate.open()

    @replies_at_once
    async def shutdown(self) -> None:
        """The cache is stopped: its journal is emptied, and nothing is written any more; the actor is killed after."""
        await self._gate.passed()
        await self._scribe.clear()

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
        errors = await self._stores.ask(self._service.catalog.resolve_needs(request, self._clock.now_s()))
        return self._service.resolve(request, errors, self._clock.now_s())

    @replies
    async def list_directory(self, blob: bytes) -> Any:
        """Answer a `ListRequest`."""
        request: ListRequest = decode(blob)
        errors = await self._stores.ask(self._service.catalog.list_needs(request, self._clock.now_s()))
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

    @replies
    async def results(self, verb: str, blob: bytes) -> Any:
        """A method of `ResultDesk`, with its arguments."""
        return await self._results.answer(verb, decode(blob))

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
            await self._stores.run(mount, attempt)
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
        if len(self._unmounted) > _UNMOUNTS_KEPT_MAX:
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
        ways = self._stores.long_lister, self._stores.long_threads
        return await run_sync(decode(blob), self._service, *ways, inventories, self._clock.now_s)

    # --- rules --------------------------------------------------------------------------------------------------------

    @replies
    async def add_rules(self, request_id: str, blob: bytes) -> None:
        """Say something new of some paths; workers have heard of it by then, also of their shares unless that takes long."""
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

    @replies_at_once
    async def heartbeat(self, blob: bytes) -> Any:
        """A `Heartbeat` of a worker; answers a `HeartbeatReply`, or that this master is there, and has to read its journal."""
        if not self._gate.is_open:
            raise self._gate.refusal()
        return self._service.heartbeat(decode(blob), self._clock.now_s())

    async def alive(self, worker: WorkerId, epoch: int) -> None:
        """A sign of life, from a thread of a worker."""
        if self._gate.is_open:
            self._service.membership.alive(worker, epoch, self._clock.now_s())

    @replies
    async def count(self, node: WorkerId, blob: bytes) -> None:
        """Counters of a reader on a node without a worker."""
        self._service.count(node, decode(blob), self._clock.now_s())

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
        status = self._service.status(self._clock.now_s() - self._started_s, self._clock.now_s())
        refused = [f"changes are refused: {self._scribe.problem}"] if self._scribe.problem else []
        return status._replace(problems=[*refused, *status.problems])

    @replies
    async def overview(self) -> OverviewReply:
        """Everything there is to show, from the last heartbeats: cheap, at most half a second old."""
        now_s = self._clock.now_s()
        return self._service.overview(now_s - self._started_s, now_s, self._hosts, self._board.all(now_s))

    @replies_at_once
    async def ready(self) -> tuple[int, int]:
        """(live nodes without a worker, live workers): start-up waits on it, and is told when the journal cannot be used."""
        if not self._gate.is_open:
            problem, answer = self._gate.trouble, (1, 0)
        else:
            problem, answer = self._scribe.problem, self._service.membership.missing()
        if problem:
            raise UnavailableError(problem)
        return answer

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

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _commit(self, decide: Callable[[], list[dict[str, Any]]]) -> None:
        """Decide by what stands now, write it down, and make it so, one change at a time; unwritten, nothing has changed."""
        async with self._changing:
            records = decide()
            await self._scribe.write(records)
            self._service.apply(records)

    async def _keep_counts(self, checkpoint: Checkpoint) -> None:
        async with self._keeping_counts:
            try:
                # The record is made in this turn: packing it costs little, and the thread is the journal's.
                await self._scribe.keep(checkpoint.record(time.time()))
            except Exception as error:  # whatever it is, counting goes on
                self._service.keeping.failed()
                _log.warning("counts are not kept for a restart of the master; trying again: %s", error)

    async def _tend_forever(self) -> None:
        while True:
            await asyncio.sleep(_TEND_PERIOD_S)
            await self._scribe.tend()

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


def _storage_of(mount: MountInfo) -> UnderStorage:
    return open_storage(names.split_uri(mount.uri)[0], mount.options)
