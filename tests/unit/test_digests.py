"""The digest table: a dictionary's answers, in a fraction of its memory."""

from __future__ import annotations

import random
import sys

import xxhash

from raycache.digests import DigestTable


def _digest(number: int) -> bytes:
    return xxhash.xxh3_128_digest(b"%d" % number)


def test_it_answers_as_a_dictionary_does() -> None:
    """Numbers put, replaced and removed in any order, over several growths, are those of a plain dictionary."""
    draw = random.Random(1)
    table, model = DigestTable(), {}
    for _ in range(20_000):
        digest = _digest(draw.randrange(2_000))
        if draw.random() < 0.6:
            number = draw.randrange(1 << 31)
            table.put(digest, number)
            model[digest] = number
        else:
            table.remove(digest)
            model.pop(digest, None)
        assert len(table) == len(model)
    assert [model.get(_digest(n)) for n in range(2_000)] == [table.get(_digest(n)) for n in range(2_000)]


def test_keys_of_one_place_are_kept_apart() -> None:
    """Digests that all want the same place, over the end of the table too, lose nothing when some are removed."""
    table = DigestTable()
    digests = [b"\0" + n.to_bytes(6, "big") + b"\xff" for n in range(200)]
    for number, digest in enumerate(digests):
        table.put(digest, number)
    for digest in digests[::2]:
        table.remove(digest)
    assert [None if n % 2 == 0 else n for n in range(200)] == [table.get(digest) for digest in digests]


def test_numbers_are_exchanged_and_forgotten_together() -> None:
    """One pass gives many digests another number, or none; two numbers may be exchanged."""
    table = DigestTable()
    for n in range(300):
        table.put(_digest(n), n % 3)
    table.renumber({0: 1, 1: 0}, [2])
    assert [(1, 0, None)[n % 3] for n in range(300)] == [table.get(_digest(n)) for n in range(300)]
    assert len(table) == 200


def test_a_digest_costs_some_25_bytes() -> None:
    """At every size after the first thousands; twice 12 bytes over the share of places taken at the most."""
    table = DigestTable()
    for n in range(50_000):
        table.put(_digest(n), 7)
        if n > 5_000 and n % 500 == 0:
            size = sum(sys.getsizeof(part.keys) + sys.getsizeof(part.values) for part in table._parts.values())
            assert size / n < 36 + 2 * sys.getsizeof(bytes(128)) * 256 / n
