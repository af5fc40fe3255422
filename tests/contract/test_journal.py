"""One suite for every journal: what is appended comes back, also after a crash in the middle of a write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raycache.errors import InvalidRequestError, UnavailableError
from raycache.master.journal import FileJournal, Journal, UfsJournal, open_journal
from raycache.ufs.memory import MemoryStorage

_RECORDS: list[dict[str, Any]] = [
    {"op": "mount", "path": "/lake", "options": {"secret_access_key": "s3cr3t"}},
    {"op": "mount", "path": "/é 漢\n"},
    {"op": "unmount", "path": "/lake"},
]


class _Place:
    """Where a journal is kept, to be opened again."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.path = directory / "made" / "journal"
        self.storage = MemoryStorage("memory://journal")

    def open(self) -> Journal:
        return FileJournal(self.path) if self.kind == "file" else UfsJournal(self.storage, "some/place")


@pytest.fixture(params=["file", "ufs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> _Place:
    return _Place(request.param, tmp_path)


def test_records_come_back_in_order(place: _Place) -> None:
    """What was appended is there for the next master."""
    journal = place.open()
    assert [] == journal.replay()
    for record in _RECORDS:
        journal.append(record)
    assert _RECORDS == journal.replay()
    assert _RECORDS == place.open().replay()


def test_a_reopened_journal_goes_on(place: _Place) -> None:
    """Appending after a restart keeps what was there."""
    place.open().append(_RECORDS[0])
    place.open().append(_RECORDS[1])
    journal = place.open()
    journal.replay()
    journal.append(_RECORDS[2])
    assert _RECORDS == place.open().replay()


def test_compaction_replaces_everything(place: _Place) -> None:
    """After compaction only the new records are there, and appending goes on behind them."""
    journal = place.open()
    for record in _RECORDS:
        journal.append(record)
    journal.compact(_RECORDS[:1])
    assert _RECORDS[:1] == place.open().replay()
    journal.append(_RECORDS[2])
    place.open().append(_RECORDS[1])
    assert [_RECORDS[0], _RECORDS[2], _RECORDS[1]] == place.open().replay()


def test_compaction_to_nothing_is_nothing(place: _Place) -> None:
    """An empty state is a state, too."""
    journal = place.open()
    journal.append(_RECORDS[0])
    journal.compact([])
    assert [] == place.open().replay()


def test_a_file_torn_anywhere_in_its_last_line_loses_that_line_only(tmp_path: Path) -> None:
    """Whole records survive a crash during the last write, and the next record is not glued to the torn one."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    for record in _RECORDS:
        journal.append(record)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for length in range(last, len(whole)):
        path.write_bytes(whole[:length])
        FileJournal(path).append({"op": "after"})
        assert [*_RECORDS[:2], {"op": "after"}] == FileJournal(path).replay()


def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    """A flipped bit costs one record, not the master."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    for record in _RECORDS:
        journal.append(record)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data))
    assert _RECORDS[1:] == FileJournal(path).replay()


def test_an_interrupted_compaction_leaves_the_old_records(tmp_path: Path) -> None:
    """Until the new file has its name, the old one counts."""
    journal = FileJournal(tmp_path / "journal")
    journal.append(_RECORDS[0])
    (tmp_path / "journal.new").write_bytes(b"half a li")
    assert _RECORDS[:1] == FileJournal(tmp_path / "journal").replay()
    journal.compact(_RECORDS[1:])
    assert _RECORDS[1:] == FileJournal(tmp_path / "journal").replay()


def test_an_interrupted_compaction_of_objects_loses_nothing() -> None:
    """A snapshot counts once it is whole, whether or not what it replaces was removed."""
    storage = MemoryStorage("memory://journal")
    journal = UfsJournal(storage, "j")
    journal.append(_RECORDS[0])
    old = {info.key: bytes(storage.read(info.key, 0, info.size_bytes)) for info in storage.list("j/").objects}
    journal.compact(_RECORDS[1:])
    for key, data in old.items():
        storage.put(key, data)
    assert _RECORDS[1:] == UfsJournal(storage, "j").replay()


def test_files_are_private(tmp_path: Path) -> None:
    """Nobody but the owner can read what may be secret."""
    journal = FileJournal(tmp_path / "made" / "journal")
    journal.append(_RECORDS[0])
    assert 0o600 == (tmp_path / "made" / "journal").stat().st_mode & 0o777
    journal.compact(_RECORDS)
    assert 0o600 == (tmp_path / "made" / "journal").stat().st_mode & 0o777


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The error names the place, and is of the class to retry or to fix."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="file/journal"):
        FileJournal(tmp_path / "file" / "journal").append(_RECORDS[0])


def test_opening_records_the_start(tmp_path: Path) -> None:
    """Each start of a master is in its journal."""
    for now_ns in (5, 7):
        journal = open_journal(str(tmp_path), "c", now_ns=lambda now_ns=now_ns: now_ns)
    assert [
        {"op": "start", "start_ns": 5, "cache_id": "c"},
        {"op": "start", "start_ns": 7, "cache_id": "c"},
    ] == journal.replay()


def test_no_place_is_refused() -> None:
    """A journal needs a place."""
    with pytest.raises(InvalidRequestError):
        open_journal("")


def test_a_uri_is_a_place() -> None:
    """A journal may be kept in a lake."""
    open_journal("memory://journal-of-a-test/here", "c").append(_RECORDS[0])
    assert _RECORDS[0] == open_journal("memory://journal-of-a-test/here", "c").replay()[1]


def test_what_is_kept_beside_is_no_record(place: _Place) -> None:
    """The last one kept is there for the next master, also after a compaction; the records are as they were."""
    journal = place.open()
    assert journal.kept() is None
    journal.append(_RECORDS[0])
    journal.keep({"n": 1})
    journal.keep({"n": 2, "text": "é\n"})
    journal.compact(_RECORDS)
    assert {"n": 2, "text": "é\n"} == place.open().kept()
    assert _RECORDS == place.open().replay()


def test_a_torn_one_that_was_kept_is_none(tmp_path: Path) -> None:
    """It is written anew as a whole, but a disk may lose a part."""
    journal = FileJournal(tmp_path / "journal")
    journal.keep({"n": 1})
    (file,) = tmp_path.iterdir()
    assert 0o600 == file.stat().st_mode & 0o777
    file.write_bytes(file.read_bytes()[:-5])
    assert journal.kept() is None
