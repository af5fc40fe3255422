"""Results for which newer ones stand: the first to go, unless somebody reads them again."""

from __future__ import annotations

from raycache.messages import Purpose, Selector
from raycache.types import FileVersion, Tier
from raycache.workers.effects import DropDisk, DropMemory, Effect
from tests.unit.workers.test_service import Worker, file, loads_in, reply_in


def supersede(worker: Worker, *files: FileVersion) -> None:
    reply, effects = worker.service.free(Selector([], [version.id() for version in files], superseded=True), False, 1.0)
    worker.service.validate()
    assert (reply.blocks, effects) == (0, [])


def held(worker: Worker, *files: FileVersion) -> str:
    reply = worker.service.resident([version.id() for version in files])
    return "".join(
        version.uri[-1] for version, m, d in zip(files, reply.memory_masks, reply.disk_masks, strict=True) if m | d
    )


def fill(worker: Worker, version: FileVersion, now_s: float) -> list[Effect]:
    """What happens when a file comes in."""
    (load,) = loads_in(effects := worker.ask(version, now_s=now_s, purpose=Purpose.PREFETCH))
    return [*effects, *worker.loaded(load, now_s)]


A, B, C, D = (file(name, 8) for name in "abcd")


def test_superseded_results_make_room_before_older_ones() -> None:
    """They stay as long as there is room; then the last one used goes, since something newer stands for it."""
    worker = Worker(memory=24)
    worker.fill(A)
    worker.fill(B, now_s=1.0)
    worker.fill(C, now_s=2.0)
    supersede(worker, C)
    assert held(worker, A, B, C) == "abc"
    fill(worker, D, 3.0)
    assert held(worker, A, B, C, D) == "abd"


def test_superseded_results_are_dropped_rather_than_written_to_disk() -> None:
    """Room in memory is made at once, and the disk has nothing to do."""
    worker = Worker(memory=16, disk=100)
    worker.fill(A, B)
    supersede(worker, B)
    effects = fill(worker, C, 3.0)
    assert [type(effect) for effect in effects if isinstance(effect, (DropMemory, DropDisk))] == [DropMemory]
    assert held(worker, A, B, C) == "ac"


def test_superseded_results_on_disk_go_first() -> None:
    """There, too, the newest one before the oldest."""
    worker = Worker(memory=0, disk=24)
    for now_s, version in enumerate((A, B, C)):
        worker.fill(version, now_s=float(now_s))
    supersede(worker, C)
    (load,) = loads_in(fill(worker, D, 5.0))
    assert load.tier is Tier.DISK
    assert held(worker, A, B, C, D) == "abd"


def test_a_superseded_result_that_is_read_again_is_like_any_other() -> None:
    """Somebody still uses the old transform: it goes when its turn comes."""
    worker = Worker(memory=24)
    worker.fill(A, B, C)
    supersede(worker, C)
    reply_in(worker.ask(C, now_s=2.0))
    fill(worker, D, 30.0)
    assert held(worker, A, B, C, D) == "bcd"


def test_what_shares_a_segment_with_others_stays() -> None:
    """Small files that came together go together, so that one of them alone is no reason."""
    worker = Worker(memory=16)
    small, other = file("s", 4), file("o", 4)
    (load,) = loads_in(worker.ask(small, other, purpose=Purpose.PREFETCH))
    worker.loaded(load)
    worker.fill(A, now_s=1.0)
    worker.ask(small, now_s=2.0, purpose=Purpose.PREFETCH)
    supersede(worker, small)
    fill(worker, B, 3.0)
    assert held(worker, small, other, A, B) == "sob"
    supersede(worker, small, other)
    fill(worker, A, 4.0)
    assert held(worker, small, other, A, B) == "ab"


def test_to_say_it_twice_or_of_what_is_not_here_changes_nothing() -> None:
    """And what is superseded can be freed as ever."""
    worker = Worker(memory=16)
    worker.fill(A, B)
    supersede(worker, B, D)
    supersede(worker, B)
    reply, _ = worker.service.free(Selector([], [B.id()]), False, 2.0)
    assert (reply.blocks, held(worker, A, B)) == (1, "a")
