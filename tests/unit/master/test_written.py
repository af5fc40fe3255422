"""Which nodes have heard of a write: a writer waits for those whose readers may still trust what they remember."""

from __future__ import annotations

from raycache.invalidations import EVERYTHING, LEASE_S, Invalidation
from raycache.master.written import KEPT_MAX, WrittenLog

A, B = Invalidation("a"), Invalidation("b")


def test_a_writer_waits_until_all_have_heard() -> None:
    """Those that have spoken within a lease."""
    log = WrittenLog(10, started_s=-100.0)
    log.spoke("n1", 1, log.position, 0.0)
    log.spoke("n2", 1, log.position, 0.0)
    position = log.append([A])
    assert log.unheard(position, 1.0, complete=True)
    log.heard("n1", 1, position)
    assert log.unheard(position, 1.0, complete=True)
    log.heard("n2", 1, position)
    assert not log.unheard(position, 1.0, complete=True)


def test_a_silent_worker_is_waited_for_until_its_lease_is_over() -> None:
    """From its last heartbeat; one that came meanwhile without the news makes it longer."""
    log = WrittenLog(10, started_s=-100.0)
    log.spoke("n1", 1, log.position, 0.0)
    position = log.append([A])
    log.spoke("n1", 1, position - 1, 3.0)
    assert log.unheard(position, LEASE_S + 2.9, complete=True)
    assert not log.unheard(position, LEASE_S + 3.0, complete=True)
    log.forget_silent(LEASE_S + 3.0)
    log.heard("n1", 1, position)
    assert not log.unheard(position, LEASE_S + 3.0, complete=True)


def test_words_of_an_older_incarnation_do_not_count() -> None:
    """It has nothing to say for the one that stands now."""
    log = WrittenLog(10, started_s=-100.0)
    log.spoke("n1", 2, log.position, 0.0)
    position = log.append([A])
    log.heard("n1", 1, position)
    log.spoke("n1", 1, position, 1.0)
    assert log.unheard(position, 1.0, complete=True)


def test_a_new_master_waits_for_all_nodes_or_a_lease() -> None:
    """It does not know which logs its forerunner has let be trusted."""
    log = WrittenLog(10, started_s=50.0)
    position = log.append([A])
    assert log.unheard(position, 51.0, complete=False)
    assert not log.unheard(position, 51.0, complete=True)
    assert not log.unheard(position, 50.0 + LEASE_S, complete=False)


def test_a_worker_is_told_what_it_lacks() -> None:
    """All of it, or everything where that is no longer known."""
    log = WrittenLog(10)
    log.append([A])
    log.append([B])
    assert ([A, B], [B], []) == (log.since(10), log.since(11), log.since(12))
    assert [EVERYTHING] == log.since(3)
    log.append([A] * KEPT_MAX)
    assert [EVERYTHING] == log.since(10)
    assert KEPT_MAX == len(log.since(log.position - KEPT_MAX))
