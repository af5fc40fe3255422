"""Locations: masks per worker and version, exact after any order of reports, and bounded."""

from __future__ import annotations

import xxhash

from raycache.master import locations as module
from raycache.master.locations import Locations
from raycache.messages import BlockReport

V1, V2 = b"1" * 16, b"2" * 16


def _report(*pairs: tuple[bytes, int], full: bool = False) -> BlockReport:
    return BlockReport(full, [version for version, _ in pairs], [mask for _, mask in pairs])


def test_reports_add_replace_and_remove() -> None:
    """The last word on a version counts; a mask of 0 removes it."""
    locations = Locations()
    locations.apply("a", _report((V1, 0b1), (V2, 0b10), full=True))
    locations.apply("b", _report((V1, 0b11)))
    assert (("a", 0b1), ("b", 0b11)) == locations.holders(V1)
    locations.apply("a", _report((V1, 0b111), (V2, 0)))
    assert (("b", 0b11), ("a", 0b111)) == locations.holders(V1)
    assert () == locations.holders(V2)
    assert 1 == len(locations)


def test_many_are_asked_at_once() -> None:
    """Each different answer comes once; what nobody holds is an answer."""
    locations = Locations()
    locations.apply("a", _report((V1, 0b1), (V2, 0b1)))
    nobody = b"3" * 16
    reply = locations.holders_of([V1, nobody, V2, V1])
    assert [(("a", 0b1),), ()] == reply.said
    assert [0, 1, 0, 0] == reply.numbers
    locations.drop("a")
    reply = locations.holders_of([V1, nobody, V2])
    assert [()] * 3 == [reply.said[number] for number in reply.numbers]


def test_a_full_report_replaces_all_earlier_ones() -> None:
    """What it does not name is no longer there."""
    locations = Locations()
    locations.apply("a", _report((V1, 1), (V2, 1)))
    locations.apply("a", _report((V2, 2), full=True))
    assert () == locations.holders(V1)
    assert (("a", 2),) == locations.holders(V2)


def test_a_dropped_worker_holds_nothing() -> None:
    """Nor does it after it has come back with news only."""
    locations = Locations()
    locations.apply("a", _report((V1, 1)))
    locations.apply("b", _report((V1, 2)))
    locations.drop("a")
    locations.drop("never seen")
    assert (("b", 2),) == locations.holders(V1)
    locations.apply("a", _report((V2, 1)))
    assert (("b", 2),) == locations.holders(V1)


def test_versions_are_bounded() -> None:
    """Beyond the bound news of unknown versions are dropped, those of known ones taken."""
    locations = Locations(versions_max=1)
    locations.apply("a", _report((V1, 1), (V2, 1)))
    locations.apply("b", _report((V1, 2), (V2, 2)))
    assert (("a", 1), ("b", 2)) == locations.holders(V1)
    assert () == locations.holders(V2)


def test_what_dead_workers_left_is_swept() -> None:
    """Workers that come and go leave nothing behind for good."""
    locations = Locations()
    versions = [xxhash.xxh3_128_digest(b"%d" % i) for i in range(module._SWEEP_MIN + 1)]
    locations.apply("a", BlockReport(True, versions, [1] * len(versions)))
    locations.apply("b", _report((versions[0], 2), (V1, 1)))
    locations.drop("a")
    assert len(versions) + 1 == len(locations)
    locations.apply("b", _report((V2, 1)))
    assert 3 == len(locations)
    assert (("b", 2),) == locations.holders(versions[0])


def test_an_expected_holder_counts_until_somebody_holds_the_file() -> None:
    """Readers are sent to it; its own word, or that of another holder, is better."""
    locations = Locations()
    for worker in ("a", "b"):
        locations.apply(worker, _report(full=True))
    locations.expect(V1, "a", 0b11)
    locations.expect(V1, "b", 0b11)
    assert (("a", 0b11),) == locations.holders(V1)
    locations.apply("a", _report((V1, 0b1)))
    assert (("a", 0b1),) == locations.holders(V1)
    locations.expect(V2, "unknown", 0b1)
    assert () == locations.holders(V2)


def test_a_worker_that_says_everything_again_is_believed_all_the_while() -> None:
    """Until the last part has come what it said before holds; after it, only what was said again. Nobody is named twice."""
    locations = Locations()
    locations.apply("a", _report((V1, 0b1), (V2, 0b1), (b"3" * 16, 0b1), full=True))
    locations.apply("a", _report((V1, 0b11), full=True)._replace(more=True))
    assert [(("a", 0b11),), (("a", 0b1),)] == [locations.holders(version) for version in (V1, V2)]
    locations.apply("a", _report((V1, 0b111), full=True)._replace(more=True))
    locations.apply("a", _report((V2, 0b10)))
    assert [(("a", 0b111),), (("a", 0b10),), ()] == [locations.holders(v) for v in (V1, V2, b"3" * 16)]
    locations.drop("a")
    assert [(), ()] == [locations.holders(version) for version in (V1, V2)]
