"""Slow links to S3: what keeps moving is waited for, what stands still is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raycache.errors import UnavailableError
from tests.support.exact_s3 import Manners
from tests.support.s3_wire import ODD, PLAIN, Wire

both_clients = pytest.mark.parametrize("key", [ODD, PLAIN])
MIB = 1 << 20


@pytest.fixture
def slow(wire: Wire) -> Iterator[Wire]:
    """Time-outs of 0.4 s."""
    wire.storage = wire.open(request_timeout_s=0.4, connect_timeout_s=0.4)
    yield wire
    wire.server.stalled.set()
    wire.server.stalled.clear()


@both_clients
def test_a_body_that_keeps_arriving(slow: Wire, key: str) -> None:
    """A body that takes three times the time-out is read, once."""
    slow.server.manners = Manners(sends_pieces=10, pauses_s=0.12)
    assert bytes(slow.storage.read(key, 0, 10)) == b"0123456789"
    assert slow.asked() == {"GET": 1}


@both_clients
@pytest.mark.parametrize("stalls_after", [0, 1, 5])
def test_a_body_that_stands_still(slow: Wire, key: str, stalls_after: int) -> None:
    """A body of which nothing comes any more is given up, and asked for again as often as allowed."""
    slow.server.manners = Manners(sends_pieces=10, stalls_after=stalls_after)
    with pytest.raises(UnavailableError):
        slow.storage.read(key, 0, 10)
    assert slow.asked() == {"GET": 4}


@pytest.mark.parametrize(("size", "bytes_per_s", "puts"), [(6 * MIB, 2e6, 1), (20 * MIB, 12e6, 2)])
def test_a_body_that_keeps_going(wire: Wire, size: int, bytes_per_s: float, puts: int) -> None:
    """What is written over a link that takes longer than a time-out for it arrives, whole and in parts, sent once."""
    storage = wire.open(connect_timeout_s=0.4, request_timeout_s=2)
    content = bytes(range(256)) * (size // 256)
    wire.server.manners = Manners(takes_bytes_per_s=bytes_per_s)
    storage.put("large", content)
    assert bytes(wire.server.lake.read("large", 0, size)) == content
    assert wire.asked()["PUT"] == puts
