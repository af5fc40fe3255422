"""Each verb: what it asks of the cache, what it shows to people and to programs, and how it ends."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from raycache.cli.main import cli, run
from raycache.cli.session import Session
from raycache.errors import UnavailableError
from tests.support.fake_cache import NODE, FakeBackend, FakeCache, session_of


def shown(capsys: pytest.CaptureFixture[str], cache: FakeCache, *arguments: str) -> str:
    """Standard output of a run that must succeed in silence on standard error."""
    assert run(arguments, session_of(cache)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def parsed(capsys: pytest.CaptureFixture[str], cache: FakeCache, *arguments: str) -> Any:
    return json.loads(shown(capsys, cache, *arguments, "--json"))


@pytest.fixture
def cache() -> FakeCache:
    return FakeCache()


def test_start_passes_only_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Settings reach the cache as they were typed; what was not typed is None or absent."""
    backend = FakeBackend()
    arguments = ["start", "--disk", "/d:1GiB", "--set", "block_size_bytes=16MiB", "--set", "journal=s3://b/j=1"]
    assert run(arguments, Session(backend)) == 0
    expected = {"memory": None, "disk": "/d:1GiB", "block_size_bytes": "16MiB", "journal": "s3://b/j=1"}
    assert expected == backend.settings
    assert capsys.readouterr().out == "the cache runs on 1 node\n"


def test_stop_can_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """Stopping what does not run is no error, and says so."""
    session = Session(FakeBackend(FakeCache()))
    assert [run(["stop"], session), run(["stop"], session)] == [0, 0]
    assert capsys.readouterr().out == "the cache is stopped\nno cache was running\n"


