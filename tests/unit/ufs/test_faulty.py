"""The lake that fails on order: plans are exact and repeatable."""

from __future__ import annotations

import pytest

from raycache.errors import DeniedError, UnavailableError
from raycache.ufs.faulty import FaultyStorage, PlannedFault, scripted_plan, seeded_plan
from raycache.ufs.memory import MemoryStorage


def outcomes(storage: FaultyStorage) -> list[bool]:
    result = []
    for n in range(200):
        try:
            storage.head(f"k{n}")
            result.append(True)
        except UnavailableError:
            result.append(False)
    return result


def filled() -> MemoryStorage:
    lake = MemoryStorage()
    for n in range(200):
        lake.put(f"k{n}", b"0123456789")
    return lake


def test_scripted_faults() -> None:
    """The how-manieth call of an operation fails as listed, and no other."""
    plan = scripted_plan({("read", 1): PlannedFault(DeniedError("no; ask")), ("read", 2): PlannedFault(body_bytes=3)})
    storage = FaultyStorage(filled(), plan)
    assert bytes(storage.read("k0", 0, 5)) == b"01234"
    storage.head("k0")
    with pytest.raises(DeniedError):
        storage.read("k0", 0, 5)
    assert bytes(storage.read("k0", 0, 5)) == b"012"
    assert bytes(storage.read("k0", 0, 5)) == b"01234"
    assert [name for name, _ in storage.calls] == ["read", "head", "read", "read", "read"]


def test_lost_answers() -> None:
    """A fault after the work leaves the work done."""
    plan = scripted_plan({
        ("put", 0): PlannedFault(UnavailableError("lost; try later"), after=True),
        ("put", 1): PlannedFault(UnavailableError("refused; try later")),
        ("close_writer", 0): PlannedFault(UnavailableError("lost; try later"), after=True),
    })  # fmt: skip
    storage = FaultyStorage(MemoryStorage(), plan)
    writer = storage.open_writer("c")
    for attempt in (lambda: storage.put("a", b""), lambda: storage.put("b", b""), writer.close):
        with pytest.raises(UnavailableError):
            attempt()
    assert [info.key for info in storage.inner.list("").objects] == ["a", "c"]


def test_seeded_faults_repeat() -> None:
    """The same seed fails the same calls, another seed others, and about the share asked for."""
    first, again, other = (outcomes(FaultyStorage(filled(), seeded_plan(seed, 0.3))) for seed in (1, 1, 2))
    assert first == again != other
    assert 30 <= first.count(False) <= 90
    assert outcomes(FaultyStorage(filled(), seeded_plan(1, 0.0))) == [True] * 200
    assert outcomes(FaultyStorage(filled(), seeded_plan(1, 1.0))) == [False] * 200
