"""Loads of a store that does not answer leave room for those of others."""

from __future__ import annotations

from raycache.types import FileVersion
from tests.unit.workers.test_service import Worker, loads_in


def file(store: str, number: int) -> FileVersion:
    return FileVersion(f"{store}/dir/{number}", 8, "1", 0)


def test_a_dead_store_does_not_keep_the_loads_of_another_waiting() -> None:
    """It has all the places that one store may have, and more in line; the next store has its own, and so has a third."""
    worker = Worker(memory=10_000, inflight=4, inflight_bytes=10_000)
    started = {
        store: [load for number in range(9) for load in loads_in(worker.ask(file(store, number)))]
        for store in ("s3://dead", "s3://b", "s3://c", "s3://d")
    }
    assert [4, 2, 1, 1] == [len(loads) for loads in started.values()]


def test_a_dead_store_does_not_take_all_bytes() -> None:
    """Within its bound; those of another store come beside them. Disks below one directory are one store, others not."""
    worker = Worker(memory=10_000, inflight=9, inflight_bytes=16)
    stores = ("file:///mnt/nfs/a", "file:///mnt/nfs/b", "file:///data/fast/a")
    counts = [sum(len(loads_in(worker.ask(file(store, number)))) for number in range(5)) for store in stores]
    assert [2, 0, 1] == counts


def test_stores_take_turns() -> None:
    """Whose line is long does not go first each time."""
    worker = Worker(memory=10_000, inflight=1)
    (running,) = loads_in(worker.ask(file("s3://a", 0)))
    (other,) = loads_in(worker.ask(file("s3://b", 0)))
    for number in range(1, 4):
        worker.ask(file("s3://a", number))
        worker.ask(file("s3://b", number))
    names = []
    for _ in range(3):
        for load in loads_in(worker.loaded(running)):
            names.append(load.items[0].version.uri)
            running, other = other, load
    assert ["s3://a/dir/1", "s3://b/dir/1", "s3://a/dir/2"] == names
