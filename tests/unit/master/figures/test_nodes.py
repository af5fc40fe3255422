"""Figures: counters are never lost and never counted twice."""

from __future__ import annotations

import pytest

from raycache.master.figures import nodes as module
from raycache.master.figures.nodes import DEPARTED, EPOCHS_KEPT, Figures
from raycache.messages import Counts, Delivery, ReadCounters, ReadTag, WorkerStats


def counts(hits: int) -> Counts:
    return Counts([(ReadTag("01", "task", "/lake"), ReadCounters(hits=hits))], [])


def _heard(figures: Figures, node: str, epoch: int, sequence: int, hits: int) -> None:
    stats = WorkerStats(memory_used_bytes=hits, evictions=hits)
    figures.heard(node, epoch, sequence, ReadCounters(hits=hits), stats)


def _hits(figures: Figures) -> dict[str, int]:
    return {node.node: node.counters.hits for node in figures.all({})}


def test_the_latest_word_of_an_epoch_counts() -> None:
    """Totals replace totals; late and repeated words change nothing."""
    figures = Figures()
    for sequence, hits in ((1, 5), (3, 9), (3, 9), (2, 7)):
        _heard(figures, "a", 1, sequence, hits)
    assert {"a": 9} == _hits(figures)


def test_epochs_of_a_node_add_up() -> None:
    """A lost worker's counts stay, its sizes do not; its last word may come late."""
    figures = Figures()
    _heard(figures, "a", 1, 1, 5)
    _heard(figures, "a", 2, 1, 1)
    _heard(figures, "a", 1, 2, 6)
    [node] = figures.all({"a": 2})
    assert (True, 7, 7, 1) == (node.alive, node.counters.hits, node.stats.evictions, node.stats.memory_used_bytes)
    [node] = figures.all({})
    assert (False, 7, 7, 0) == (node.alive, node.counters.hits, node.stats.evictions, node.stats.memory_used_bytes)


def test_many_epochs_are_summed_up_once() -> None:
    """The number of epochs kept is bounded, the sum exact, also when the oldest speaks again."""
    figures = Figures()
    epochs = EPOCHS_KEPT + 3
    for epoch in range(1, epochs + 1):
        _heard(figures, "a", epoch, 1, epoch)
    _heard(figures, "a", 1, 9, 1)
    assert {"a": sum(range(1, epochs + 1))} == _hits(figures)


def test_what_a_lost_worker_had_passed_on_is_not_counted_again() -> None:
    """It died before it could answer its readers: they repeat it to the master, which knows what was in the last word."""
    figures = Figures()
    figures.heard("a", 1, 1, ReadCounters(hits=10), WorkerStats(), {"reader": 4})
    assert not figures.count("a", Delivery("reader", 4, counts(10)))
    assert figures.count("a", Delivery("reader", 5, counts(1)))
    assert figures.count("a", Delivery("another", 4, counts(1)))
    assert {"a": 12} == _hits(figures)


def test_readers_without_a_worker_are_counted() -> None:
    """Their counts are increments."""
    figures = Figures()
    figures.count("a", Delivery("reader", 1, counts(2)))
    figures.count("a", Delivery("reader", 2, counts(3)))
    figures.count("a", Delivery("reader", 2, counts(3)))
    assert {"a": 5} == _hits(figures)


def test_nodes_long_gone_are_summed_up_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of nodes is bounded, the total exact."""
    monkeypatch.setattr(module, "NODES_KEPT_MAX", 3)
    figures = Figures()
    for i in range(6):
        _heard(figures, f"n{i}", i + 1, 1, 1)
    assert 6 == sum(_hits(figures).values())
    assert DEPARTED in _hits(figures)
    assert len(_hits(figures)) <= 4
