"""The master: carries calls to `MasterService` and load jobs, as the actor does. Only its journal outlives it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

from raycache.errors import NotFoundError, RaycacheError, UnavailableError
from raycache.master.loads.board import JobBoard
from raycache.master.loads.files import Origin
from raycache.master.loads.job import LoadJob
from raycache.master.loads.pieces import Batch
from raycache.master.membership import AdoptWorker, AskWorker, EndWorker, ForgetWorker, StartWorker
from raycache.master.namespace.asking import Asking
from raycache.master.namespace.comparison import ListKeys, ReadInventories
from raycache.master.namespace.entries import pack
from raycache.master.namespace.lister import KeyRange, Lister
from raycache.master.namespace.lookups import Need
from raycache.master.service import MasterService
from raycache.messages import (
    Hello,
    InventoryRequest,
    ListRequest,
    LoadRequest,
    MountInfo,
    ResolveRequest,
    SyncRequest,
    decode,
    encode,
)
from raycache.paths import glob_bases, join, split_uri
from raycache.types import FileKind, FileVersion, WorkerView
from raycache.ufs.base import ObjectInfo

from .journal import SimulatedScribe
from .lake import LakeDoor
from .network import Then

if TYPE_CHECKING:
    from .cluster import Cluster
    from .worker import SimulatedWorker

_NODES_PERIOD_S = 0.5
_START_TIMEOUT_S = 6.0
_JOB_PAUSE_S = 0.5
_RULES_TIMEOUT_S = 1.0

#: (path, version) of each.
Files: TypeAlias = list[tuple[str, FileVersion]]


class _Inline:
    """An executor without threads."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except RaycacheError as error:
            future.set_exception(error)
        return future


