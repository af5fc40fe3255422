"""The files of a load: packed, unpacked, compared."""

from __future__ import annotations

import hashlib

import pytest

from raycache.errors import InvalidRequestError
from raycache.master.loads import files
from raycache.master.loads.files import PAGE_ROWS, FileTable, Origin, digests
from raycache.master.namespace.entries import pack
from raycache.types import FileVersion
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
