"""One suite for every journal: what is appended comes back, also after a crash in the middle of a write."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import xxhash

from raycache.errors import ConflictError, InvalidRequestError, NoSpaceError, RaycacheError, UnavailableError
from raycache.master.journal.file_journal import FileJournal
from raycache.master.journal.opening import begin, open_journal
from raycache.master.journal.records import NOBODY, Journal, line_of, parse
from raycache.master.journal.ufs_journal import SIGN_AGE_MAX_S, SIGN_PERIOD_S, UfsJournal
from raycache.ufs.faulty import FaultyStorage, PlannedFault, scripted_plan
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
        self.now_ns = 10**9
        self.storage = MemoryStorage("memory://journal", now_ns=lambda: self.now_ns)

    def open(self, owner: str = NOBODY) -> Journal:
        if self.kind == "file":
            return FileJournal(self.path, owner)
        return UfsJournal(self.storage, "some/place", owner, lambda: self.now_ns / 1e9)

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


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
    """A flipped bit costs one record, not the master; it is said, once, and what was there is kept aside."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    for record in _RECORDS:
        journal.append(record)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data))
    journal = FileJournal(path)
    assert _RECORDS[1:] == journal.replay()
    assert 1 == len(journal.damage)
    assert bytes(data) == path.with_name("journal.damaged").read_bytes()
    journal = FileJournal(path)
    assert _RECORDS[1:] == journal.replay()
    assert [] == journal.damage


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


def test_beginning_records_the_start(place: _Place) -> None:
    """Each start of a master is in its journal, and told to it."""
    for start_ns in (5, 7):
        journal = place.open(f"c.{start_ns}")
        found = begin(journal, "c", start_ns)
        journal.release()
    starts = [{"op": "start", "start_ns": start_ns, "cache_id": "c"} for start_ns in (5, 7)]
    assert starts == found.records == place.open().replay()
    assert not found.problem


def test_no_place_is_refused() -> None:
    """A journal needs a place."""
    with pytest.raises(InvalidRequestError):
        open_journal("")


def test_a_uri_is_a_place() -> None:
    """A journal may be kept in a lake."""
    open_journal("memory://journal-of-a-test/here", "c.1").append(_RECORDS[0])
    assert [_RECORDS[0]] == open_journal("memory://journal-of-a-test/here", "c.2").replay()


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


def test_records_of_one_change_are_all_there_or_none(place: _Place) -> None:
    """They are appended together."""
    journal = place.open()
    journal.append(*_RECORDS)
    assert _RECORDS == place.open().replay()
    journal.append(_RECORDS[0])
    assert [*_RECORDS, _RECORDS[0]] == place.open().replay()


def test_a_cleared_journal_leaves_nothing(place: _Place) -> None:
    """What a stopped cache knew, its secrets too, is nowhere any more; the next one begins with nothing."""
    journal = place.open("c.1")
    journal.claim()
    journal.append(*_RECORDS)
    journal.compact(_RECORDS)
    journal.append(_RECORDS[0])
    journal.keep({"n": 1})
    journal.clear()
    assert [] == place.open().replay()
    assert place.open().kept() is None
    assert [] == place.storage.list("").objects
    assert not place.path.parent.exists() or [] == list(place.path.parent.iterdir())


def test_two_caches_do_not_write_one_journal(place: _Place) -> None:
    """The second is refused while the first one lives, and nothing of the first is overwritten."""
    first, second = place.open("one.1"), place.open("two.2")
    begin(first, "one", 1)
    place.wait(SIGN_PERIOD_S)
    with pytest.raises(ConflictError, match="its own"):
        begin(second, "two", 2)
    first.append(_RECORDS[0])
    assert _RECORDS[0] == place.open().replay()[-1]
    first.release()
    assert 3 == len(begin(place.open("two.3"), "two", 3).records)


def test_a_restarted_master_has_its_journal_at_once() -> None:
    """The sign of life of its own cache does not keep it out."""
    place = _Place("ufs", Path("/nowhere"))
    begin(place.open("one.1"), "one", 1)
    assert "" == begin(place.open("one.2"), "one", 2).problem


def test_a_cache_whose_journal_was_taken_over_writes_no_more() -> None:
    """It had given no sign of life for long, and comes back: what the new owner wrote stays, and it is told so."""
    place = _Place("ufs", Path("/nowhere"))
    first = place.open("one.1")
    begin(first, "one", 1)
    place.wait(SIGN_AGE_MAX_S + 1)
    second = place.open("two.2")
    begin(second, "two", 2)
    with pytest.raises(ConflictError, match="taken over"):
        first.append(_RECORDS[0])
    second.append(_RECORDS[1])
    with pytest.raises(ConflictError, match="taken over"):
        first.append(_RECORDS[0])
    assert [1, 2] == [record["start_ns"] for record in place.open().replay()[:2]]
    assert _RECORDS[1] == place.open().replay()[-1]


def test_a_write_whose_answer_was_lost_counts_as_never_written() -> None:
    """The next record takes its number, so that what was refused is not there after a restart."""
    storage = MemoryStorage("memory://journal")
    lost = PlannedFault(UnavailableError("the answer got lost"), after=True)
    journal = UfsJournal(FaultyStorage(storage, scripted_plan({("put", 1): lost})), "j", "c.1")
    journal.append(_RECORDS[0])
    with pytest.raises(UnavailableError):
        journal.append(_RECORDS[1])
    journal.append(_RECORDS[2])
    assert [_RECORDS[0], _RECORDS[2]] == UfsJournal(storage, "j").replay()


