"""The dashboard's rows: right figures, sorted, filtered, one page at a time, small also for large clusters."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from raycache.admin.overview import REASONS
from raycache.dashboard.prometheus import render
from raycache.dashboard.query import ROWS_PER_PAGE, VIEWS, Query, read_query
from raycache.dashboard.security import Guard
from raycache.dashboard.views import Prices, cached_row, kept_page, page_of, sizes, table
from raycache.errors import InvalidRequestError
from raycache.metrics import FIGURES
from tests.support.fake_source import FakeSource

STATIC = Path(__file__).resolve().parents[3] / "raycache/dashboard/static"


def test_the_nodes_say_what_stats_say() -> None:
    """Hit rates of each row and of the head equal those of `cache.stats()`, to the digits shown."""
    overview = FakeSource().overview()
    page = page_of(overview, Query("nodes"), Prices())
    for row in page["rows"]:
        stats = overview.stats.nodes[row["node_id"]]
        assert row["hit_rate"] == pytest.approx(stats.hit_rate, abs=1e-4)
        assert (row["bytes_local"], row["evictions"]) == (stats.bytes_local, stats.evictions)
    assert page["head"]["hit_rate"] == pytest.approx(overview.stats.total.hit_rate, abs=1e-4)
    assert overview.workers_alive == page["head"]["workers_alive"]


def test_a_hundred_percent_means_all() -> None:
    """Shares are rounded down."""
    overview = FakeSource(nodes=1).overview()
    total = overview.stats.total
    assert page_of(overview, Query("nodes"), Prices())["rows"][0]["hit_rate"] <= total.hit_rate


def test_what_is_saved_is_what_was_not_asked_of_the_lake() -> None:
    """Blocks asked for less requests sent, bytes read less bytes moved, at the given prices."""
    overview = FakeSource().overview()
    page = page_of(overview, Query("overview"), Prices(per_1000_requests=2.0, per_gb=3.0))
    total = overview.stats.total
    assert total.hits + total.misses + total.bypasses - total.ufs_requests == page["requests_saved"]
    assert total.bytes_memory + total.bytes_disk + total.bytes_ufs - total.ufs_bytes == page["bytes_saved"]
    money = page["requests_saved"] / 1000 * 2.0 + page["bytes_saved"] / 1e9 * 3.0
    assert page["money_saved"] == pytest.approx(money, rel=1e-6)


def test_reasons_sum_up() -> None:
    """All misses and bypasses have a reason, also per dataset."""
    overview = FakeSource().overview()
    page = page_of(overview, Query("missed"), Prices())
    assert list(REASONS) == [row["reason"] for row in page["reasons"]]
    total = overview.stats.total
    assert total.misses + total.bypasses == sum(row["ever"] for row in page["reasons"])


@pytest.mark.parametrize("column", ["host", "hit_rate", "state", "heartbeat_age_s", "spark", "epoch"])
@pytest.mark.parametrize("descending", [False, True])
def test_any_column_sorts(column: str, descending: bool) -> None:
    """Unknown values come last, in either direction."""
    page = page_of(FakeSource(nodes=30).overview(), Query("nodes", column, descending), Prices())
    values = [row[column] for row in page["rows"]]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == known
    if column not in ("host", "spark"):
        assert sorted(known, reverse=descending) == known


def test_numbers_in_names_sort_by_value() -> None:
    """10.0.0.9 stands before 10.0.0.10."""
    rows = [{"name": name} for name in ("b10", "b9", "a", "b9c")]
    assert ["a", "b9", "b9c", "b10"] == [row["name"] for row in table(rows, Query(sort="name"), "", ())["rows"]]


def test_rows_are_filtered_and_paged() -> None:
    """A page has so many rows; beyond the last page is the last page; a filter looks in names only, in any case."""
    rows = [{"name": f"Part-{number:03}", "size": number} for number in range(3 * ROWS_PER_PAGE - 10)]
    last = table(rows, Query(page=99), "", ("name",))
    assert (2, 3, ROWS_PER_PAGE - 10, 140) == (last["page"], last["pages"], len(last["rows"]), last["rows_total"])
    found = table(rows, Query(text="pART-11"), "", ("name",))
    assert [f"Part-11{digit}" for digit in range(10)] == [row["name"] for row in found["rows"]]
    assert 0 == table(rows, Query(text="zzz", sort="size"), "", ("name",))["rows_total"]
    assert "" == table(rows, Query(sort="no such column"), "", ("name",))["sort"]


@pytest.mark.parametrize("view", [view for view in VIEWS if view not in ("data", "kept", "sizes")])
def test_updates_are_small_for_large_clusters(view: str) -> None:
    """With 200 workers, 1,000 mounts, 1,000 jobs and 1,000 readers every view stays below 50 KB."""
    overview = FakeSource(nodes=200, mounts=1000, jobs=1000, readers=1000).overview()
    assert len(json.dumps(page_of(overview, Query(view), Prices()), separators=(",", ":"))) <= 50_000


def test_cached_datasets_are_rows_with_what_they_have_saved() -> None:
    """Sorted and filtered as any table, with the sums of all."""
    source = FakeSource()
    page = kept_page(source.overview(), source.kept_datasets(), Query("kept", "saved_cpu_s", True, text="decode"))
    assert [row["hits"] for row in page["rows"]] == [1200, 900, 600, 300]
    assert (page["view"], page["rows_total"], page["saved_cpu_s"]) == ("kept", 4, 905.0)


def test_the_view_of_sizes_is_small() -> None:
    """Of 200 nodes fifty are shown, each with its last changes of policy; together less than 50 KB."""
    (node, *_), *_ = (FakeSource().advice().nodes,)
    advice = dataclasses.replace(
        FakeSource().advice(), nodes=tuple(dataclasses.replace(node, history=node.history * 32) for _ in range(200))
    )
    shown = sizes(advice)
    assert (len(shown["policies"]), shown["nodes_total"], len(shown["policies"][0]["history"])) == (50, 200, 3)
    assert len(json.dumps(shown, separators=(",", ":"))) <= 50_000


def test_a_directory_page_is_small() -> None:
    """Fifty files with what is cached of them stay below 50 KB."""
    source = FakeSource()
    found = source.with_residency(source.list_directory("/mount-0000")[:ROWS_PER_PAGE])
    assert len(json.dumps([cached_row(row) for row in found])) <= 40_000


@pytest.mark.parametrize(
    "parameters",
    [
        {"view": "secrets"}, {"page": "-1"}, {"page": "1e3"}, {"page": "٣"}, {"page": "9" * 50}, {"desc": "yes"},
        {"q": "x" * 201}, {"sort": "x" * 41}, {"path": "/" * 2001}, {"path": "/a\0b"}, {"drop": "table"},
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(parameters: dict[str, str]) -> None:
    """With a message that says what is known."""
    with pytest.raises(InvalidRequestError):
        read_query(parameters)


def test_the_page_explains_only_what_is_defined() -> None:
    """Every hover of the page has its text in the table, and nothing of the page comes from elsewhere."""
    script = (STATIC / "app.js").read_text(encoding="utf-8")
    for line in script.splitlines():
        for mark in ('tip("', 'tip: "'):
            for part in line.split(mark)[1:]:
                assert part.partition('"')[0] in FIGURES, part
    for name in ("index.html", "app.js", "charts.js", "style.css"):
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("://", "", 1) or "http" not in text, name
        assert "innerHTML" not in text


def test_a_prometheus_page_is_well_formed() -> None:
    """One line per series, quotes escaped."""
    overview = FakeSource(nodes=2).overview()
    nodes = [(f'n"{number}', node.reads.counters, node.worker) for number, node in enumerate(overview.nodes)]
    lines = render(nodes).splitlines()
    assert 'raycache_blocks_hit_total{node="n\\"0"} ' in "\n".join(lines)
    assert len(lines) == len(set(lines))


def test_only_the_token_acts() -> None:
    """Without one nobody may; with one, its header and no other site's page."""
    headers = {"Host": "localhost:8268", "Authorization": "Bearer secret"}
    assert 403 == (Guard("127.0.0.1", "").may_act(headers) or [0])[0]
    guard = Guard("127.0.0.1", "secret")
    assert guard.may_act(headers) is None
    assert guard.may_act({**headers, "Origin": "http://localhost:8268", "Sec-Fetch-Site": "same-origin"}) is None
    for wrong, status in (
        ({"Authorization": "Bearer Secret"}, 401),
        ({"Authorization": "Basic secret"}, 401),
        ({"Authorization": "Bearer séc"}, 401),
        ({"Authorization": ""}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 403),
    ):
        assert status == (guard.may_act({**headers, **wrong}) or [0])[0]


