"""How much is asked for at a time, by what a link has brought so far."""

from __future__ import annotations

from raycache.workers.stores.link_speed import LinkSpeeds

MIB = 1 << 20


def test_a_fast_link() -> None:
    """An unknown link and a fast one are asked for all that is wanted."""
    speeds = LinkSpeeds()
    assert speeds.range_bytes("s3://b", 8 * MIB) == 8 * MIB
    speeds.note("s3://b", 8 * MIB, 0.1)
    assert speeds.range_bytes("s3://b", 64 * MIB) == 64 * MIB


def test_a_slow_link() -> None:
    """A slow one is asked for what it brings in some seconds, whole MiB; another store is another link."""
    speeds = LinkSpeeds()
    speeds.note("s3://b", 8 * MIB, 20.0)
    assert speeds.range_bytes("s3://b", 8 * MIB) == 3 * MIB
    assert speeds.range_bytes("s3://b", 2 * MIB) == 2 * MIB
    assert speeds.range_bytes("s3://c", 8 * MIB) == 8 * MIB
    speeds.note("s3://b", MIB, 1000.0)
    for _ in range(20):
        speeds.note("s3://b", MIB, 1000.0)
    assert speeds.range_bytes("s3://b", 8 * MIB) == MIB


def test_little_reads_say_nothing() -> None:
    """The way there and back is not the link's speed, and no time at all is no speed without end."""
    speeds = LinkSpeeds()
    speeds.note("s3://b", 1000, 10.0)
    assert speeds.range_bytes("s3://b", 8 * MIB) == 8 * MIB
    speeds.note("s3://b", MIB, 0.0)
    assert speeds.range_bytes("s3://b", 8 * MIB) == 8 * MIB


def test_it_becomes_fast_again() -> None:
    """Newer measurements outweigh older ones."""
    speeds = LinkSpeeds()
    speeds.note("s3://b", 8 * MIB, 20.0)
    for _ in range(10):
        speeds.note("s3://b", 3 * MIB, 0.1)
    assert speeds.range_bytes("s3://b", 8 * MIB) == 8 * MIB


def test_links_remembered_are_bounded() -> None:
    """A process that reads very many stores forgets the oldest."""
    speeds = LinkSpeeds()
    for number in range(1000):
        speeds.note(f"s3://{number}", MIB, 10.0)
    assert speeds.range_bytes("s3://0", 8 * MIB) == 8 * MIB
    assert speeds.range_bytes("s3://999", 8 * MIB) == MIB