class SimulatedMaster:
    """One incarnation of the master."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.engine = cluster.engine
        self.name = f"master-{number}"
        self.alive = True
        self.paused_until_s = 0.0
        self._unwritten: list[dict[str, Any]] = []
        self.door = LakeDoor(cluster.lake, self.name, cluster.plan.lake_failing)
        start_ns = 1 + int(self.engine.now_s * 1e9)
        cluster.journal.append({"op": "start", "start_ns": start_ns, "cache_id": "sim"})
        self.service = MasterService(
            cluster.plan.settings, list(cluster.journal), start_ns=start_ns, started_s=self.engine.now_s
        )
        if cluster.kept:
            self.service.restore(json.loads(cluster.kept), self.engine.now_s, self.engine.now_s)
        self._lister = Lister(lambda mount: self.door, 1)  # there is one lake
        self._lister._pool = _Inline()
        self._asking = Asking()
        self.board = JobBoard(cluster.plan.settings, self.service.locations.holders)
        self.board.replay(cluster.journal, self.engine.now_s)
        self._scribe = SimulatedScribe(cluster, lambda: [*self.service.snapshot(), *self.board.snapshot()])
        self._later(0.01, self._keep_workers)
        self._later(0.01, self._drive)

    def die(self) -> None:
        """Gone, with everything but the journal."""
        self.alive = False
        self.engine.note(f"{self.name} dies")

    # --- calls --------------------------------------------------------------------------------------------------------

    def receive(self, method: str, arguments: tuple[Any, ...], reply: Then) -> None:
        """See `network.Process`. Answers are values, or errors in their place."""
        try:
            self._dispatch(method, arguments, reply)
        except RaycacheError as error:
            reply(error)

    def _dispatch(self, method: str, arguments: tuple[Any, ...], reply: Then) -> None:
        now_s = self.engine.now_s
        service = self.service
        match method:
            case "hello":
                table = service.mounts.table()
                reply(Hello("sim", self.cluster.plan.settings.as_dict(), {}, service.membership.view(), table))
            case "resolve":
                resolve = decode(arguments[0])
                self._ask(
                    service.catalog.resolve_needs(resolve, now_s),
                    lambda errors: reply(service.resolve(resolve, errors, self.engine.now_s)),
                )
            case "list_directory":
                listing = decode(arguments[0])
                self._ask(service.catalog.list_needs(listing, now_s), lambda errors: self._list(listing, errors, reply))
            case "heartbeat":
                reply(self._heartbeat(arguments[0], delivered=True))
            case "mount_table":
                reply(service.mounts.table())
            case "status":
                reply(service.status(now_s, now_s))
            case "mount":
                mount: MountInfo = decode(arguments[1])
                self._commit(service.mount(arguments[0], mount))
                reply(service.mounts.table())
            case "invalidate":
                self._announce(arguments[0], reply)
            case "unmount":
                uri = self._unmounted_uri(arguments[1])
                self._commit(service.unmount(arguments[0], arguments[1]))
                reply((uri, service.mounts.table()))
            case "auto_mount":
                self._commit(service.auto_mount(arguments[0], decode(arguments[1])))
                reply(service.mounts.table())
            case "add_rules":
                self._commit(service.add_rules(arguments[0], decode(arguments[1])))
                self._tell_rules(reply)
            case "sync":
                self._sync(decode(arguments[0]), reply)
            case "rules":
                reply(service.rules)
            case "count":
                service.count(arguments[0], decode(arguments[1]), now_s)
                reply(None)
            case "stats":
                reply(service.stats())
            case "load":
                self._start_job(arguments[0][:12], decode(arguments[1]), reply)
            case "require":
                (path,) = decode(arguments[0])
                self._find(path, lambda found: reply(found if isinstance(found, RaycacheError) else None))
            case "load_files":
                given, pages = decode(arguments[1])
                self._begin_job(arguments[0][:12], self.board.start(arguments[0][:12], given, now_s, pages))
                reply(arguments[0][:12])
            case "job_progress":
                reply(self.board.progress(arguments[0], now_s))
            case "job_ended":
                self._wait(*arguments, reply)
            case _:
                raise AssertionError(f"the simulated master has no {method}")

    def _announce(self, changed: list[tuple[str, bool]], reply: Then) -> None:
        """As `MasterActor.invalidate`."""
        service = self.service
        before = service.written.position
        position = service.wrote(changed)
        news = encode(service.written_news(before))
        for worker in service.membership.view().workers:

            def answered(answer: Any, worker: WorkerView = worker) -> None:
                if not isinstance(answer, RaycacheError):
                    service.written.heard(worker.worker, worker.epoch, answer)

            name, call = worker.actor_name, self.cluster.network.call
            call(lambda name=name: self.cluster.workers.get(name), "heed_written", (news,), _RULES_TIMEOUT_S, answered)

        def look() -> None:
            if service.is_heard(position, self.engine.now_s):
                reply(None)
            else:
                self._later(0.05, look)

        look()

    def _tell_rules(self, reply: Then) -> None:
        """Answer when the workers have heard, or did not answer in time."""
        blob = encode(self.service.rules)
        names = [worker.actor_name for worker in self.service.membership.view().workers]
        left = len(names)

        def answered(_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                reply(None)

        find = self.cluster.workers.get
        for name in names:
            self.cluster.network.call(lambda name=name: find(name), "heed_rules", (blob,), _RULES_TIMEOUT_S, answered)
        if not names:
            reply(None)

    def _sync(self, request: SyncRequest, reply: Then) -> None:
        """As `run_sync`, for one pattern: the parts come one by one, in any order, while other things happen."""
        (pattern,) = request.patterns
        sync = self.service.catalog.begin_sync(pattern, request, self.engine.now_s)
        workers = [
            w
            for w in self.cluster.live_workers()
            if any(v.worker == w.worker for v in self.service.membership.view().workers)
        ]
        everything = InventoryRequest([pattern], None, 1_000)

        def held() -> list[FileVersion]:
            listings = [w.service.inventory(everything) for w in workers if w.alive]
            for listing in listings:
                while not listing.done:
                    listing.step(self.engine.now_s)
            return [file for listing in listings for file in listing.reply().files.versions()]

        steps = sync.steps(self.service.invalidate)

        def go_on() -> None:
            try:
                step = next(steps, None)
            except RaycacheError as error:
                reply(error)
                return
            match step:
                case None:
                    reply(sync.result())
                case ReadInventories(take):
                    take(held())
                    go_on()
                case ListKeys():
                    list_all(step)

        def list_all(step: ListKeys) -> None:
            parts: list[KeyRange] = []
            try:
                self._lister.pages(sync.mount, step.prefix, parts.append, ordered=True)
            except RaycacheError as error:
                reply(error)
                return
            left = len(parts)
            if self.cluster.stormy and self.engine.random.random() < self.cluster.plan.listings_cut:
                # The lake breaks off: some parts have been taken in, and will be, the rest never comes.
                parts = parts[: self.engine.random.randrange(len(parts) + 1)]
                self.cluster.checkers.count("listings cut")
                reply(UnavailableError("the lake broke off"))
            for part in parts:

                def take(part: KeyRange = part) -> None:
                    nonlocal left
                    step.take(part)
                    left -= 1
                    if left == 0:
                        go_on()

                self._later(0.2 * self.engine.random.random(), take)

        go_on()

    def _unmounted_uri(self, path: str) -> str:
        try:
            return self.service.mounts.at(path).uri
        except NotFoundError:
            return ""

    def _list(self, request: Any, errors: dict[Need, RaycacheError], reply: Then) -> None:
        try:
            reply(self.service.catalog.listing(request, errors, self.engine.now_s))
        except RaycacheError as error:
            reply(error)

    def _heartbeat(self, blob: bytes, *, delivered: bool) -> Any:
        heartbeat = decode(blob)
        answer = self.service.heartbeat(heartbeat, self.engine.now_s, delivered=delivered)
        self.cluster.checkers.heard(self, heartbeat, answer)
        return answer

    def _commit(self, records: Sequence[dict[str, Any]]) -> None:
        self._scribe.write(records)
        self.service.apply(records)

    def _ask(self, needs: Sequence[Need], then: Callable[[dict[Need, RaycacheError]], None]) -> None:
        """Ask the lake; each need takes its own time."""
        for need in self._asking.ask(needs, then):
            self._later(0.005 + 0.03 * self.engine.random.random(), lambda need=need: self._fetch(need))

    def _fetch(self, need: Need) -> None:
        """The lake answers now; the word takes a while to come back."""
        result = self._lister.fetch([need])[need]

        def back() -> None:
            self.service.fetched(need, result)
            self._asking.answered(need, result.error)

        self._later(0.005 + 0.03 * self.engine.random.random(), back)

    # --- workers ------------------------------------------------------------------------------------------------------

    def _keep_workers(self) -> None:
        for effect in self.service.nodes_changed(self.cluster.live_nodes(), self.engine.now_s):
            match effect:
                case StartWorker(worker, epoch, name):
                    self.cluster.checkers.started(self, worker, epoch)
                    self._later(0.05, lambda w=worker, e=epoch, n=name: self._start_worker(w, e, n))
                case AdoptWorker(worker, epoch, name):
                    self._watch(worker, epoch, name)
                case ForgetWorker():
                    pass
                case AskWorker():
                    self._hear(effect.actor_name)
                case EndWorker():
                    found = self.cluster.workers.get(effect.actor_name)
                    if found is not None and found.alive:
                        found.die()
        checkpoint = self.service.checkpoint(self.engine.now_s)
        if checkpoint is not None:
            self.cluster.kept = json.dumps(checkpoint.record(self.engine.now_s))
        self._later(_NODES_PERIOD_S, self._keep_workers)

    def _start_worker(self, worker: str, epoch: int, name: str) -> None:
        self.cluster.start_worker(worker, epoch, name)

        def started(answer: Any) -> None:
            if not self.alive:
                return
            if isinstance(answer, RaycacheError):
                self.service.lost(worker, epoch, self.engine.now_s)
            else:
                self.service.membership.spoke(worker, epoch, answer, self.engine.now_s)
                self._watch(worker, epoch, name)

        find = self.cluster.workers.get
        self.cluster.network.call(lambda: find(name), "start", (), _START_TIMEOUT_S, started)

    def _hear(self, name: str) -> None:
        """Fetch a worker's next heartbeat."""

        def answered(answer: Any) -> None:
            if self.alive and not isinstance(answer, RaycacheError):
                self._heartbeat(answer, delivered=False)

        find = self.cluster.workers.get
        self.cluster.network.call(lambda: find(name), "beat", (), _RULES_TIMEOUT_S, answered)

    def _watch(self, worker: str, epoch: int, name: str) -> None:
        found = self.cluster.workers.get(name)
        if found is None or not found.alive:
            self.service.lost(worker, epoch, self.engine.now_s)

    def worker_ended(self, worker: SimulatedWorker) -> None:
        """The watching call has ended; also for a worker of long ago."""
        if self.alive:
            self.service.lost(worker.worker, worker.epoch, self.engine.now_s)

    # --- loads --------------------------------------------------------------------------------------------------------

    @property
    def jobs(self) -> dict[str, LoadJob]:
        """Those that have not ended."""
        return {job.job_id: job for job in self.board.live() if not job.finished}

    def _start_job(self, job_id: str, request: LoadRequest, reply: Then) -> None:
        """Look the paths up, so that a missing one is told, and begin."""

        def found(files: Files | RaycacheError) -> None:
            try:
                if isinstance(files, RaycacheError):
                    raise files
                self._begin_job(job_id, self.board.start(job_id, request, self.engine.now_s))
            except RaycacheError as error:
                reply(error)
                return
            reply(job_id)

        self._find(request.paths[0], found)

    def _begin_job(self, job_id: str, records: Sequence[dict[str, Any]]) -> None:
        """Write down that a job has begun; where that fails, it is given up."""
        try:
            self._scribe.write(records)
        except RaycacheError:
            self.board.stop(job_id, self.engine.now_s)
            raise

    def _wait(self, job_id: str, wait_s: float, reply: Then) -> None:
        """Answer how far a job is when the time is over."""
        self.board.progress(job_id, self.engine.now_s)  # an unknown one is told at once
        self._later(wait_s, lambda: reply(self.board.progress(job_id, self.engine.now_s)))

    def _find(self, path: str, then: Callable[[Files | RaycacheError], None]) -> None:
        """The files that one path means, or why that cannot be told: what `LoadListing` does, in one go."""
        base = glob_bases(path)[-1]
        question = ResolveRequest([base], 0, 0, fresh=True)
        listing = ListRequest(base, "**" in path or base == path, fresh=True)

        def looked_up(errors: dict[Need, RaycacheError]) -> None:
            answer = self.service.resolve(question, errors, self.engine.now_s)
            if answer.errors or answer.kinds[0] == FileKind.MISSING:
                then(answer.errors.get(0) or NotFoundError(f"{path} does not exist"))
            elif answer.kinds[0] == FileKind.FILE:
                then([(path, answer.files.versions()[0])])
            else:
                self._ask(self.service.catalog.list_needs(listing, self.engine.now_s), listed)

        def listed(errors: dict[Need, RaycacheError]) -> None:
            try:
                answer = self.service.catalog.listing(listing, errors, self.engine.now_s)
            except RaycacheError as error:
                then(error)
                return
            files = [row for row in answer.rows() if row.kind == FileKind.FILE]
            then([(join(base, row.name), answer.version(row)) for row in files])

        self._ask(self.service.catalog.resolve_needs(question, self.engine.now_s), looked_up)

    def _drive(self) -> None:
        now_s = self.engine.now_s
        self._unwritten += self.board.take_ended(now_s)
        with contextlib.suppress(RaycacheError):
            self._scribe.write(self._unwritten)
            self._unwritten.clear()
        for job in self.board.take_unlisted():
            self._list_job(job)
        for job, batch in self.board.next_batches(
            self.service.membership.view(), self.service.mounts.table().version, now_s
        ):
            self._send(job, batch)
        self._later(_JOB_PAUSE_S, self._drive)

    def _list_job(self, job: LoadJob) -> None:
        def found(files: Files | RaycacheError) -> None:
            now_s = self.engine.now_s
            if isinstance(files, RaycacheError):
                job.listing_failed(files, now_s)
                return
            for path, version in files:
                root_uri, key = split_uri(version.uri)
                info = ObjectInfo(key, version.size_bytes, version.etag, version.mtime_ns)
                job.add(Origin(root_uri, key, path), [(key, pack(info))], self.service.membership.view())
            job.all_listed(now_s)

        if job.request.given:
            for page in self.board.given(job.job_id):
                job.add_packed(page, self.service.membership.view())
            job.all_listed(self.engine.now_s)
            return
        self._find(job.request.paths[0], found)

    def _send(self, job: LoadJob, batch: Batch) -> None:
        def answered(answer: Any) -> None:
            if not self.alive:
                return
            if isinstance(answer, RaycacheError):
                self.board.failed(job, batch, UnavailableError("the worker did not answer"), self.engine.now_s)
            else:
                self.board.replied(job, batch, decode(answer[0]), self.engine.now_s)

        find = self.cluster.workers.get
        self.cluster.network.call(
            lambda: find(batch.worker.actor_name),
            "read",
            (encode(batch.request),),
            self.cluster.plan.settings.worker_timeout_s,
            answered,
            late=answered,
        )

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def act() -> None:
            if not self.alive:
                return
            if self.paused_until_s > self.engine.now_s:
                self.engine.after(self.paused_until_s - self.engine.now_s, f"{self.name} goes on", act)
            else:
                action()

        self.engine.after(delay_s, f"{self.name} goes on", act)
