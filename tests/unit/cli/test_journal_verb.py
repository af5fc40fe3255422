"""`raycache journal`: what stands there, without secrets, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raycache.cli.main import run
from raycache.master.journal.file_journal import FILE_NAME, FileJournal

SECRET = "s3cr3t-and-more"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    journal = FileJournal(tmp_path / FILE_NAME, "c.1")
    journal.append({"op": "start", "start_ns": 1, "cache_id": "c"})
    journal.append({"op": "mount", "path": "/lake", "uri": "s3://b", "options": {"secret_access_key": SECRET}})
    journal.append({"op": "load_files", "job_id": "j", "number": 0, "pages": ["x" * 1_000] * 3})
    return tmp_path


def test_it_is_shown_without_secrets(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    """One line a record, with who wrote it; no secret, and no page of packed files."""
    assert run(["journal", "show", str(place)]) == 0
    out = capsys.readouterr().out
    assert SECRET not in out
    assert "/lake" in out
    assert "3 pages" in out
    assert run(["journal", "show", str(place), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert ["start", "mount", "load_files"] == [record["op"] for record in found["records"]]
    assert ["c.1"] * 3 == found["owners"]
    assert SECRET not in json.dumps(found)


def test_damage_is_an_exit_status_for_scripts(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    """A whole journal is 0, a damaged one 1 with what is wrong, an unnamed one wrong usage; nothing is changed."""
    assert run(["journal", "check", str(place)]) == 0
    assert capsys.readouterr().out == "3 whole records, 0 problems\n"
    data = bytearray((place / FILE_NAME).read_bytes())
    data[100] ^= 1
    (place / FILE_NAME).write_bytes(bytes(data) + b"half a li")
    assert run(["journal", "check", str(place)]) == 1
    captured = capsys.readouterr()
    assert "line 2 is damaged" in captured.err or "line 1 is damaged" in captured.err
    assert "being written" in captured.err
    assert bytes(data) + b"half a li" == (place / FILE_NAME).read_bytes()
    assert run(["journal", "check"]) == 2