@pytest.mark.parametrize(
    ("host", "name", "allowed"),
    [
        ("127.0.0.1", "localhost:8268", True),
        ("127.0.0.1", "[::1]:8268", True),
        ("127.0.0.1", "evil.example:8268", False),
        ("127.0.0.1", "10.0.0.4:8268", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "cache.example.", True),
        ("0.0.0.0", "head.cluster:8268", False),
        ("0.0.0.0", "Cache.Example:8268", True),
        ("0.0.0.0", "10.0.0.4:8268", True),
        ("0.0.0.0", "[fe80::1]", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "cache.example:8268@evil.example", False),
        ("head.cluster", "head.cluster:8268", True),
        ("head.cluster", "evil.example", False),
    ],
)
def test_a_server_has_names_that_are_known(host: str, name: str, allowed: bool) -> None:
    """A page elsewhere may have its own name point here: that is refused. An address cannot be made to point elsewhere."""
    assert allowed == Guard(host, "", ["cache.example"]).may_look({"Host": name})


def _luminance(colour: str) -> float:
    parts = [int(colour[position : position + 2], 16) / 255 for position in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_texts_can_be_read() -> None:
    """Contrast of every text on its ground is at least 4.5, light and dark (WCAG AA)."""
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    themes = re.findall(r"\{\s*(--bg:.*?--track.*?;)", style, re.DOTALL)
    assert 3 == len(themes)
    for theme in themes:
        colours = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6});", theme))
        for text, ground in (
            ("--ink", "--card"), ("--ink", "--bg"), ("--soft", "--card"), ("--soft", "--bg"), ("--accent", "--card"),
            ("--accent-ink", "--accent"), ("--good", "--good-bg"), ("--warn", "--warn-bg"), ("--bad", "--bad-bg"),
            ("--bg", "--ink"),
        ):  # fmt: skip
            light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, colours[text], colours[ground])
