"""Who read what, at the master: each batch counts once, and quiet readers are summed up."""

from __future__ import annotations

from raycache.master.figures.attribution import READERS_KEPT_MAX, Readers
from raycache.messages import OTHER_READERS, Counts, ReadCounters, ReadTag

TAG = ReadTag("01", "train", "/lake/x")


def counts(hits: int, tag: ReadTag = TAG) -> Counts:
    return Counts([(tag, ReadCounters(hits=hits))], [])


def test_a_repeated_batch_is_counted_once() -> None:
    """Whatever is repeated or late, of each worker's epoch a number counts once."""
    readers = Readers()
    one, two = (1, counts(1).readers), (2, counts(10).readers)
    readers.heard("a", 1, [one], 0.0)
    readers.heard("a", 1, [one, two], 1.0)
    readers.heard("a", 1, [one], 2.0)
    readers.heard("a", 2, [one], 3.0)
    readers.heard("b", 1, [one], 4.0)
    assert [(TAG, ReadCounters(hits=13), 1.0)] == readers.all(5.0)


def test_the_quietest_readers_are_summed_up() -> None:
    """There are never more than so many, and the sum stays."""
    readers = Readers()
    for number in range(READERS_KEPT_MAX + 50):
        readers.count(counts(1, ReadTag("01", str(number), "/x")).readers, float(number))
    rows = readers.all(0.0)
    assert READERS_KEPT_MAX == len(rows)
    assert READERS_KEPT_MAX + 50 == sum(counters.hits for _, counters, _ in rows)
    assert 51 == next(counters.hits for tag, counters, _ in rows if tag == OTHER_READERS)
