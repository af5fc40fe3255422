"""Passive copies: made of what another worker holds, into free memory only, and the first to go."""

from __future__ import annotations

from typing import Any

from raycache.messages import BlockState, Purpose
from raycache.types import Tier
from raycache.workers.effects import DropMemory, Load
from tests.unit.workers.test_service import Worker, file, loads_in, reply_in

COPY: dict[str, Any] = {"purpose": Purpose.READ_COPY, "source_actor": "actor-there"}


def copied(worker: Worker, name: str, now_s: float = 0.0) -> Load:
    (load,) = loads_in(worker.ask(file(name, 8), now_s=now_s, **COPY | {"purpose": Purpose.PREFETCH_COPY}))
    worker.loaded(load, now_s, BlockState.COPIED)
    return load


def test_a_passive_copy_comes_from_its_source_and_is_served_as_copied() -> None:
    """Readers are told that the bytes were in the cache, on another node; the next one finds them here."""
    worker = Worker()
    (load,) = loads_in(worker.ask(file("a", 8), **COPY))
    assert (load.tier, load.passive, load.items[0].source_actor, load.items[0].passive) == (
        Tier.MEMORY, True, "actor-there", True,
    )  # fmt: skip
    assert reply_in(worker.loaded(load, state=BlockState.COPIED)).states == [BlockState.COPIED]
    assert reply_in(worker.ask(file("a", 8), **COPY)).states == [BlockState.HIT_MEMORY]


def test_nothing_is_evicted_for_a_passive_copy() -> None:
    """Without free memory it is refused at once, though older segments could go, and disk has room."""
    worker = Worker(memory=16, disk=100)
    worker.fill(file("a", 8), file("b", 8))
    effects = worker.ask(file("c", 8), **COPY)
    assert reply_in(effects).states == [BlockState.NO_SPACE]
    assert loads_in(effects) == []


def test_passive_copies_go_first_and_are_not_demoted() -> None:
    """However recently one was used: what others hold too is worth less."""
    worker = Worker(memory=16, disk=100)
    worker.fill(file("a", 8))
    load = copied(worker, "b")
    worker.ask(file("b", 8), now_s=1.0, purpose=Purpose.PREFETCH)
    effects = worker.ask(file("c", 8), now_s=2.0)
    assert DropMemory(load.segment) in effects
    (wanted,) = loads_in(effects)
    assert wanted.tier is Tier.MEMORY


def test_who_needs_a_block_that_waits_to_be_copied_may_evict() -> None:
    """One flight a block: a copy still in line is needed from then on, and is loaded from wherever it is."""
    worker = Worker(memory=16, inflight=1)
    worker.fill(file("a", 8))
    (running,) = loads_in(worker.ask(file("b", 8), **COPY | {"purpose": Purpose.PREFETCH_COPY}))
    assert worker.ask(file("c", 8), **COPY) == []
    assert worker.ask(file("c", 8)) == []
    effects = worker.loaded(running, state=BlockState.COPIED)
    (load,) = loads_in(effects)
    assert (load.passive, load.items[0].passive, load.items[0].source_actor) == (False, False, "actor-there")
    assert any(isinstance(effect, DropMemory) for effect in effects)
