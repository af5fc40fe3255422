"""Claims on results: each is made once, and nobody waits for one who is dead."""

from __future__ import annotations

from raycache.master.kept_results import KeptResults
from raycache.messages.keeping import CLAIM_S, ClaimState, KeptResult, etag_of

KEPT, GRANTED, TAKEN = ClaimState


def result(key: str = "d/1", content: str = "x", rows: int = 3, cpu_s: float = 2.0) -> KeptResult:
    return KeptResult(key, 100, etag_of(rows, cpu_s, content))


def test_one_makes_it_and_the_others_read_it() -> None:
    """The first claim is granted, the next ones wait, and get the result when it is there."""
    results = KeptResults()
    assert results.claim("d/1", "a", 0).state == GRANTED
    assert results.claim("d/1", "b", 1).state == TAKEN
    assert results.claim("d/1", "a", 1).state == GRANTED
    results.keep(result(), 2)
    reply = results.claim("d/1", "b", 3)
    assert (reply.state, reply.result) == (KEPT, result())
    assert results.claim("d/2", "b", 3).state == GRANTED


def test_a_claim_that_is_not_renewed_is_taken_over() -> None:
    """Whoever renews it has it; a dead one loses it, and takes nothing from who took over."""
    results = KeptResults()
    results.claim("d/1", "a", 0)
    results.renew(["d/1", "d/9"], "a", CLAIM_S - 1)
    assert results.claim("d/1", "b", CLAIM_S + 1).state == TAKEN
    assert results.claim("d/1", "b", 2 * CLAIM_S).state == GRANTED
    results.renew(["d/1"], "a", 2 * CLAIM_S)
    results.release("d/1", "a")
    assert results.claim("d/1", "c", 2 * CLAIM_S + 1).state == TAKEN
    (row,) = results.datasets(0)
    assert (row.waited, row.taken_over) == (2, 1)


def test_a_claim_that_is_released_goes_to_the_next() -> None:
    """What could not be kept is made by the next one at once."""
    results = KeptResults()
    results.claim("d/1", "a", 0)
    results.release("d/1", "a")
    assert results.claim("d/1", "b", 0).state == GRANTED


def test_what_cannot_be_read_is_made_again() -> None:
    """Only if it is the version that the asker could not read; a newer one is there for it."""
    results = KeptResults()
    results.keep(result(content="old"), 0)
    assert results.claim("d/1", "a", 1, gone=result(content="old").etag).state == GRANTED
    results.keep(result(content="new"), 2)
    assert results.claim("d/1", "b", 3, gone=result(content="old").etag).state == KEPT
    (row,) = results.datasets(3)
    assert (row.lost, row.made) == (1, 2)


def test_counts_say_what_was_saved() -> None:
    """CPU seconds are saved by each reading."""
    results = KeptResults()
    results.keep(result(rows=3, cpu_s=2.0), 0)
    results.keep(result("d/2", rows=4, cpu_s=0.5), 0)
    for key in ("d/1", "d/1", "d/2", "d/3"):
        results.used(key, 10)
    (row,) = results.datasets(15)
    assert row[:6] == ("d", 2, 200, 7, 2.5, 4.5)
    assert (row.hits, row.made, row.idle_s) == (3, 2, 5)


def test_the_number_of_results_is_bounded() -> None:
    """The least lately wanted are forgotten."""
    results = KeptResults(results_max=2)
    assert results.keep(result("d/1"), 0) == []
    results.keep(result("d/2"), 0)
    results.claim("d/1", "a", 0)
    assert results.keep(result("d/3"), 0) == [result("d/2")]
    assert results.get("d/1") is not None


def test_a_dataset_is_cut_as_it_was_first() -> None:
    """Until it is dropped; so that groups stay the same when files come."""
    results = KeptResults()
    assert results.cut("d", 4) == 4
    assert results.cut("d", 7) == 4
    results.keep(result(), 0)
    assert results.drop("d") == [result()]
    assert results.cut("d", 7) == 7
    assert results.datasets(0) == []


def of(key: str, origin: str) -> KeptResult:
    return KeptResult(key, 100, etag_of(1, 1.0, "x", origin))


def test_what_was_made_last_stands_for_what_has_the_same_origin() -> None:
    """A changed transform, or files in newer versions; never another group, nor what has no origin."""
    results = KeptResults()
    old, other, none = of("d/1", "aa"), of("d/2", "bb"), of("d/3", "")
    for each in (old, other, none):
        results.keep(each, 0)
        assert results.superseded_by(each) == []
    new = of("e/1", "aa")
    results.keep(new, 1)
    assert results.superseded_by(new) == [old]
    assert results.superseded_by(of("e/9", "")) == []
    results.lose("d/1")
    assert results.superseded_by(new) == []


def test_results_that_are_forgotten_or_dropped_are_not_superseded() -> None:
    """Nothing is left of them; a result that is made again is there once."""
    results = KeptResults(results_max=2)
    results.keep(of("d/1", "aa"), 0)
    results.keep(of("d/1", "aa"), 1)
    results.keep(of("d/2", "aa"), 2)
    assert [r.key for r in results.superseded_by(of("d/2", "aa"))] == ["d/1"]
    results.keep(of("d/3", "aa"), 3)
    assert [r.key for r in results.superseded_by(of("d/3", "aa"))] == ["d/2"]
    results.drop("d")
    assert results.superseded_by(of("e/1", "aa")) == []
