"""What happens in a simulation: reads, writes to the lake, loads, frees, crashes; then calm; then the final checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from raycache.errors import RaycacheError

from .client import SimulatedClient
from .cluster import Cluster
from .engine import ViolationError
from .lake import ROOT_URI
from .plan import Plan, plan_of

#: Long enough for a restarted master to settle, for leases to end, and for full reports.
_CALM_S = 14.0
_CALM_ROUNDS_MAX = 5
_FLUSH_PERIOD_S = 0.7
_ALWAYS = ("load", "load", "check", "stats")
_OPERATING_MAX = 16


class Outcome(NamedTuple):
    """What a simulation that kept all invariants has to tell."""

    digest: str
    steps: int
    reads: int
    #: What happened how often: shows that a seed is worth its time.
    figures: dict[str, int]


def simulate(seed: int, plan: Plan | None = None) -> Outcome:
    """Run one seed.

    Raises:
        ViolationError: an invariant does not hold; the message tells how to run the seed again.
    """
    cluster = Cluster(seed, plan or plan_of(seed))
    try:
        Scenario(cluster).run()
    except AssertionError as error:
        known = isinstance(error, ViolationError)
        checker, what = (error.checker, error.what) if known else ("ServicesKeepTheirInvariants", str(error))
        trail = "\n  ".join(list(cluster.engine.trail)[-25:])
        story = f"{what}\nThe last events:\n  {trail}\nRun it again: python -m tests.simulation --seed {seed}"
        failure = ViolationError(checker, story)
        raise failure from error
    engine = cluster.engine
    return Outcome(engine.digest, engine.steps, cluster.checkers.reads, cluster.checkers.figures())


class Scenario:
    """Lets things happen in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.engine = cluster.engine
        self.draw = cluster.engine.random
        self.plan = cluster.plan
        self.keys = [f"d{number % 2}/f{number}" for number in range(self.plan.files)]
        #: Of what is mounted at /m: None while it is not known, since the answer to a change got lost.
        self.mounted: bool | None = False
        self.changing_mount = False
        #: What the operators are doing at this moment.
        self.operating = 0

    def run(self) -> None:
        """All of it."""
        plan = self.plan
        for key in self.keys:
            self.cluster.lake.write(key, self._size())
        for client in self.cluster.clients:
            self._often(plan.read_period_s, lambda client=client: self._read(client))
            self._often(_FLUSH_PERIOD_S, client.flush)
        self._often(plan.overwrite_period_s, self._overwrite)
        self._often(plan.crash_period_s, self._crash_worker)
        self._often(plan.master_crash_period_s, self.cluster.crash_master)
        self._often(plan.node_period_s, self._change_nodes)
        self._often(plan.operator_period_s, self._operate)
        self._often(plan.pressure_period_s, self._press)
        self._often(plan.pause_period_s, self._pause)
        self.engine.run_until(plan.active_s)
        self._calm_down()
        self.cluster.checkers.at_rest(self.keys, mounted=self.mounted)

    def _often(self, period_s: float, action: Callable[[], None]) -> None:
        """Do something at random times while the storm lasts."""
        if not period_s:
            return

        def act() -> None:
            if self.cluster.stormy and self.engine.now_s < self.plan.active_s:
                self._often(period_s, action)
                action()

        self.engine.after(min(self.draw.expovariate(1 / period_s), 4 * period_s), "", act)

    def _size(self) -> int:
        return self.draw.choice(self.plan.sizes_bytes)

    # --- what happens -------------------------------------------------------------------------------------------------

    def _read(self, client: SimulatedClient) -> None:
        if client.busy:
            return
        count = self.draw.choice(self.plan.read_counts)
        keys = [self.draw.choice(self.keys) for _ in range(count)]
        ranges: list[tuple[int, int | None]] = [
            (0, None) if self.draw.random() < 0.4 else (self.draw.randrange(70), self.draw.randrange(40)) for _ in keys
        ]
        if self.cluster.plan.settings.grid.has_pages:
            # Little of many blocks, as readers do who pick columns.
            ranges = [(at, size if size is None or at % 2 else size % 4) for at, size in ranges]
        spelling = self.draw.choice(("/lake/", "/lake/", "memory://lake/"))
        client.busy = True
        started_s, held_up_s = self.engine.now_s, client.held_up_s
        try:
            paths = [spelling + key for key in keys]
            outcome: list[bytes] | RaycacheError
            try:
                if len(paths) == 1 and ranges[0] == (0, None):
                    outcome = [client.cache.read(paths[0]).to_pybytes()]
                else:
                    outcome = [buffer.to_pybytes() for buffer in client.cache.read_ranges(paths, ranges)]
            except RaycacheError as error:
                outcome = error
        finally:
            client.busy = False
        own_s = self.engine.now_s - started_s - (client.held_up_s - held_up_s)
        self.engine.note(f"{client.name} has read {keys} {ranges}: {outcome!r}")
        self.cluster.checkers.read_ended(client, keys, ranges, started_s, own_s, outcome)

    def _overwrite(self) -> None:
        key = self.draw.choice(self.keys)
        if self.draw.random() < 0.25 and self.cluster.lake.content(key) is not None:
            self.cluster.lake.remove(key)
        else:
            self.cluster.lake.write(key, self._size())
        if self.plan.written_through and self.operating < _OPERATING_MAX:
            self._close(key)

    def _close(self, key: str) -> None:
        """The writer closes the file: it tells the master, and goes on when that has answered."""
        client, count = self.draw.choice(self.cluster.clients), len(self.cluster.lake.history[key])
        self.operating += 1
        try:
            client.cache.client.calls.master("invalidate", [(f"/lake/{key}", False)])
        except RaycacheError as error:
            self.engine.note(f"{client.name} has not heard that {key} is closed: {error!r}")
        else:
            self.cluster.lake.closed_at(key, count)
            self.cluster.checkers.count("writers closed")
        finally:
            self.operating -= 1

    def _crash_worker(self) -> None:
        live = self.cluster.live_workers()
        if not live:
            return
        worker = self.draw.choice(live)
        worker.die()
        if worker.slot.files and self.draw.random() < 0.6:
            segment = self.draw.choice(list(worker.slot.files))
            worker.slot.rot(segment, self.draw.randrange(1 << 20))
            self.engine.note(f"{segment} rots")

    def _change_nodes(self) -> None:
        homes = [client.node for client in self.cluster.clients]
        free = [node for node in self.cluster.nodes.values() if node.alive and node not in homes]
        if free and self.draw.random() < 0.5:
            self.cluster.remove_node(self.draw.choice(free))
        elif len(self.cluster.live_nodes()) < 5:
            self.cluster.add_node()

    def _pause(self) -> None:
        """The master or a worker is stopped, or has one long event to carry out: nothing of it happens meanwhile."""
        processes = [*self.cluster.live_workers(), *([self.cluster.master] if self.cluster.master is not None else [])]
        if not processes:
            return
        process = self.draw.choice(processes)
        seconds = self.draw.random() * self.plan.pause_max_s
        process.paused_until_s = max(process.paused_until_s, self.engine.now_s + seconds)
        self.engine.note(f"{process.name} is stopped for {seconds:.3f} s")
        self.cluster.checkers.count("pauses")

    def _press(self) -> None:
        for worker in self.cluster.live_workers():
            worker.set_memory_bytes(int(self.plan.memory_bytes * self.draw.choice((0.0, 0.5, 1.0))))

    def _operate(self) -> None:
        """A client acts as the operator: load, free, check, rules. Not many at a time: they nest in each other's waits."""
        if self.operating >= _OPERATING_MAX:
            return
        self.operating += 1
        try:
            self._act()
        finally:
            self.operating -= 1

    def _act(self) -> None:
        client = self.draw.choice(self.cluster.clients)
        key = self.draw.choice([*self.keys, "d0", "d1", "**"])
        action = self.draw.choice((*_ALWAYS, *(() if self.plan.roomy else self.plan.operations)))
        self.engine.note(f"{client.name} {action} {key}")
        try:
            match action:
                case "load":
                    client.cache.load(
                        f"/lake/{key}", replicas=self.draw.choice((1, 1, 2)), verify=self.draw.choice((False, True))
                    )
                case "free":
                    older_than_s = self.draw.choice((0.0, 0.0, 3.0))
                    client.cache.free(f"/lake/{key}", force=self.draw.random() < 0.5, older_than_s=older_than_s)
                case "pin":
                    client.cache.pin(f"/lake/{key}")
                case "unpin":
                    client.cache.unpin(f"/lake/{key}")
                case "ttl":
                    client.cache.set_ttl(f"/lake/{key}", self.draw.choice((None, 0.0, 2.0, 6.0)))
                case "quota":
                    path = self.draw.choice(("/lake", "/lake/d0", "/lake/d1"))
                    client.cache.set_quota(path, self.draw.choice((None, 0, 24, 64, 200)))
                case "sync":
                    client.cache.sync(f"/lake/{key}", dry_run=self.draw.random() < 0.3, load=self.draw.random() < 0.5)
                case "check":
                    client.cache.check(f"/lake/{key}")
                case "mount":
                    self._change_mount(client)
                case "stats":
                    client.stats()
        except RaycacheError as error:
            self.engine.note(f"{client.name} {action} {key}: {error!r}")

    def _change_mount(self, client: SimulatedClient) -> None:
        """Mount something at /m, or take it away, and read through it; one operator at a time."""
        if self.changing_mount:
            return
        self.changing_mount = True
        wanted = not self.mounted
        self.mounted = None
        try:
            if wanted:
                client.cache.mount("/m", f"{ROOT_URI}/d0")
            else:
                client.cache.unmount("/m")
            self.mounted = wanted
            if wanted:
                meta = client.cache.client.locator.resolve(["/m/f0"])[0]
                self.cluster.checkers.mounted(client, meta)
        finally:
            self.changing_mount = False

    # --- the end ------------------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """No more faults: after a while everything must be as if there had been none."""
        cluster = self.cluster
        cluster.stormy = False
        weather = cluster.network.weather
        cluster.lake.unlucky = False
        weather.lost = weather.doubled = weather.slow = 0.0
        for round_number in range(_CALM_ROUNDS_MAX):
            self.engine.run_until(self.engine.now_s + (_CALM_S if round_number == 0 else 10.0))
            for client in cluster.clients:
                client.flush()
            if cluster.checkers.is_quiet():
                break
        self.engine.run_until(self.engine.now_s + 2.5)
