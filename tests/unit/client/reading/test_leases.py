"""Mapped segments: bounded, forgotten when their lease ends, correct when replaced."""

from __future__ import annotations

import pyarrow as pa

from raycache.client.reading.bypass import merged
from raycache.client.reading.leases import LEASE_MARGIN_S, Leases
from raycache.client.reading.read_operation import Part
from raycache.client.reading.spans import Span, joined
from raycache.messages import Grant, GrantKind
from raycache.ranges import Grid
from raycache.types import Tier

V, W = b"v" * 16, b"w" * 16


def grant(name: str, entries: list[tuple[bytes, int, int, int]], length: int = 100, lease_s: float = 12.0) -> Grant:
    versions, blocks, offsets, lengths = [list(column) for column in zip(*entries, strict=True)]
    return Grant(name, Tier.MEMORY, GrantKind.PLASMA, length, "", lease_s, versions, blocks, offsets, lengths)


def buffer(size: int = 100) -> pa.Buffer:
    return pa.py_buffer(bytes(size))


def test_every_block_of_a_granted_segment_is_found() -> None:
    """One grant makes all its blocks readable without a call."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 60), (W, 3, 60, 40)]), "a", buffer(), local=True, now_s=0.0)
    view = table.get(W, 3, 1.0)
    assert view is not None
    assert (view.offset, view.length) == (60, 40)
    assert table.get(W, 0, 1.0) is None


def test_a_lease_is_not_used_past_its_end() -> None:
    """The reader stops a margin before the worker does, and forgets the segment's bytes."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 100)], lease_s=12.0), "a", buffer(), local=True, now_s=0.0)
    assert table.get(V, 0, 12.0 - LEASE_MARGIN_S - 0.1) is not None
    assert table.get(V, 0, 12.0 - LEASE_MARGIN_S) is None
    assert table.mapped_bytes == 0


def test_a_renewed_lease_lasts_longer() -> None:
    """What the worker prolonged stays readable; an old, shorter renewal takes nothing away."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 100)]), "a", buffer(), local=True, now_s=0.0)
    table.renew("a", ["s", "unknown"], 50.0, 1.0)
    table.renew("a", ["s"], 20.0, 1.0)
    assert table.get(V, 0, 49.0) is not None


def test_mapped_bytes_are_bounded_and_the_oldest_go() -> None:
    """Above the bound the segment not read for longest is let go; one larger than the bound stays alone."""
    table = Leases(250)
    for position, name in enumerate("abc"):
        table.add(grant(name, [(V, position, 0, 100)]), "w", buffer(), local=True, now_s=0.0)
    assert (table.get(V, 0, 1.0), table.mapped_bytes) == (None, 200)
    assert table.get(V, 1, 1.0) is not None
    table.add(grant("big", [(W, 0, 0, 999)], length=999), "w", buffer(999), local=True, now_s=0.0)
    assert table.get(W, 0, 1.0) is not None
    assert table.mapped_bytes == 999


def test_mapped_segments_are_bounded_too() -> None:
    """The one not read for longest goes, however small it is."""
    table = Leases(1000, segments_max=2)
    for position, name in enumerate("abc"):
        if position == 2:
            table.take_used()
            assert table.get(V, 0, 1.0) is not None
        table.add(grant(name, [(V, position, 0, 1)], length=1), "w", buffer(1), local=True, now_s=0.0)
    assert (table.get(V, 1, 1.0), table.mapped_bytes) == (None, 2)
    assert None not in (table.get(V, 0, 1.0), table.get(V, 2, 1.0))


def test_a_run_of_blocks_lies_in_one_piece() -> None:
    """Only when all of its blocks are mapped, one after the other, in one segment."""
    table = Leases(1000)
    table.add(grant("s", [(V, 1, 0, 60), (V, 2, 60, 30), (V, 3, 95, 5)]), "a", buffer(), local=True, now_s=0.0)
    table.add(grant("t", [(V, 4, 100, 9)], length=200), "a", buffer(200), local=True, now_s=0.0)
    run = table.run(V, 1, 2, 1.0)
    assert run is not None
    assert ("s", 0, 90) == (run.mapped.segment, run.offset, run.length)
    assert table.run(V, 4, 4, 1.0) == table.get(V, 4, 1.0)
    # A gap, another segment, and blocks that are not mapped.
    assert [None] * 4 == [table.run(V, *span, 1.0) for span in ((1, 3), (3, 4), (0, 1), (4, 5))]


def test_an_ended_lease_is_not_revived() -> None:
    """A late renewal finds the lease ended: by then the worker may have dropped the copy that is mapped here.

    Found by the simulation: the segment had been demoted, its lease was prolonged for the copy on disk, and the reader
    went on in the copy in memory, whose bytes the worker had given to others.
    """
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 100)], lease_s=12.0), "a", buffer(), local=True, now_s=0.0)
    table.renew("a", ["s"], 50.0, 12.0 - LEASE_MARGIN_S)
    assert table.get(V, 0, 12.0 - LEASE_MARGIN_S) is None


def test_a_block_granted_again_elsewhere_is_not_lost_with_the_old_segment() -> None:
    """When an older segment with the same block is let go, the newer view stays."""
    table = Leases(250)
    table.add(grant("old", [(V, 0, 0, 100)]), "w", buffer(), local=True, now_s=0.0)
    table.add(grant("new", [(V, 0, 0, 100)]), "x", buffer(), local=True, now_s=0.0)
    table.add(grant("more", [(W, 0, 0, 100)]), "w", buffer(), local=True, now_s=0.0)
    view = table.get(V, 0, 1.0)
    assert view is not None
    assert view.mapped.segment == "new"


def test_used_segments_are_named_once_for_renewal() -> None:
    """Only leases that were read since the last time are renewed, grouped by worker."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 100)]), "a", buffer(), local=True, now_s=0.0)
    table.add(grant("t", [(W, 0, 0, 100)]), "b", buffer(), local=True, now_s=0.0)
    assert table.take_used() == {"a": ["s"], "b": ["t"]}
    table.get(W, 0, 1.0)
    assert table.take_used() == {"b": ["t"]}
    assert table.take_used() == {}


