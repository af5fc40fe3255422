"""The whole cache in one process: nodes, workers, clients, one master and its journal, a network, and a lake.

The same pure code runs here as in production: `WorkerService`, `MasterService`, `LoadJob`, and the whole of the client
(`Cache`, `Locator`, `Reader`, `Leases`); and a worker's effects are carried out by the same code. What else actors and
threads do around it is written again, as events.
"""

from __future__ import annotations

from typing import Any

from raycache.messages import Hello, MountInfo, MountTable
from raycache.types import MembershipView

from .checkers import Checkers
from .client import SimulatedClient
from .engine import Engine
from .lake import ROOT_URI, Lake
from .master import SimulatedMaster
from .network import Network
from .node import Node
from .plan import Plan
from .worker import SimulatedWorker

#: A worker's own invariants are checked after every so-manieth event of it.
_VALIDATE_EVERY = 4
_NEWS_OF_DEATH_S = 0.3


class Cluster:
    """One simulated cluster."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.plan = plan
        self.engine = Engine(seed)
        #: False when everything has calmed down.
        self.stormy = True
        self.lake = Lake(self.engine)
        self.network = Network(self.engine, plan.weather)
        self.checkers = Checkers(self)
        self.journal: list[dict[str, Any]] = []
        #: What is kept beside it, as text.
        self.kept = ""
        self.nodes: dict[str, Node] = {}
        for _ in range(plan.nodes):
            self.add_node()
        #: Every incarnation there ever was, by actor name.
        self.workers: dict[str, SimulatedWorker] = {}
        self.master: SimulatedMaster | None = None
        self._masters = 0
        self._touches = 0
        #: Workers that have acted in the present event; see `checkers.MemoryIsWithinQuota`.
        self.acted: dict[SimulatedWorker, None] = {}
        self.start_master()
        assert self.master is not None
        self.mount = MountInfo("/lake", ROOT_URI, {}, plan.settings.metadata_ttl_s, not plan.written_through)
        self.journal.extend(self.master.service.mount("mount /lake", self.mount))
        self.master.service.apply(self.journal)
        hello = Hello("sim", plan.settings.as_dict(), {}, MembershipView(0, ()), MountTable(0, ()))
        hello = hello._replace(mounts=self.master.service.mounts.table())
        homes = list(self.nodes.values())
        self.clients = [
            SimulatedClient(self, f"client-{number}", homes[number % len(homes)], hello)
            for number in range(plan.clients)
        ]
        self.engine.after_event = self.checkers.after_event

    # --- nodes --------------------------------------------------------------------------------------------------------

    def add_node(self) -> Node:
        """A machine joins."""
        node = Node(f"node-{len(self.nodes)}", self.plan.memory_bytes, self.plan.disk_bytes)
        self.nodes[node.name] = node
        self.engine.note(f"{node.name} joins")
        return node

    def remove_node(self, node: Node) -> None:
        """A machine is gone, and everything on it."""
        node.alive = False
        self.engine.note(f"{node.name} leaves")
        for worker in self.live_workers():
            if worker.node is node:
                worker.die()

    def live_nodes(self) -> list[str]:
        """What Ray would say."""
        return [node.name for node in self.nodes.values() if node.alive]

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_worker(self, node: str, epoch: int, name: str) -> None:
        """Start an actor; on a dead machine it does not start."""
        if self.nodes[node].alive and name not in self.workers:
            self.engine.note(f"{name} starts")
            self.workers[name] = SimulatedWorker(self, self.nodes[node], epoch, name)

    def live_workers(self) -> list[SimulatedWorker]:
        """All running incarnations, also such as nobody wants any more."""
        return [worker for worker in self.workers.values() if worker.alive]

    def worker_died(self, worker: SimulatedWorker) -> None:
        """Ray tells the master, after a while."""

        def tell() -> None:
            if self.master is not None:
                self.master.worker_ended(worker)

        self.engine.after(_NEWS_OF_DEATH_S * (0.5 + self.engine.random.random()), "news of a death", tell)

    def start_master(self) -> None:
        """Start the master, or start it again."""
        self._masters += 1
        self.master = SimulatedMaster(self, self._masters)
        self.engine.note(f"{self.master.name} starts")

    def crash_master(self) -> None:
        """Kill the master; Ray starts another."""
        if self.master is not None:
            self.master.die()
            self.master = None
            self.engine.after(0.3 + 2 * self.engine.random.random(), "", self.start_master)

    def touched(self, worker: SimulatedWorker) -> None:
        """A worker has acted: its own invariants must hold."""
        self._touches += 1
        self.acted[worker] = None
        if self._touches % _VALIDATE_EVERY == 0:
            worker.service.validate()
