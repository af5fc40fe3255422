"""The master: carries calls to `MasterService` and load jobs, as the actor does. Only its journal outlives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from raycache.errors import NotFoundError, RaycacheError, UnavailableError
from raycache.master.jobs import Batch, LoadJob
from raycache.master.lister import Lister
from raycache.master.needs import Need
from raycache.master.service import AdoptWorker, ForgetWorker, MasterService, StartWorker
from raycache.messages import Hello, MountInfo, decode, encode

from .lake import LakeDoor
from .network import Then

if TYPE_CHECKING:
    from .cluster import Cluster
    from .worker import SimulatedWorker

_NODES_PERIOD_S = 0.5
_START_TIMEOUT_S = 6.0
_JOB_PAUSE_S = 0.5
_RULES_TIMEOUT_S = 1.0


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
        self.door = LakeDoor(cluster.lake, self.name, cluster.plan.lake_failing)
        start_ns = 1 + int(self.engine.now_s * 1e9)
        self.service = MasterService(cluster.plan.settings, start_ns=start_ns)
        cluster.journal.append({"op": "start", "start_ns": start_ns, "cache_id": "sim"})
        self.service.replay(list(cluster.journal))
        self._lister = Lister(lambda mount: self.door, 1)  # there is one lake
        self._lister._pool = _Inline()
        self._asking: dict[Need, list[Then]] = {}
        self.jobs: dict[str, LoadJob] = {}
        self._job_requests: dict[str, str] = {}
        self._later(0.01, self._keep_workers)

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
                table = service.mount_table()
                reply(Hello("sim", self.cluster.plan.settings.as_dict(), {}, service.view(), table))
            case "resolve":
                resolve = decode(arguments[0])
                self._ask(
                    service.resolve_needs(resolve, now_s),
                    lambda errors: reply(service.resolve(resolve, errors, self.engine.now_s)),
                )
            case "list_directory":
                listing = decode(arguments[0])
                self._ask(service.list_needs(listing, now_s), lambda errors: self._list(listing, errors, reply))
            case "heartbeat":
                reply(self._heartbeat(arguments[0], delivered=True))
            case "mount_table":
                reply(service.mount_table())
            case "mount":
                mount: MountInfo = decode(arguments[1])
                self._record(service.mount(arguments[0], mount, now_s))
                reply(service.mount_table())
            case "unmount":
                uri = self._unmounted_uri(arguments[1])
                self._record(service.unmount(arguments[0], arguments[1], now_s))
                reply((uri, service.mount_table()))
            case "auto_mount":
                self._record(service.auto_mount(arguments[0], decode(arguments[1]), now_s))
                reply(service.mount_table())
            case "add_rules":
                self._record(service.add_rules(arguments[0], decode(arguments[1]), now_s))
                self._tell_rules(reply)
            case "rules":
                reply(service.rules())
            case "count":
                service.count(arguments[0], decode(arguments[1]), now_s)
                reply(None)
            case "stats":
                reply(service.stats())
            case "load":
                reply(self._start_job(*arguments))
            case "job_progress":
                if arguments[0] not in self.jobs:
                    raise NotFoundError(f"load {arguments[0]!r} is unknown")
                reply(self.jobs[arguments[0]].progress(now_s))
            case _:
                raise AssertionError(f"the simulated master has no {method}")

    def _tell_rules(self, reply: Then) -> None:
        """Answer when the workers have heard, or did not answer in time."""
        blob = encode(self.service.rules())
        names = [worker.actor_name for worker in self.service.view().workers]
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

    def _unmounted_uri(self, path: str) -> str:
        try:
            return self.service.mounted_uri(path)
        except NotFoundError:
            return ""

    def _list(self, request: Any, errors: dict[Need, RaycacheError], reply: Then) -> None:
        try:
            reply(self.service.list(request, self.engine.now_s, errors))
        except RaycacheError as error:
            reply(error)

    def _heartbeat(self, blob: bytes, *, delivered: bool) -> Any:
        heartbeat = decode(blob)
        answer = self.service.heartbeat(heartbeat, self.engine.now_s, delivered=delivered)
        self.cluster.checkers.heard(self, heartbeat, answer)
        return answer

    def _record(self, records: Sequence[dict[str, Any]]) -> None:
        self.cluster.journal.extend(records)

    def _ask(self, needs: Sequence[Need], then: Callable[[dict[Need, RaycacheError]], None]) -> None:
        """Ask the lake; a need is on the way at most once."""
        errors: dict[Need, RaycacheError] = {}
        left = len(needs)
        if not left:
            then(errors)
            return

        def answered(need: Need, error: RaycacheError | None) -> None:
            nonlocal left
            left -= 1
            if error is not None:
                errors[need] = error
            if left == 0:
                then(errors)

        for need in needs:
            waiting = self._asking.get(need)
            if waiting is not None:
                waiting.append(lambda error, need=need: answered(need, error))
                continue
            self._asking[need] = [lambda error, need=need: answered(need, error)]
            self._later(0.005 + 0.03 * self.engine.random.random(), lambda need=need: self._fetch(need))

    def _fetch(self, need: Need) -> None:
        """The lake answers now; the word takes a while to come back."""
        result = self._lister.fetch([need])[need]

        def back() -> None:
            self.service.fetched(need, result, self.engine.now_s)
            for then in self._asking.pop(need):
                then(result.error)

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
        self._later(_NODES_PERIOD_S, self._keep_workers)

    def _start_worker(self, worker: str, epoch: int, name: str) -> None:
        self.cluster.start_worker(worker, epoch, name)

        def started(answer: Any) -> None:
            if not self.alive:
                return
            if isinstance(answer, RaycacheError):
                self.service.lost(worker, epoch, self.engine.now_s)
            else:
                self.service.register(worker, epoch, answer, self.engine.now_s)
                self._watch(worker, epoch, name)

        find = self.cluster.workers.get
        self.cluster.network.call(lambda: find(name), "start", (), _START_TIMEOUT_S, started)

    def _watch(self, worker: str, epoch: int, name: str) -> None:
        found = self.cluster.workers.get(name)
        if found is None or not found.alive:
            self.service.lost(worker, epoch, self.engine.now_s)

    def worker_ended(self, worker: SimulatedWorker) -> None:
        """The watching call has ended; also for a worker of long ago."""
        if self.alive:
            self.service.lost(worker.worker, worker.epoch, self.engine.now_s)

    # --- loads --------------------------------------------------------------------------------------------------------

    def _start_job(self, request_id: str, blob: bytes) -> str:
        if request_id in self._job_requests:
            return self._job_requests[request_id]
        settings = self.cluster.plan.settings
        job = LoadJob(
            f"job-{len(self.jobs)}",
            decode(blob),
            settings.block_size_bytes,
            settings.extent_size_bytes,
            self.engine.now_s,
        )
        self.jobs[job.job_id] = job
        self._job_requests[request_id] = job.job_id
        self._drive(job)
        return job.job_id

    def _drive(self, job: LoadJob) -> None:
        now_s = self.engine.now_s
        for batch in job.next_batches(self.service.view(), self.service.mount_table().version, now_s):
            self._send(job, batch)
        if not job.finished:
            self._later(_JOB_PAUSE_S, lambda: self._drive(job))

    def _send(self, job: LoadJob, batch: Batch) -> None:
        def answered(answer: Any) -> None:
            if not self.alive:
                return
            if isinstance(answer, RaycacheError):
                job.failed(batch.batch_id, UnavailableError("the worker did not answer"), self.engine.now_s)
            else:
                job.replied(batch.batch_id, decode(answer[0]), self.engine.now_s)

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
            if self.alive:
                action()

        self.engine.after(delay_s, f"{self.name} goes on", act)