def test_a_replaced_version_is_not_served_again() -> None:
    """Forgetting a version leaves the other files of the segment readable."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 60), (W, 0, 60, 40)]), "a", buffer(), local=True, now_s=0.0)
    table.forget_version(V)
    assert table.get(V, 0, 1.0) is None
    assert table.get(W, 0, 1.0) is not None


def test_contiguous_parts_are_not_copied() -> None:
    """Parts that follow each other in one segment come back as one slice of it; others are stitched in order."""
    base, other = pa.py_buffer(b"abcdefgh"), pa.py_buffer(b"XYZ")
    whole = joined([Span(base, 1, 2), Span(base, 3, 4)])
    assert (b"bcdefg", base.address + 1) == (whole.to_pybytes(), whole.address)
    assert joined([Span(base, 2, 2), Span(other, 0, 2), Span(base, 0, 2)]).to_pybytes() == b"cdXYab"


def test_bypassed_parts_are_fetched_together() -> None:
    """Neighbouring parts of one file make one request; a gap or another file starts a new one."""
    parts = [Part(0, 0, 2, 2), Part(0, 1, 0, 4), Part(0, 2, 1, 3), Part(1, 0, 0, 4)]
    assert merged(parts, [0, 1, 2, 3], Grid(4, 4)) == [[0, 1], [2], [3]]


def test_a_later_grant_of_a_segment_adds_to_what_is_known_of_it() -> None:
    """Both parts are read from the newer buffer, under its lease; it is mapped, and counted, once."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 60)]), "a", buffer(), local=True, now_s=0.0)
    newer = buffer()
    table.add(grant("s", [(W, 3, 60, 40)], lease_s=30.0), "a", newer, local=True, now_s=1.0)
    for version, block in ((V, 0), (W, 3)):
        view = table.get(version, block, 20.0)
        assert view is not None
        assert view.mapped.buffer is newer
    assert 100 == table.mapped_bytes


def test_a_grant_after_the_lease_has_ended_knows_only_what_it_says() -> None:
    """The worker may have dropped the rest since."""
    table = Leases(1000)
    table.add(grant("s", [(V, 0, 0, 60)]), "a", buffer(), local=True, now_s=0.0)
    table.add(grant("s", [(W, 3, 60, 40)]), "a", buffer(), local=True, now_s=20.0)
    assert (None, True) == (table.get(V, 0, 21.0), table.get(W, 3, 21.0) is not None)


def test_the_blocks_in_the_table_are_bounded() -> None:
    """Segments of tiny files go by their number, long before their bytes count; the oldest first."""
    table = Leases(10_000, entries_max=3)
    for name, version in (("s", V), ("t", W)):
        entries = [(version, block, block, 1) for block in range(2)]
        table.add(grant(name, entries), "a", buffer(), local=True, now_s=0.0)
    assert (None, True) == (table.get(V, 0, 1.0), table.get(W, 1, 1.0) is not None)
    assert 100 == table.mapped_bytes


def test_parts_of_two_segments_are_copied_together_wherever_they_lie() -> None:
    """They follow each other by their places, but not in memory."""
    one, other = pa.py_buffer(b"abcdef"), pa.py_buffer(b"uvwxyz")
    assert b"abcxyz" == joined([Span(one, 0, 3), Span(other, 3, 3)]).to_pybytes()