def test_status_shows_master_and_workers(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """People see a summary and a line a worker; programs see everything."""
    out = shown(capsys, cache, "status")
    assert out.splitlines()[0] == "master alive, up 1 h 01 m; 1 workers, 0 mounts, 2 files known"
    assert out.splitlines()[2].split()[:7] == ["a1a1a1a1a1a1", "LIVE", "1.0", "MiB", "/", "1.0", "GiB"]
    assert parsed(capsys, cache, "status")["workers"][0]["node_id"] == NODE


def test_settings_show_their_origin(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Each setting is shown with its value in human units and where that came from."""
    lines = [line.split() for line in shown(capsys, cache, "settings").splitlines()]
    assert ["block_size_bytes", "8.0", "MiB", "environment", "RAYCACHE_BLOCK_SIZE_BYTES"] in lines
    assert ["lease_s", "30", "s", "default"] in lines
    assert ["journal", "-", "default"] in lines
    assert parsed(capsys, cache, "settings")[1]["value"] == 8 << 20


def test_mount_and_unmount(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A mount is read-only and has the cache's metadata TTL unless said otherwise; it can be taken away."""
    assert (
        shown(capsys, cache, "mount", "/lake", "s3://b/p")
        == "mounted s3://b/p at /lake, read-only, metadata trusted for 60 s\n"
    )
    arguments = ["mount", "/out", "s3://b/o", "--writable", "--metadata-ttl", "5m", "-o", "endpoint_url=http://h:1"]
    expected = {
        "path": "/out",
        "uri": "s3://b/o",
        "readonly": False,
        "metadata_ttl_s": 300.0,
        "options": {"endpoint_url": "http://h:1"},
    }
    assert expected == parsed(capsys, cache, *arguments)
    assert [expected["path"], "/lake"] == [entry["path"] for entry in parsed(capsys, cache, "mounts")][::-1]
    assert shown(capsys, cache, "unmount", "/lake") == "unmounted /lake\n"
    assert (shown(capsys, cache, "mounts").splitlines()[1].split()) == [
        "/out",
        "s3://b/o",
        "writable",
        "300",
        "s",
        "endpoint_url=http://h:1",
    ]


def test_unmounting_a_busy_mount_needs_force(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """The cache's refusal is shown, and --force is passed on."""
    shown(capsys, cache, "mount", "/busy", "s3://b/p")
    assert run(["unmount", "/busy"], session_of(cache)) == 1
    assert capsys.readouterr().err == "raycache: a load of /busy is running; stop it, or unmount with force\n"
    shown(capsys, cache, "unmount", "/busy", "--force")
    assert shown(capsys, cache, "mounts") == "nothing is mounted; `raycache mount PATH URI` mounts\n"


def test_ls_tells_directories_from_files(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A listing shows size, time and path; a directory ends in a slash and has no size."""
    lines = shown(capsys, cache, "ls", "/lake").splitlines()
    assert lines[1].split() == ["10", "B", "2024-05-06", "07:08:09", "/lake/a"]
    assert lines[2].split() == ["-", "-", "/lake/b/"]
    recursive = parsed(capsys, cache, "ls", "-r", "/lake")
    assert [(entry["path"], entry["size_bytes"]) for entry in recursive] == [("/lake/a", 10), ("/lake/b/c", 2048)]


def test_ls_of_100_000_files_is_plain_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A long listing is printed line by line, on a terminal too."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    many = FakeCache({f"/lake/{number:06}": number for number in range(100_000)})
    assert len(shown(capsys, many, "ls", "/lake").splitlines()) == 100_001


def test_stat_shows_the_version(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A file is described with what makes its version: uri, size, etag, time."""
    out = shown(capsys, cache, "stat", "/lake/b/c")
    assert "2.0 KiB (2048 bytes)" in out
    assert '"e1"' in out
    expected = ("file", 2048, "2024-05-06T07:08:09+00:00")
    described = parsed(capsys, cache, "stat", "/lake/b/c")
    assert expected == (described["kind"], described["size_bytes"], described["mtime"])


def test_du_shows_how_much_is_cached(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Sizes below a path are summed up, cached or not."""
    cache.cached.add("/lake/a")
    expected = {"path": "/lake", "files": 2, "bytes_total": 2058, "bytes_cached": 10, "workers_silent": []}
    assert expected == parsed(capsys, cache, "du", "/lake")
    assert shown(capsys, cache, "du", "/lake").splitlines()[1].split() == [
        "2",
        "2.0",
        "KiB",
        "10",
        "B",
        "0.4%",
        "/lake",
    ]


def test_locate_names_nodes_and_absence(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Each file has a line for each node that holds some of it, and one line when none does."""
    cache.cached.add("/lake/a")
    lines = [line.split() for line in shown(capsys, cache, "locate", "/lake").splitlines()]
    assert lines[1] == ["/lake/a", "a1a1a1a1a1a1", "3/3", "10", "B", "100.0%"]
    assert lines[2] == ["/lake/b/c", "-", "0/512", "0", "B", "0.0%"]
    assert parsed(capsys, cache, "locate", "/lake/a")[0]["nodes"] == {NODE: {"blocks": 3, "bytes": 10}}


def test_load_ends_when_all_is_loaded(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A load waits, sums up, and leaves everything cached."""
    out = shown(capsys, cache, "load", "/lake/a", "/lake/b")
    assert out.startswith("load load-1 succeeded: 2 of 2 files, 2.0 KiB of 2.0 KiB (0 B were cached already)")
    assert {"/lake/a", "/lake/b/c"} == cache.cached


def test_a_load_that_lacks_a_file_fails(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """One file not loaded makes exit status 1, with its reason."""
    cache.broken["/lake/a"] = "denied"
    assert run(["load", "/lake"], session_of(cache)) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].split() == ["/lake/a", "denied"]
    assert "raycache: load load-1 failed: 1 of 2 files are not loaded" in captured.err
    assert run(["load", "/lake", "--json"], session_of(cache)) == 1
    document = json.loads(capsys.readouterr().out)
    assert (
        document["id"],
        document["state"],
        document["failures"],
    ) == ("load-1", "FAILED", [{"path": "/lake/a", "reason": "denied"}])


def test_a_person_sees_a_load_move(
    capsys: pytest.CaptureFixture[str], cache: FakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal a live line shows bytes and files, on standard error, so that the result can be piped."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["load", "/lake"], session_of(cache)) == 0
    captured = capsys.readouterr()
    assert "2/2 files" in captured.err
    assert captured.out.startswith("load load-1 succeeded")


def test_ctrl_c_leaves_the_load_running(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Ctrl-C ends the waiting with 130, and says how to wait again and how to stop the load."""

    def interrupt(look: int) -> None:
        if look == 2:
            raise KeyboardInterrupt

    cache.on_look = interrupt
    assert run(["load", "/lake"], session_of(cache)) == 130
    error = capsys.readouterr().err
    assert error.startswith("raycache: stopped waiting; load load-1 goes on: ")
    assert "`raycache job load-1 --follow`" in error
    assert "--stop" in error
    assert "--resume" in error


def test_a_detached_load_is_not_waited_for(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """--detach gives the job's id at once."""
    cache.on_look = lambda look: pytest.fail(f"looked {look} times")
    assert parsed(capsys, cache, "load", "/lake", "--detach") == {"id": "load-1"}


def test_options_of_a_load_are_passed_on(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """What is asked for on the command line is what the cache is asked for."""
    options = ["--replicas", "2", "--metadata-only", "--verify", "--bandwidth", "500MiB/s", "--priority", "3"]
    parsed(capsys, cache, "load", "/lake", *options)
    expected = {"replicas": 2, "metadata_only": True, "verify": True, "bandwidth": "500MiB/s", "priority": 3}
    assert expected == cache.load_options


def test_a_dry_run_says_what_fits(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Nothing is started; what has no room is named, and is an exit status."""
    cache.cached.add("/lake/a")
    lines = shown(capsys, cache, "load", "/lake", "--dry-run").splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["asked", "for", "2", "2.0", "KiB"],
        ["cached", "already", "1", "10", "B"],
        ["to", "be", "moved", "1", "2.0", "KiB"],
    ]
    assert lines[-1].startswith("fits: ")
    cache.room_bytes = 1000
    assert run(["load", "/lake", "--dry-run"], session_of(cache)) == 1
    assert "/lake/b/c" in capsys.readouterr().out.splitlines()
    assert cache.started is None
    assert run(["load", "/lake", "--dry-run", "--json"], session_of(cache)) == 1
    assert json.loads(capsys.readouterr().out)["bytes_over"] == 1058


def test_jobs_are_listed_followed_stopped_and_resumed(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A detached load is found again by its id."""
    assert shown(capsys, cache, "jobs") == "no loads; `raycache load PATH` starts one\n"
    shown(capsys, cache, "load", "/lake", "--detach")
    assert parsed(capsys, cache, "jobs")[0]["state"] == "RUNNING"
    assert shown(capsys, cache, "job", "load-1", "--stop").splitlines()[-1].endswith("`raycache job load-1 --resume`")
    assert shown(capsys, cache, "jobs").splitlines()[1].split()[:2] == ["load-1", "STOPPED"]
    assert shown(capsys, cache, "job", "load-1", "--resume").startswith("load load-1 succeeded: 2 of 2 files")
    assert parsed(capsys, cache, "job", "load-1", "--follow")["finished"] is True
    assert run(["job", "other"], session_of(cache)) == 1
    assert capsys.readouterr().err == "raycache: load 'other' is unknown; see `raycache jobs`\n"


def test_a_load_larger_than_the_cache_says_so(
    capsys: pytest.CaptureFixture[str], cache: FakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once while it is waited for, before the result."""
    cache.room_bytes = 1000
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    run(["load", "/lake"], session_of(cache))
    assert capsys.readouterr().err.count("1.0 KiB of it are more than the cache has room for") == 1


def test_check_is_an_exit_status(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Scripts can ask `raycache check`: 1 while anything is missing, 0 when all is there."""
    cache.cached.add("/lake/a")
    assert run(["check", "/lake"], session_of(cache)) == 1
    captured = capsys.readouterr()
    assert (captured.err, captured.out.splitlines()[-1].split()) == ("", ["/lake/b/c", "512", "2.0", "KiB"])
    cache.cached.add("/lake/b/c")
    assert shown(capsys, cache, "check", "/lake").endswith("complete: every block is cached\n")


def test_check_limits_what_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    """People see 20 missing files and how many more there are; programs see all, or as many as they ask for."""
    cache = FakeCache({f"/lake/{number:02}": 8 for number in range(30)})
    run(["check", "/lake"], session_of(cache))
    assert capsys.readouterr().out.splitlines()[-1] == "... and 10 more; --json shows them all"
    run(["check", "/lake", "--json"], session_of(cache))
    document = json.loads(capsys.readouterr().out)
    assert (len(document["missing_files"]), document["complete"]) == (30, False)
    run(["check", "/lake", "--json", "--limit", "2"], session_of(cache))
    assert len(json.loads(capsys.readouterr().out)["missing_files"]) == 2


def test_free_counts_what_it_dropped(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Freeing tells blocks and bytes; freeing again drops nothing."""
    cache.cached.update(cache.files)
    kept = {"pinned_blocks": 0, "pinned_bytes": 0, "workers_silent": []}
    assert parsed(capsys, cache, "free", "/lake") == {"blocks": 515, "bytes": 2058, **kept}
    assert shown(capsys, cache, "free", "/lake") == "freed 0 blocks, 0 B\n"


def test_free_takes_an_age_and_leaves_what_is_pinned(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """`--older-than` is a duration; pinned blocks are counted apart and told how to free."""
    cache.cached.update(cache.files)
    assert parsed(capsys, cache, "free", "/lake", "--older-than", "5m")["blocks"] == 0
    assert shown(capsys, cache, "pin", "/lake/b") == "pinned /lake/b\n"
    out = shown(capsys, cache, "free", "/lake", "--older-than", "1m")
    assert out == "freed 3 blocks, 10 B\n512 blocks, 2.0 KiB, are pinned and stay; --force frees them\n"
    assert parsed(capsys, cache, "free", "/lake", "--force")["blocks"] == 512


def test_sync_tells_the_differences(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A table for people, everything for programs; what could not be loaded is said, and fails."""
    lines = [line.split() for line in shown(capsys, cache, "sync", "/lake", "--load").splitlines()]
    assert lines[1:] == [
        ["added", "2", "2.0", "KiB"], ["changed", "0", "0", "B"], ["removed", "0", "0", "B"],
        ["unchanged", "0", "0", "B"], ["loaded", "2", "2.0", "KiB"],
    ]  # fmt: skip
    assert "loaded" not in shown(capsys, cache, "sync", "/lake", "--dry-run")
    assert parsed(capsys, cache, "sync", "/lake", "--dry-run")["differences"] == ["/lake/a", "/lake/b/c"]
    rounds = shown(capsys, cache, "sync", "/lake", "--watch", "1m", "--json").splitlines()
    assert [json.loads(line)["added"]["files"] for line in rounds] == [2, 2]
    cache.broken["/lake/a"] = "the lake did not deliver it"
    assert run(["sync", "/lake", "--load", "--bandwidth", "5MiB/s"], session_of(cache)) == 1
    assert cache.bandwidths == [None, None, None, None, "5MiB/s"]
    assert capsys.readouterr().err == "raycache: /lake/a: the lake did not deliver it\n"


def test_maps_go_out_and_come_in(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """A map is written before the cache is stopped, and read after it has started; both verbs stand alone, too."""
    cache.cached.add("/lake/a")
    backend = FakeBackend(cache)
    assert run(["stop", "--export-map", "s3://b/m.parquet"], Session(backend)) == 0
    assert capsys.readouterr().out == "wrote 1 files, 10 B, to s3://b/m.parquet\nthe cache is stopped\n"
    backend = FakeBackend(cache)
    assert run(["start", "--import-map", "s3://b/m.parquet", "--json"], Session(backend)) == 0
    assert json.loads(capsys.readouterr().out)["import"]["loaded"] == {"files": 2, "bytes": 2058}
    cache.pins.clear()
    lines = shown(capsys, cache, "import-map", "s3://b/m.parquet", "--no-pins").splitlines()
    assert lines[2].split() == ["loaded", "2", "2.0", "KiB"]
    assert cache.pins == []
    assert parsed(capsys, cache, "export-map", "s3://b/m.parquet")["files"] == 1
    cache.broken["/lake/a"] = "the lake did not deliver it"
    assert run(["import-map", "s3://b/m.parquet", "--bandwidth", "5MiB/s"], session_of(cache)) == 1
    assert cache.bandwidths[-1] == "5MiB/s"
    cache.fail_with = UnavailableError("a worker does not answer")
    capsys.readouterr()
    assert run(["stop", "--export-map", "s3://b/m.parquet"], Session(backend)) == 1
    assert backend.cache is cache


def test_rules_are_said_shown_and_taken_back(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Pins, TTLs and quotas arrive with their units read, and are shown in human ones."""
    assert shown(capsys, cache, "rules") == "no rules\n"
    assert parsed(capsys, cache, "pin", "/a", "/b/*.parquet") == {"pinned": ["/a", "/b/*.parquet"]}
    assert shown(capsys, cache, "set-ttl", "/a", "12h") == "/a is freed 12 h 00 m after loading\n"
    assert shown(capsys, cache, "set-quota", "/a", "2GiB") == "/a never takes more than 2GiB\n"
    lines = [line.split() for line in shown(capsys, cache, "rules").splitlines()[1:]]
    expected = [["pin", "yes", "/a"], ["pin", "yes", "/b/*.parquet"], ["ttl", "12", "h", "00", "m", "/a"]]
    assert lines == [*expected, ["quota", "2.0", "GiB", "/a"]]
    assert parsed(capsys, cache, "rules")[3] == {"kind": "quota", "path": "/a", "value": 2 << 30}
    assert shown(capsys, cache, "unpin", "/a") == "unpinned /a\n"
    assert parsed(capsys, cache, "set-ttl", "/a", "none") == {"paths": ["/a"], "ttl_s": None}
    assert shown(capsys, cache, "set-quota", "/a", "none") == "/a has no quota\n"
    assert run(["set-ttl", "/a", "soon"], session_of(cache)) == 2
    assert run(["set-quota", "/a", "much"], session_of(cache)) == 2


def test_stats_show_nodes_and_total(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """Each node and the total have a line in the tables of reads, of bytes, and of holdings."""
    out = shown(capsys, cache, "stats")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "total 3 1 0 75.0%" in lines
    assert "total 4.0 MiB 3.0 MiB 0 B 1.0 MiB 4.0 MiB 0 B 0 B" in lines
    assert sum(line.startswith("a1a1a1a1a1a1 ") for line in lines) == 3
    assert max(map(len, out.splitlines())) <= 80
    assert parsed(capsys, cache, "stats")["total"]["hit_rate"] == 0.75


def test_cached_datasets_are_listed_and_dropped(capsys: pytest.CaptureFixture[str], cache: FakeCache) -> None:
    """What is kept, read, made and saved; one is dropped by name, all with --all, and nothing without either."""
    out = shown(capsys, cache, "cached", "ls")
    assert [" ".join(line.split()) for line in out.splitlines()][1:] == [
        "ReadImage-decode-0a1b 10 1,200 5.0 MiB 40 10 1 1 m 15 s 3.0 s",
        "tokens-2c3d 10 1,200 5.0 MiB 40 10 1 1 m 15 s -",
    ]
    assert parsed(capsys, cache, "cached", "ls")[0]["saved_cpu_s"] == 75.0
    assert run(["cached", "rm"], session_of(cache)) == 2
    assert run(["cached", "rm", "--all", "x"], session_of(cache)) == 2
    assert run(["cached", "rm", "nothing"], session_of(cache)) == 1
    capsys.readouterr()
    assert shown(capsys, cache, "cached", "rm", "tokens-2c3d") == "dropped tokens-2c3d: 10 groups\n"
    assert parsed(capsys, cache, "cached", "rm", "--all") == [{"name": "ReadImage-decode-0a1b", "groups": 10}]
    assert shown(capsys, cache, "cached", "ls") == "no results are kept; raycache.cached(dataset) keeps some\n"


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_verb_has_help_json_and_one_line_in_the_overview(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The overview names every verb once, in one line that is not cut; every verb has --json, --address, --debug."""
    assert run(["--help"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {name} ")]
    assert len(lines) == 1
    assert lines[0].endswith(".")
    assert not lines[0].endswith("...")
    assert run([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert [option for option in ("--json", "--address", "--debug") if option in out] == [
        "--json",
        "--address",
        "--debug",
    ]
