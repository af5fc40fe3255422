"""The command line on a real cluster: from `raycache start` to `raycache stop`, over a local directory as the lake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raycache
from raycache.cli.main import run
from raycache.testing.cluster import LocalCluster

MIB = 1 << 20
NOBODY_LISTENS = (
    *("-o", "endpoint_url=http://127.0.0.1:1", "-o", "retries_max=0"),
    *("-o", "access_key_id=key", "-o", "secret_access_key=hidden"),
)


@pytest.fixture(scope="module")
def address(cluster: LocalCluster) -> Iterator[str]:
    """A cluster in which `raycache start` has been run."""
    settings = ("--memory", "60MiB", "--disk", "200MiB", "--set", "block_size_bytes=1MiB")
    sizes = ("--set", "segment_size_bytes=8MiB", "--set", "extent_size_bytes=8MiB")
    assert run(["start", "--address", cluster.address, *settings, *sizes]) == 0
    yield cluster.address
    raycache.stop()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "large").write_bytes(os.urandom(3 * MIB))
    (tmp_path / "x" / "small [1] ü%20").write_bytes(b"12345")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], address: str, *arguments: str, status: int = 0) -> Any:
    """What a command answers in JSON."""
    capsys.readouterr()
    assert run([*arguments, "--address", address, "--json"]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    # This process is a driver already, on whose output Ray tells what happens in the cluster.
    lines = [line for line in captured.out.splitlines() if "(raylet)" not in line]
    return json.loads("\n".join(lines))


def test_a_lake_is_mounted_loaded_checked_and_freed(
    address: str, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verbs agree with each other about one directory of two files, at every step."""
    total = 3 * MIB + 5
    assert said(capsys, address, "mount", "/cli", f"file://{lake}")["readonly"] is True
    assert [entry["path"] for entry in said(capsys, address, "mounts")] == ["/cli"]
    assert [entry["path"] for entry in said(capsys, address, "ls", "/cli", "-r")] == [
        "/cli/x/large",
        "/cli/x/small [1] ü%20",
    ]
    assert said(capsys, address, "stat", "/cli/x/small [1] ü%20")["size_bytes"] == 5
    missing = said(capsys, address, "check", "/cli", status=1)
    assert (missing["bytes_total"], missing["bytes_cached"], len(missing["missing_files"])) == (total, 0, 2)
    loaded = said(capsys, address, "load", "/cli")
    assert (loaded["state"], loaded["files_done"], loaded["bytes_done"]) == ("SUCCEEDED", 2, total)
    assert said(capsys, address, "check", "/cli/x/large", "/cli/x")["complete"] is True
    assert said(capsys, address, "du", "/cli")["bytes_cached"] == total
    held = [node for file in said(capsys, address, "locate", "/cli") for node in file["nodes"].values()]
    assert sum(node["bytes"] for node in held) == total
    assert said(capsys, address, "stats")["total"]["memory_used_bytes"] >= total
    assert said(capsys, address, "free", "/cli")["bytes"] == total
    assert said(capsys, address, "unmount", "/cli")["unmounted"] is True
    assert said(capsys, address, "mounts") == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["ls", "/nothing/here"], 1),
        (["ls", "relative"], 2),
        (["mount", "/down", "s3://bucket", *NOBODY_LISTENS], 1),
        (["mount", "/keys", "s3://bucket", "-o", "access_key_id=only"], 2),
        (["unmount", "/never"], 1),
        (["load", "/nothing/*.parquet"], 1),
        (["start", "--memory", "1MiB"], 1),
        (["start", "--set", "no_such_setting=1"], 2),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], status: int, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors of the real cache reach the terminal as one line with the right exit status."""
    assert run([*arguments, "--address", address]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n"), captured.err[:10]) == ("", 1, "raycache: ")
    assert "unexpected" not in captured.err
    assert "hidden" not in captured.err


def test_as_a_program_it_is_quiet_and_ends(address: str, cluster: LocalCluster) -> None:
    """As a process of its own the program finds the cluster by RAY_ADDRESS, answers, and lets nothing of Ray be seen."""
    environment = {**os.environ, **cluster.environment()}
    program = [sys.executable, "-c", "from raycache.cli.main import main; main()"]
    done = subprocess.run(
        [*program, "status", "--json"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["workers"]) == 3


def test_ctrl_c_ends_a_real_wait(address: str, cluster: LocalCluster, lake: Path) -> None:
    """An interrupt while the program waits for the cluster ends it with 130, in one line."""
    code = (
        "import os, signal; from raycache.admin.loads import Job; from raycache.cli.main import main\n"
        "Job.wait = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "main()"
    )
    assert run(["mount", "/int", f"file://{lake}", "--address", address]) == 0
    done = subprocess.run(
        [sys.executable, "-c", code, "load", "/int"],
        env={**os.environ, **cluster.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run(["unmount", "/int", "--force", "--address", address]) == 0
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("raycache: stopped waiting; load ")
    assert done.stderr.count("\n") == 1


def test_stop_ends_it(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After `raycache stop` there is no cache, which the next command says; stopping again is no error."""
    assert said(capsys, address, "stop") == {"stopped": True}
    assert run(["status", "--address", address]) == 1
    assert "no cache runs in this Ray cluster" in capsys.readouterr().err
    assert said(capsys, address, "stop") == {"stopped": False}