def test_a_half_record_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a record leaves what was there before, byte for byte."""
    journal = FileJournal(tmp_path / "journal")
    journal.append(_RECORDS[0])
    before = (tmp_path / "journal").read_bytes()
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", _no_room)
        return write(descriptor, bytes(data)[:7])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NoSpaceError):
        journal.append(_RECORDS[1])
    monkeypatch.undo()
    assert before == (tmp_path / "journal").read_bytes()
    journal.append(_RECORDS[2])
    assert [_RECORDS[0], _RECORDS[2]] == FileJournal(tmp_path / "journal").replay()


def _no_room(descriptor: int, data: bytes) -> int:
    del descriptor, data
    raise OSError(errno.ENOSPC, "No space left on device")


def test_records_are_on_the_disk_before_they_are_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each append syncs the file; the first, and every compaction, its directory, too."""
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    journal = FileJournal(tmp_path / "journal")
    journal.append(_RECORDS[0])
    assert [str(tmp_path / "journal"), str(tmp_path)] == synced
    synced.clear()
    journal.append(_RECORDS[1])
    assert [str(tmp_path / "journal")] == synced
    synced.clear()
    journal.compact(_RECORDS)
    assert [str(tmp_path / "journal.new"), str(tmp_path)] == synced


def test_what_is_missing_in_the_middle_is_said(place: _Place) -> None:
    """A lost record or line is not taken for one that was never there."""
    journal = place.open("c.1")
    for record in _RECORDS:
        journal.append(record)
    if place.kind == "file":
        lines = place.path.read_bytes().splitlines(keepends=True)
        place.path.write_bytes(lines[0] + lines[2])
    else:
        place.storage.delete([place.storage.list("some/place/").objects[1].key])
    again = place.open("c.2")
    assert [_RECORDS[0], _RECORDS[2]] == again.replay()
    assert 1 == len(again.damage)
    assert "missing" in again.damage[0]


def test_a_damaged_object_is_passed_over_and_said() -> None:
    """As a damaged line of a file."""
    storage = MemoryStorage("memory://journal")
    journal = UfsJournal(storage, "j", "c.1")
    for record in _RECORDS:
        journal.append(record)
    key = storage.list("j/").objects[1].key
    storage.put(key, bytes(storage.read(key, 0, storage.head(key).size_bytes))[:-4])
    again = UfsJournal(storage, "j", "c.2")
    assert [_RECORDS[0], _RECORDS[2]] == again.replay()
    assert 1 == len(again.damage)


def test_the_first_format_is_read(tmp_path: Path) -> None:
    """A journal of an older version goes on; its lines have neither number nor owner."""
    text = b'{"op":"unmount"}'
    (tmp_path / "journal").write_bytes(f"{xxhash.xxh3_64_intdigest(text):016x} ".encode() + text + b"\n")
    journal = FileJournal(tmp_path / "journal", "c.1")
    assert [{"op": "unmount"}] == journal.replay()
    journal.append(_RECORDS[0])
    found = FileJournal(tmp_path / "journal").look()
    assert ([{"op": "unmount"}, _RECORDS[0]], [], [NOBODY, "c.1"]) == (found.records, found.damage, found.owners)


def test_a_newer_format_is_refused() -> None:
    """Half understood it would be worse than none; one line says what to do."""
    text = "{}"
    digest = xxhash.xxh3_64_intdigest(f"3 0 c.1 {text}".encode())
    with pytest.raises(InvalidRequestError, match="format 3"):
        parse(f"3 0 c.1 {digest:016x} {text}\n".encode(), "here")
    assert [{}] == parse(line_of({}, 0, "c.1"), "here").records


def test_a_journal_that_is_read_but_not_written_is_enough_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk when the master restarts: what is known is there, and the reason why nothing can be changed."""
    journal = FileJournal(tmp_path / "journal", "c.1")
    begin(journal, "c", 1)
    journal.release()
    monkeypatch.setattr(os, "write", _no_room)
    found = begin(FileJournal(tmp_path / "journal", "c.2"), "c", 2)
    assert [1, 2] == [record["start_ns"] for record in found.records]
    assert "make room" in found.problem


def test_many_records_make_compaction_worth_it(place: _Place) -> None:
    """A journal that grew says so, also after a restart; compaction ends that."""
    journal = place.open("c.1")
    for number in range(1_100 if place.kind == "file" else 250):
        journal.append({"n": number})
    assert journal.wants_compaction
    again = place.open("c.2")
    again.replay()
    assert again.wants_compaction
    again.compact(_RECORDS)
    assert not again.wants_compaction


def test_a_snapshot_that_is_not_whole_leaves_the_records() -> None:
    """A damaged snapshot beside what it replaces: the records count, and the damage is said."""
    storage = MemoryStorage("memory://journal")
    UfsJournal(storage, "j", "c.1").append(*_RECORDS)
    storage.put("j/00000000000000000001.snapshot", b"rubbish\n")
    journal = UfsJournal(storage, "j", "c.2")
    assert _RECORDS == journal.replay()
    assert 1 == len(journal.damage)


def test_errors_of_a_journal_are_those_of_the_cache(tmp_path: Path) -> None:
    """A directory in the place of the file is said as such."""
    (tmp_path / "journal").mkdir()
    with pytest.raises(RaycacheError, match="setting journal"):
        FileJournal(tmp_path / "journal").replay()
