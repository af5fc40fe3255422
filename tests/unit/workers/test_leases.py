"""How long a worker's leases last while memory is short, and how they count as heat."""

from __future__ import annotations

from raycache.workers.effects import DropMemory
from raycache.workers.tickets import SHORT_LEASE_S
from tests.unit.workers.test_service import HIT_DISK, HIT_MEMORY, Worker, file, reply_in


def test_memory_that_is_to_be_given_back_is_leased_for_one_read_only() -> None:
    """What is always in use would never be given back; what is on disk is leased as ever."""
    worker = Worker(memory=16, disk=100)
    worker.fill(file("a", 8), file("b", 8), file("c", 8))
    assert (HIT_MEMORY, HIT_DISK) == tuple(s for name in "ac" for s in reply_in(worker.ask(file(name, 8))).states)
    worker.service.set_memory_bytes(4, 1.0)
    assert worker.service.renewable(["s0", "s2"]) == ["s2"]
    worker.service.touch(["s0", "s2"], 9.0)
    leases = [reply_in(worker.ask(file(name, 8), now_s=9.5)).grants[0].lease_s for name in "ac"]
    assert [SHORT_LEASE_S, 10.0] == leases
    # Both were on their way to disk when a lease was taken on the first; it gives its memory back when that has ended.
    assert [[DropMemory(name)] for name in ("s1", "s0")] == [
        worker.service.demoted(name, True, 10.6) for name in ("s1", "s0")
    ]
    assert worker.service.renewable(["s0", "s2"]) == ["s0", "s2"]


def test_the_heat_of_a_file_is_that_of_its_hottest_segment() -> None:
    """Whatever tells it: residency, which gives 0 to what is not here, and the list of the hottest files."""
    worker = Worker()
    large, small, absent = file("a", 40), file("b", 4), file("c", 4)
    worker.fill(large, small)
    worker.ask(small)
    worker.ask(large, blocks=[4])
    for now_s in (1.0, 2.0):
        worker.ask(large, blocks=[0, 1], now_s=now_s)
    found = worker.service.resident([version.id() for version in (large, small, absent)])
    assert ([0b11111, 0b1, 0], [0, 0, 0], [2, 1, 0]) == found
    heat = worker.service.heat(9)
    while not heat.done:
        heat.step()
    assert [(large.uri, 2), (small.uri, 1)] == [(row.uri, row.hits) for row in heat.rows()]
