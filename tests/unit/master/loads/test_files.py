"""The files of a load: packed, unpacked, compared; and what a survey says of them."""

from __future__ import annotations

import hashlib

import pytest

from raycache.errors import InvalidRequestError
from raycache.master.loads import files
from raycache.master.loads.files import PAGE_ROWS, FileTable, Origin, digests
from raycache.master.loads.survey import Survey
from raycache.master.namespace.entries import pack
from raycache.types import FileVersion, WorkerView
from raycache.ufs.base import ObjectInfo

ORIGIN = Origin("s3://b", "data/", "/lake")


def rows_of(count: int, size: int = 10) -> list[tuple[str, bytes]]:
    keys = [f"data/part/{i:08}.parquet" for i in range(count)]
    return [(k, pack(ObjectInfo(k, size, f'"{hashlib.md5(k.encode()).hexdigest()}"', 10**18))) for k in keys]


def test_pages_come_back_as_they_were() -> None:
    """Names, versions and ids of every row survive the packing, and the sums are exact."""
    table = FileTable()
    added = table.add(ORIGIN, rows_of(PAGE_ROWS + 5))
    assert (len(table), table.files) == (2, PAGE_ROWS + 5)
    assert added == [table.page(0), table.page(1)]
    page = table.page(1)
    assert page.path(4) == f"/lake/part/{PAGE_ROWS + 4:08}.parquet"
    etag = hashlib.md5(page.keys[0].encode()).hexdigest()
    assert page.versions[0] == FileVersion(f"s3://b/{page.keys[0]}", 10, f'"{etag}"', 10**18)
    assert page.ids[0] == page.versions[0].id()


def test_a_million_files_are_small() -> None:
    """A file costs less than 60 bytes, with an etag that cannot be compressed."""
    table = FileTable()
    table.add(ORIGIN, rows_of(20_000))
    packed = sum(len(blob) for blob in table._blobs) + sum(part.nbytes for part in table._digests)
    assert packed < 60 * 20_000


def test_absent_files_are_found() -> None:
    """A later listing is compared version by version."""
    table = FileTable()
    table.add(ORIGIN, rows_of(PAGE_ROWS + 5))
    now = [name for index in (0, 1) for name in table.page(index).ids]
    del now[PAGE_ROWS + 2], now[7]
    assert [(0, 7), (1, 2)] == list(table.absent_from(digests(now)))


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is bounded."""
    monkeypatch.setattr(files, "FILES_MAX", 10)
    with pytest.raises(InvalidRequestError):
        FileTable().add(ORIGIN, rows_of(11))


def test_a_survey_adds_up_what_is_cached_and_what_is_over() -> None:
    """Cached bytes are counted once, by live workers only; what is over is named."""
    workers = [WorkerView("a", 1, 35, "actor-a")]
    table = FileTable()
    (page,) = table.add(ORIGIN, rows_of(5))
    held = {page.ids[0]: (("a", 0b111), ("dead", 0b111)), page.ids[1]: (("a", 0b100),), page.ids[2]: (("dead", 1),)}
    survey = Survey(4, 16, 1, lambda version: held.get(version, ()))
    survey.add(page, workers)
    found = survey.result()
    assert (found.files, found.blocks, found.bytes) == (5, 15, 50)
    assert (found.files_cached, found.bytes_cached) == (1, 12)
    assert (found.capacity_bytes, found.bytes_over, found.files_over) == (35, 15, 2)
    assert found.over == ["/lake/part/00000003.parquet", "/lake/part/00000004.parquet"]


def test_a_survey_without_workers_says_nothing_of_room() -> None:
    """Nobody to hold anything yet: there is no capacity, and nothing is called over."""
    table = FileTable()
    survey = Survey(4, 16, 1, lambda _: ())
    for page in table.add(ORIGIN, rows_of(5)):
        survey.add(page, [])
    assert (survey.result().capacity_bytes, survey.result().bytes_over) == (0, 0)
