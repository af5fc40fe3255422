"""The pace of loads: a rate that is kept, and a window that shrinks and grows; time is an argument."""

from __future__ import annotations

from raycache.master.loads.pacing import CUT_PERIOD_S, GROW_PERIOD_S, Congestion, TokenBucket

FULL = 96


def test_a_bucket_keeps_its_rate() -> None:
    """Over any time not more than rate x time + burst + one overdraft may go, and nearly as much does."""
    bucket = TokenBucket(100.0, 50.0, 0.0)
    sent = 0
    for tick in range(1_000):
        now_s = tick / 100
        while bucket.ready(now_s):
            bucket.take(30, now_s)
            sent += 30
        assert sent <= 100 * now_s + 50 + 30
    assert sent >= 100 * 9.9


def test_what_did_not_go_is_given_back() -> None:
    """A negative size refills, but never beyond the burst."""
    bucket = TokenBucket(1.0, 10.0, 0.0)
    bucket.take(25, 0.0)
    assert not bucket.ready(0.0)
    bucket.take(-25, 0.0)
    assert bucket.ready(0.0)
    bucket.take(-1_000, 0.0)
    bucket.take(11, 0.0)
    assert not bucket.ready(0.0)


def test_without_complaints_there_is_no_limit() -> None:
    """A worker's first word is no news, whatever it has counted before."""
    congestion = Congestion()
    for second in range(10):
        congestion.answered("a", 1, 7, FULL, float(second))
    assert (congestion.window, congestion.room(10_000)) == (None, None)


def test_a_complaint_halves_the_window_of_all() -> None:
    """One worker's complaint cuts everybody's window, once for all complaints of the same moment."""
    congestion = Congestion()
    for worker in "ab":
        congestion.answered(worker, 1, 0, FULL, 0.0)
    congestion.answered("a", 1, 1, FULL, 1.0)
    congestion.answered("b", 1, 5, FULL, 1.1)
    assert congestion.window == FULL / 2
    congestion.answered("b", 1, 6, FULL, 1.0 + CUT_PERIOD_S)
    assert congestion.window == FULL / 4
    assert (congestion.room(20), congestion.room(30)) == (4, 0)


def test_it_never_stops_altogether() -> None:
    """However many complaints: when nothing is on the way, one request may go."""
    congestion = Congestion()
    for count in range(50):
        congestion.answered("a", 1, count, FULL, count * CUT_PERIOD_S)
    assert congestion.window == 1.0
    assert (congestion.room(0), congestion.room(1)) == (1, 0)


def test_it_recovers() -> None:
    """Answers without complaints open the window again, bit by bit, however many come at once."""
    congestion = Congestion()
    congestion.answered("a", 1, 0, FULL, 0.0)
    congestion.answered("a", 1, 1, FULL, 1.0)
    for _ in range(100):
        congestion.answered("a", 1, 1, FULL, 1.0 + GROW_PERIOD_S)
    assert congestion.window is not None
    assert congestion.window <= FULL / 2 + 4
    now_s = 2.0
    while congestion.window is not None:
        now_s += GROW_PERIOD_S
        assert now_s < 30
        congestion.answered("a", 1, 1, FULL, now_s)


def test_a_restarted_worker_is_no_complaint() -> None:
    """A new incarnation counts from zero, and what it says first is not compared with the old one's count."""
    congestion = Congestion()
    congestion.answered("a", 1, 5, FULL, 0.0)
    congestion.answered("a", 2, 9, FULL, 1.0)
    assert congestion.window is None
    congestion.answered("a", 2, 10, FULL, 2.0)
    assert congestion.window == FULL / 2
