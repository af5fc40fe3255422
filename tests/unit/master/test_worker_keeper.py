"""Workers are started, taken over, watched and heard; nothing of it needs Ray, only handles that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from raycache.clock import ManualClock
from raycache.master.service import MasterService
from raycache.master.worker_keeper import WorkerKeeper
from raycache.messages import BlockReport, Heartbeat, ReadCounters, WorkerStats, encode
from raycache.settings import Settings
from raycache.types import WorkerId

WEIGHT = 1 << 30
RESTARTED = [{"op": "start", "start_ns": number, "cache_id": "c"} for number in (1, 2)]


class Call:
    """A method of an actor handle."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self._answer = answer

    async def remote(self) -> Any:
        return await self._answer()


class Worker:
    """A worker's actor handle: starts, lives until it is ended, and says its word."""

    def __init__(self, worker: WorkerId, epoch: int, *, fails: bool = False) -> None:
        self.ended = asyncio.Event()
        self.word = Heartbeat(
            worker, epoch, 1, BlockReport(True, [], []), WorkerStats(), ReadCounters(hits=3), 0, 0
        )  # fmt: skip
        self._fails = fails
        self.start, self.watch, self.beat = Call(self._start), Call(self._watch), Call(self._beat)

    async def _start(self) -> bytes:
        if self._fails:
            raise ConnectionError("no room for the actor")
        return encode(WEIGHT)

    async def _watch(self) -> None:
        await self.ended.wait()
        raise ConnectionError("the actor died")

    async def _beat(self) -> bytes:
        if self.ended.is_set():
            raise ConnectionError("gone")
        return encode(self.word)


class Launcher:
    """Has the actors that run, by name."""

    def __init__(self, *, fails: bool = False) -> None:
        self.running: dict[str, Worker] = {}
        self._fails = fails

    def start(self, cache_id: str, worker: WorkerId, epoch: int, actor_name: str, settings: dict[str, Any]) -> Worker:
        assert (cache_id, settings) == ("c", Settings().as_dict())
        self.running[actor_name] = Worker(worker, epoch, fails=self._fails)
        return self.running[actor_name]

    def find(self, actor_name: str) -> Worker | None:
        return self.running.get(actor_name)

    def end(self, actor_name: str) -> None:
        if actor_name in self.running:
            self.running.pop(actor_name).ended.set()


class Master:
    """What of the master actor the keeper needs."""

    def __init__(self, launcher: Launcher, records: list[dict[str, Any]]) -> None:
        self.clock = ManualClock()
        self.service = MasterService(Settings(), records, start_ns=5)
        self.tasks: list[asyncio.Task[None]] = []
        self.keeper = WorkerKeeper("c", Settings(), self.service, launcher, self.clock, self.spawn)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def compare(self, *nodes: str) -> None:
        """Look at the nodes once; tasks come as far as they can."""
        self.keeper.carry(self.service.nodes_changed(nodes, self.clock.now_s()))
        for _ in range(10):
            await asyncio.sleep(0)

    def states(self) -> dict[str, str]:
        return {worker: state for worker, _, state, _ in self.service.membership.states(self.clock.now_s())}


def run(
    scenario: Callable[[Master], Coroutine[Any, Any, None]],
    launcher: Launcher | None = None,
    records: list[dict[str, Any]] | None = None,
) -> None:
    async def all_of_it() -> None:
        master = Master(launcher or Launcher(), records or [])
        await scenario(master)
        for task in master.tasks:
            task.cancel()

    asyncio.run(all_of_it())


def test_a_started_worker_lives_until_its_actor_ends() -> None:
    """It is in the view with the weight it said; its end is known when the watching call ends, and a new one follows."""
    launcher = Launcher()

    async def scenario(master: Master) -> None:
        await master.compare("a")
        [view] = master.service.membership.view().workers
        assert (view.worker, view.weight_bytes) == ("a", WEIGHT)
        assert [launcher.running[view.actor_name]] == master.keeper.live()
        launcher.running[view.actor_name].ended.set()
        del launcher.running[view.actor_name]
        await master.compare("a")
        master.clock.advance(5.0)
        await master.compare("a")
        [later] = master.service.membership.view().workers
        assert later.epoch > view.epoch

    run(scenario, launcher)


def test_a_start_that_fails_is_tried_again_later() -> None:
    """The worker counts as lost, not as starting for ever."""

    async def scenario(master: Master) -> None:
        await master.compare("a")
        assert {"a": "lost"} == master.states()
        assert [] == master.keeper.live()

    run(scenario, Launcher(fails=True))


def test_a_worker_of_an_earlier_master_is_taken_over_or_lost() -> None:
    """It is found by its name, and watched; one that spoke and is gone since is lost, so that a new epoch starts."""
    launcher = Launcher()

    async def scenario(master: Master) -> None:
        for node in ("here", "gone"):
            master.service.membership.spoke(node, 4, 7, 0.0)
        launcher.running["raycache-worker-c-here-4"] = Worker("here", 4)
        await master.compare("here", "gone")
        assert {"here": "live", "gone": "lost"} == master.states()
        assert [launcher.running["raycache-worker-c-here-4"]] == master.keeper.live()

    run(scenario, launcher, RESTARTED)


def test_a_node_that_is_gone_leaves_no_handle() -> None:
    """A later worker of the same node is found by its own name."""

    async def scenario(master: Master) -> None:
        await master.compare("a", "b")
        await master.compare("a")
        assert 1 == len(master.keeper.live()) == len(master.keeper._handles)

    run(scenario)


def test_all_are_heard_and_a_silent_one_is_passed_over() -> None:
    """Exact figures want every worker's word; of one that does not answer, its last word stands."""
    launcher = Launcher()

    async def scenario(master: Master) -> None:
        await master.compare("a", "b")
        silent, speaking = launcher.running.values()
        silent.ended.set()
        await master.keeper.hear_all()
        assert {speaking.word.worker: 3} == {node.node: node.counters.hits for node in master.service.stats()}

    run(scenario, launcher)
