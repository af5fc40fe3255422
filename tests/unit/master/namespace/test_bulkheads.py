"""A store that does not answer stops its own look-ups, in time, and nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from raycache.errors import RaycacheError, UnavailableError
from raycache.master.namespace.bulkheads import KEPT_MAX, Bulkheads, unless_stalled
from raycache.master.namespace.lookups import HeadNeed, Need, NeedResult
from raycache.messages import MountInfo
from raycache.ufs.base import UnderStorage
from raycache.ufs.faulty import FaultyStorage, PlannedFault
from raycache.ufs.memory import MemoryStorage

DEADLINE_S = 0.5
THREADS = 3


def mount(name: str) -> MountInfo:
    return MountInfo(f"/{name}", f"memory://{name}", {}, 60.0, readonly=True)


class World:
    """Two stores, of which one may hang, and what is learned of both."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked = 0
        self.learned: dict[Need, NeedResult] = {}
        self.now_s = 0.0
        self.stores: dict[str, UnderStorage] = {
            "/well": MemoryStorage("memory://well"),
            "/hung": FaultyStorage(MemoryStorage("memory://hung"), self._hang),
        }
        for store in self.stores.values():
            store.put("f", b"x")
        self.tasks: set[asyncio.Task[None]] = set()
        self.bulkheads = Bulkheads(
            lambda one: self.stores[one.path], THREADS, DEADLINE_S, self._learn, lambda: self.now_s, self._spawn
        )

    def _hang(self, operation: str, key: str, number: int) -> PlannedFault | None:
        del key, number
        if operation != "put":
            self.asked += 1
            assert self.answers.wait(30)
        return None

    def _learn(self, need: Need, result: NeedResult) -> None:
        self.learned[need] = result

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work))

    def need(self, store: str, key: str, generation: int = 0) -> HeadNeed:
        return HeadNeed(mount(store), f"/{store}", f"memory://{store}", key, generation, 0.0)

    async def ask(self, *needs: Need) -> dict[Need, RaycacheError]:
        return await self.bulkheads.ask(needs)


def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        world = World()
        try:
            await scenario(world)
        finally:
            world.answers.set()
            await asyncio.gather(*world.tasks)

    asyncio.run(all_of_it())


def test_a_store_that_hangs_stops_no_other() -> None:
    """However many look-ups wait for it, those of another are answered; its own fail in time, and say of which store."""

    async def scenario(world: World) -> None:
        hung = [asyncio.ensure_future(world.ask(world.need("hung", str(number)))) for number in range(4 * THREADS)]
        well = world.need("well", "f")
        # A task, too, so that the others have asked before it.
        assert {} == await asyncio.ensure_future(world.ask(well))
        assert len(world.tasks) > 4 * THREADS
        assert world.learned[well].head is not None
        for errors in await asyncio.gather(*hung):
            assert ["memory://hung did not answer within 0.5 s; other stores are not concerned"] == [
                str(error) for error in errors.values()
            ]

    run(scenario)


def test_one_question_over_two_stores_has_the_answer_of_the_one_that_is_well() -> None:
    """The needs of the other have failed."""

    async def scenario(world: World) -> None:
        well, hung = world.need("well", "f"), world.need("hung", "f")
        assert [hung] == list(await world.ask(well, hung))
        assert well in world.learned

    run(scenario)


def test_what_comes_late_is_learned_and_asked_only_once() -> None:
    """The asker was told that it failed; the answer is not thrown away, and a second asker joined the first call."""

    async def scenario(world: World) -> None:
        need = world.need("hung", "f")
        assert [need] == list(await world.ask(need))
        assert [need] == list(await world.ask(need))
        assert 1 == world.asked
        world.answers.set()
        await asyncio.gather(*world.tasks)
        assert world.learned[need].head is not None

    run(scenario)


def test_a_store_whose_threads_are_all_stuck_refuses_at_once() -> None:
    """Nothing is begun for who asks then, that it could wait for; when it answers again, so does everything."""

    async def scenario(world: World) -> None:
        await asyncio.gather(*(world.ask(world.need("hung", str(number))) for number in range(THREADS)))
        world.now_s += 1.0
        asked, begun = world.asked, len(world.tasks)
        other = world.need("hung", "other")
        assert [other] == list(await world.ask(other))
        assert begun == len(world.tasks)
        with pytest.raises(UnavailableError, match="did not answer"):
            await world.bulkheads.run(mount("hung"), lambda: None)
        assert asked == world.asked
        world.answers.set()
        await asyncio.gather(*world.tasks)
        assert {} == await world.ask(world.need("hung", "f", 1))

    run(scenario)


def test_work_in_a_store_ends_in_time() -> None:
    """Trying a mount of a store that hangs is given up; its result, or its error, is the caller's otherwise."""

    async def scenario(world: World) -> None:
        with pytest.raises(UnavailableError, match="memory://hung"):
            await world.bulkheads.run(mount("hung"), world.stores["/hung"].head, "f")
        assert "f" == (await world.bulkheads.run(mount("well"), world.stores["/well"].head, "f")).key
        with pytest.raises(RaycacheError, match="absent"):
            await world.bulkheads.run(mount("well"), world.stores["/well"].head, "absent")

    run(scenario)


def test_mounts_of_one_store_share_its_threads_and_compartments_are_bounded() -> None:
    """The same store with the same options is one; with other options another; idle ones make room."""

    async def scenario(world: World) -> None:
        one = world.bulkheads.of(mount("well"))
        assert one is world.bulkheads.of(MountInfo("/elsewhere", "memory://well/below", {}, 1.0, readonly=False))
        assert one is not world.bulkheads.of(MountInfo("/else", "memory://well", {"key": "k"}, 1.0, readonly=False))
        number = one.begin(0.0)
        others = [world.bulkheads.of(mount(f"m{at}")) for at in range(3 * KEPT_MAX)]
        assert one is world.bulkheads.of(mount("well"))
        one.end(number)
        assert others[0] is not world.bulkheads.of(mount("m0"))
        assert others[-1] is world.bulkheads.of(mount(f"m{3 * KEPT_MAX - 1}"))

    run(scenario)


def test_a_listing_goes_on_as_long_as_it_brings_something() -> None:
    """One that brings nothing is given up; one that has ended is the result."""

    async def scenario(world: World) -> None:
        del world
        loop = asyncio.get_running_loop()
        call, moved = loop.create_future(), 0

        def look() -> int:
            nonlocal moved
            moved += 1
            if moved == 10:
                call.set_result("listed")
            return moved

        assert "listed" == await unless_stalled(call, look, 0.001)
        with pytest.raises(UnavailableError, match="listed nothing"):
            await unless_stalled(loop.create_future(), lambda: 0, 0.001)

    run(scenario)
