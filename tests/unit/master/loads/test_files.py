"""The files of a load: packed, unpacked, compared."""

from __future__ import annotations

import hashlib

import pytest

from raycache.errors import InvalidRequestError
from raycache.master.loads import files
from raycache.master.loads.files import PAGE_ROWS, FileTable, Origin, Page, digests
from raycache.master.namespace.entries import pack
from raycache.messages import WantedFile, pack_files
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
    key = f"data/part/{PAGE_ROWS:08}.parquet"
    etag = hashlib.md5(key.encode()).hexdigest()
    assert page.versions[0] == FileVersion(f"s3://b/{key}", 10, f'"{etag}"', 10**18)
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
    given = FileTable(given=True)
    with pytest.raises(InvalidRequestError):
        for page in pack_files(given_files(11)):
            given.add_packed(page)


def given_files(count: int) -> list[WantedFile]:
    versions = [
        FileVersion(f"s3://b/part/{i:08}.parquet", 10, f'"{hashlib.md5(b"%d" % i).hexdigest()}"', i)
        for i in range(count)
    ]
    return [WantedFile(version, None if i % 3 else i) for i, version in enumerate(versions)]


def test_given_files_keep_their_order_and_blocks() -> None:
    """Page by page, what comes out is what was given; a name is the whole URI, and what is not in the file is not wanted."""
    given = given_files(PAGE_ROWS + 5)
    table = FileTable(given=True)
    added = [table.add_packed(page) for page in pack_files(given)]
    assert (len(table), table.files) == (2, PAGE_ROWS + 5)
    assert added == [table.page(0), table.page(1)]
    assert [row.file for row in given] == [version for page in added for version in page.versions]
    assert "s3://b/part/00000001.parquet" == added[0].path(1)
    assert (0b11, 0b01, 0b11) == (added[0].wanted(1, 8), added[0].wanted(9, 8), added[0].wanted(15, 8))


def test_given_files_are_small() -> None:
    """Some forty bytes each in the master's memory, as many as listed ones."""
    assert sum(map(len, pack_files(given_files(20_000)))) < 60 * 20_000


def test_a_page_says_what_is_above_its_files() -> None:
    """One URI a store; an unmount asks for it."""
    uris = ["s3://b/a/one", "s3://b/a/other", "gs://c/x/y/z"]
    (packed,) = pack_files(WantedFile(FileVersion(uri, 1, "e", 0)) for uri in uris)
    assert ["s3://b/a/", "gs://c/x/y/"] == Page.given(packed).roots()
    assert ["s3://b/data/"] == FileTable().add(ORIGIN, rows_of(1))[0].roots()
