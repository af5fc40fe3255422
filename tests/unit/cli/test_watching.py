"""What the terminal shows: `top`, `report`, `doctor`, and the findings behind it."""

from __future__ import annotations

import fcntl
import io
import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from raycache.admin.checks.doctor import BAD, NOTE, OK, Checkup, Finding, diagnose
from raycache.admin.overview import overview_of
from raycache.cli.main import run
from raycache.cli.report_verbs import summary
from raycache.cli.session import Session
from raycache.cli.top import SORTS, frame
from raycache.dashboard.query import Query
from raycache.dashboard.views import Prices, page_of
from raycache.messages import (
    Health,
    MountHealth,
    MountInfo,
    NodeFigures,
    NodeOverview,
    OverviewReply,
    ReadCounters,
    WorkerStats,
)
from raycache.results import NodeStats, Setting, Stats
from raycache.workers.figures import self_check as health_module
from raycache.workers.figures.self_check import leftovers, look_around
from tests.support.fake_cache import FakeBackend, FakeCache
from tests.support.fake_source import EVIL, GIB, FakeSource


def rendered(sort: int = 0, height: int = 40, width: int = 140, **cluster: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(frame(FakeSource(**cluster).overview(), sort, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_dashboard_is_served_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Port, address and further names reach it; its address is shown, and a token only with --actions."""
    backend = FakeBackend(FakeCache())
    asked = ["dashboard", "--port", "0", "--host", "0.0.0.0", "--name", "cache.example", "--name", "b"]
    assert 0 == run(asked, Session(backend))
    assert (0, "0.0.0.0", None, ("cache.example", "b")) == backend.served
    assert "token" not in capsys.readouterr().out
    assert 0 == run(["dashboard", "--actions"], Session(backend))
    port, host, token, names = backend.served
    assert (None, None, None) == (port, host, names)
    assert token and token in capsys.readouterr().out


def test_a_picture_fits_its_terminal() -> None:
    """However many nodes there are and however small the terminal is, no line too much; the rest is counted."""
    for height in (10, 15, 24, 40, 80):
        lines = rendered(height=height, nodes=1000, readers=100)
        assert len(lines) < height
        assert any("more" in line for line in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 140, 200])
def test_a_narrow_terminal_shows_fewer_columns_rather_than_cut_ones(width: int) -> None:
    """Hit rates are always there, whole; what does not fit is not there at all, and names alone are cut."""
    lines = rendered(width=width, height=60)
    assert all(cell_len(line) <= width for line in lines)
    (header,) = [index for index, line in enumerate(lines) if line.startswith("Node")]
    rows = lines[header + 1 : header + 9]
    assert all("…" not in row for row in rows)
    if width >= 40:
        assert "Hit rate" in lines[header]
        assert all(re.search(r" [0-9]+\.[0-9]%", row) for row in rows)
    assert ("Plasma" in lines[header]) == (width >= 100)
    assert ("Memory" in lines[header]) == (width >= 80)


def test_every_sort_shows_its_extreme_first() -> None:
    """By default the worst hit rate."""
    overview = FakeSource(nodes=20).overview()
    for number, (title, key) in enumerate(SORTS):
        first = min(overview.nodes, key=lambda node: (key(node), node.host))
        lines = rendered(number, nodes=20)
        assert f"(by {title})" in lines[0]
        (header,) = [index for index, line in enumerate(lines) if line.startswith("Node")]
        assert (first.host or first.node_id[:12]) in lines[header + 1]


def test_a_node_that_has_left_is_told_from_one_without_a_worker() -> None:
    """In every picture alike: the worker's state where the node is there, "none" without a worker, else "gone"."""

    def node(name: str, host: str, worker: tuple[int, str, float] | None, *, alive: bool) -> NodeOverview:
        figures = NodeFigures(name, alive, ReadCounters(), WorkerStats())
        return NodeOverview(figures, ReadCounters(), ReadCounters(), [-1] * 30, worker, host)

    nodes = [
        node("a", "10.0.0.1", (1, "live", 0.0), alive=True),
        # Ray has not named its address yet.
        node("b", "", (1, "live", 0.0), alive=True),
        node("c", "10.0.0.3", (1, "suspect", 9.0), alive=False),
        node("d", "10.0.0.4", None, alive=False),
        node("e", "", (1, "suspect", 9.0), alive=False),
        node("f", "", None, alive=False),
    ]
    overview = overview_of(OverviewReply("c", 1.0, 0, [], nodes, [], 5.0, [], []))
    states = ["live", "live", "suspect", "none", "gone", "gone"]
    assert states == [node.state for node in overview.nodes]
    assert states == [row["state"] for row in page_of(overview, Query("nodes", "node_id"), Prices())["rows"]]
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(frame(overview, 0, 140, 40))
    assert isinstance(console.file, io.StringIO)
    for text in (console.file.getvalue(), summary(overview, [], [], "2.60.0")):
        shown = re.findall(r"\b(live|suspect|none|gone) ", text)
        assert sorted(states) == sorted(shown), text


def test_stats_say_where_no_worker_is(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a node that never had one: stats cannot tell whether it has left."""
    cache = FakeCache()
    idle = NodeStats(alive=False)
    cache.stats = lambda: Stats(NodeStats(), {"ab" * 28: idle})  # type: ignore[method-assign]
    assert 0 == run(["stats"], Session(backend=FakeBackend(cache)))  # type: ignore[arg-type]
    (line,) = re.findall(r"^abab.*worker.*$", capsys.readouterr().out, re.MULTILINE)
    assert (2, False) == (line.count("no worker"), "gone" in line)


def test_top_outside_a_terminal_is_one_picture(capsys: pytest.CaptureFixture[str]) -> None:
    """So that it can be piped; with --json it is everything."""
    cache = FakeCache()
    cache.overview = FakeSource().overview  # type: ignore[attr-defined]
    assert 0 == run(["top"], Session(backend=FakeBackend(cache)))  # type: ignore[arg-type]
    assert "10.0.0.4" in capsys.readouterr().out
    assert 0 == run(["top", "--json"], Session(backend=FakeBackend(cache)))  # type: ignore[arg-type]
    assert '"hit_rate"' in capsys.readouterr().out


def test_stats_can_be_watched(capsys: pytest.CaptureFixture[str]) -> None:
    """Again and again, until Ctrl-C."""
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    assert 130 == run(["stats", "--watch", "2"], Session(backend=FakeBackend(FakeCache()), sleep=sleep))  # type: ignore[arg-type]
    assert ([2.0] * 3, 3) == (looks, capsys.readouterr().out.count("Hit rate"))


def test_a_report_names_nobody() -> None:
    """Figures, versions and findings; no bucket, path, host or id."""
    overview = FakeSource().overview()
    settings = [Setting("journal", "s3://secret-bucket/j", "argument")]
    text = summary(overview, settings, [Finding(BAD, "mount", "s3://bucket-1 is gone", "mount it")], "2.60.0")
    for word in ("bucket", "10.0.0", "/mount", EVIL, overview.nodes[0].node_id[:12]):
        assert word not in text
    for word in ("journal", "Ray 2.60.0", "- bad mount", f"| since start | {overview.ever.asked} |"):
        assert word in text


def healthy(node: str, **changes: object) -> Health:
    return Health(node, 0.0, "/scratch", 500 * GIB, 400 * GIB, [], [MountHealth("/mount-0000", 0.02, "")])._replace(
        **changes
    )


def findings(
    level: str, checkups: list[Checkup], silent: tuple[str, ...] = (), mode: str = "hook", **cluster: int
) -> list[str]:
    overview = FakeSource(**cluster).overview()
    return [f.subject for f in diagnose(overview, checkups, silent, mode, "why") if f.level == level]


def test_a_healthy_cluster_has_no_findings() -> None:
    """And every subject is named."""
    nodes = FakeSource(nodes=3, mounts=1).overview().nodes
    checkups = [Checkup(healthy(node.node_id), 0.1, 0.2) for node in nodes]
    assert [] == findings(BAD, checkups, nodes=3, mounts=1)
    assert [] == findings(NOTE, checkups, nodes=3, mounts=1)
    subjects = findings(OK, checkups, nodes=3, mounts=1)
    assert [
        "placement",
        "worker",
        "object store",
        "disk",
        "mount",
        "event loop",
        "network",
        "clock",
        "leftovers",
    ] == subjects


@pytest.mark.parametrize(
    ("changes", "skew_s", "level", "subject"),
    [
        ({"disk_free_bytes": GIB}, 0.0, BAD, "disk"),
        ({"disk_free_bytes": 30 * GIB}, 0.0, NOTE, "disk"),
        ({"mounts": [MountHealth("/mount-0000", 0.1, "403 Forbidden")]}, 0.0, BAD, "mount"),
        ({"mounts": [MountHealth("/mount-0000", 3.0, "")]}, 0.0, NOTE, "mount"),
        ({"turns": [("free", 0, 0.01), ("heat", 3, 0.8)]}, 0.0, NOTE, "event loop"),
        ({"left_alone": [("raycache-worker-x-1", 9.5, 1)]}, 0.0, BAD, "network"),
        ({"leftovers": [("/scratch/raycache-1/slot-0", GIB)]}, 0.0, NOTE, "leftovers"),
        ({}, -30.0, BAD, "clock"),
    ],
)
def test_each_trouble_is_found(changes: dict[str, object], skew_s: float, level: str, subject: str) -> None:
    """One trouble, one finding, and it says what to do."""
    (node,) = FakeSource(nodes=1, mounts=1).overview().nodes
    checkups = [Checkup(healthy(node.node_id, **changes), skew_s, 0.5)]
    found = diagnose(FakeSource(nodes=1, mounts=1).overview(), checkups, (), "hook", "why")
    assert [(level, subject)] == [(f.level, f.subject) for f in found if f.level != OK]
    assert all(bool(f.remedy) == (f.level != OK) for f in found)


def test_silent_workers_and_other_placements_are_found() -> None:
    """A worker that does not answer is bad, a weaker placement worth a note; a slow answer is no skewed clock."""
    node = FakeSource(nodes=1).overview().nodes[0].node_id
    assert ["worker"] == findings(BAD, [], (node,), nodes=1, mounts=1)
    assert "placement" in findings(NOTE, [], mode="labels", nodes=1)
    assert [] == findings(BAD, [Checkup(healthy(node), 5.0, 4.0)], nodes=1, mounts=1)


def test_doctor_fails_when_something_is_bad(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, and the remedy below the finding."""
    bad = Finding(BAD, "clock", "off by a day", "run NTP")
    for found, status in (([bad], 1), ([Finding(OK, "clock", "right")], 0)):
        monkeypatch.setattr("raycache.admin.checks.doctor.examine", lambda *_, found=found, **__: found)
        assert status == run(["doctor"], Session(backend=FakeBackend(FakeCache())))  # type: ignore[arg-type]
    assert "bad   clock: off by a day\n      -> run NTP" in capsys.readouterr().out


def test_what_nobody_holds_is_left_over(tmp_path: Path) -> None:
    """Slots that a living process has locked are not; sizes are of the files in them."""
    for name in ("raycache-1/slot-0", "raycache-1/slot-1", "raycache-2/slot-0", "other/slot-0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "segment").write_bytes(b"x" * 10)
    (tmp_path / "raycache-2/slot-0/more").write_bytes(b"x" * 10)
    descriptor = os.open(tmp_path / "raycache-1/slot-0", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert [(str(tmp_path / "raycache-2/slot-0"), 20), (str(tmp_path / "raycache-1/slot-1"), 10)] == leftovers(
            tmp_path
        )
    finally:
        os.close(descriptor)
    assert 3 == len(leftovers(tmp_path))


def test_a_worker_tries_its_mounts(tmp_path: Path) -> None:
    """One that answers says how fast, one that does not says why, one that hangs is given up."""
    good = MountInfo("/good", f"file://{tmp_path}", {}, 60.0, readonly=True)
    bad = MountInfo("/bad", "nonsense://x", {}, 60.0, readonly=True)
    found = look_around("node", tmp_path, [good, bad])
    assert ["", True] == [found.mounts[0].error, bool(found.mounts[1].error)]
    assert found.disk_total_bytes >= found.disk_free_bytes > 0


def test_a_hanging_store_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The look ends in bounded time."""
    import threading

    release = threading.Event()
    monkeypatch.setattr(health_module, "_MOUNT_TIMEOUT_S", 0.05)
    monkeypatch.setattr(health_module, "open_storage", lambda *_: release.wait(30))
    (found,) = look_around("node", None, [MountInfo("/slow", f"file://{tmp_path}", {}, 60.0, readonly=True)]).mounts
    release.set()
    assert "no answer within" in found.error
