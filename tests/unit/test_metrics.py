"""Metrics and figures: one table, which everything that names them agrees with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from raycache.admin.overview import REASONS
from raycache.messages import ReadCounters, WorkerStats
from raycache.metrics import FIGURES, METRICS, LakeReads, markdown, samples
from raycache.results import NodeStats

ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"\bray_(raycache_[a-z_]+)")


def exported_names() -> set[str]:
    """What Prometheus sees, without Ray's prefix."""
    names: set[str] = set()
    for metric in METRICS:
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {metric.name + end for end in ends}
    return names


def test_every_sample_is_of_a_metric() -> None:
    """Name and number of labels fit, every metric but the histograms has one, and all are apart."""
    labels = {metric.name: metric.labels for metric in METRICS}
    reads = [("/a", "01", ReadCounters()), ("/a", "02", ReadCounters()), ("/b", "01", ReadCounters())]
    found = list(samples(reads, [LakeReads(mount, 3, 1, 9, 2) for mount in ("/a", "/b")], WorkerStats()))
    assert all(len(sample.labels) == len(labels[sample.name]) - 1 for sample in found)
    assert len(found) == len({(sample.name, sample.labels) for sample in found})
    assert {m.name for m in METRICS if m.kind != "histogram"} == {sample.name for sample in found}


def test_bytes_by_source_and_distance_sum_up_to_the_bytes_read() -> None:
    """The table of sources and distances says the same as the two breakdowns of `stats`."""
    reads = ReadCounters(
        bytes_memory=7, bytes_memory_remote=3, bytes_disk=11, bytes_disk_remote=5, bytes_ufs=100,
        bytes_local=44, bytes_remote=28, bytes_bypass=46,
    )  # fmt: skip
    found = samples([("/lake", "01", reads)], [], WorkerStats())
    table = {s.labels[:2]: s.value for s in found if s.name == "raycache_bytes_read_total"}
    assert 118 == sum(table.values())
    assert {"memory": 7, "disk": 11, "ufs": 100} == {
        source: sum(value for labels, value in table.items() if labels[0] == source)
        for source in ("memory", "disk", "ufs")
    }
    assert {"local": 44, "remote": 28, "bypass": 46} == {
        way: sum(value for labels, value in table.items() if labels[1] == way) for way in ("local", "remote", "bypass")
    }


def test_dashboard_and_alerts_name_what_is_exported() -> None:
    """Every metric that Grafana or an alert asks for exists, and every metric is shown."""
    dashboard = (ROOT / "docs/grafana/raycache.json").read_text(encoding="utf-8")
    alerts = (ROOT / "docs/grafana/alerts.yaml").read_text(encoding="utf-8")
    shown = set(_NAME.findall(dashboard))
    assert shown <= exported_names()
    assert set(_NAME.findall(alerts)) <= exported_names()
    assert {m.name for m in METRICS} == {name.removesuffix("_bucket") for name in shown}
    panels = json.loads(dashboard)["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})


def test_alerts_and_panels_are_whole() -> None:
    """Each rule has all that Prometheus wants and says what to do; brackets of every query fit; no panel is on another."""
    rules = yaml.safe_load((ROOT / "docs/grafana/alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    dashboard = json.loads((ROOT / "docs/grafana/raycache.json").read_text(encoding="utf-8"))
    assert len(rules) == len({rule["alert"] for rule in rules})
    for rule in rules:
        assert (
            {"alert", "expr", "labels", "annotations"} <= set(rule) <= {"alert", "expr", "labels", "annotations", "for"}
        )
        assert rule["annotations"]["action"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
    panels = dashboard["panels"]
    for query in [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]:
        text = re.sub(r'"[^"]*"', "", query)
        assert all(text.count(left) == text.count(right) for left, right in ("()", "{}", "[]")), query
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(panels) == len(places)


def test_labels_that_queries_filter_by_exist() -> None:
    """Every label in braces or after `by` is one of the metric's, or one that Ray adds."""
    known = {label for metric in METRICS for label in metric.labels} | {"SessionName", "le"}
    for name in ("raycache.json", "alerts.yaml"):
        text = (ROOT / "docs/grafana" / name).read_text(encoding="utf-8").replace('\\"', '"')
        used = {label for group in re.findall(r"\bby \(([^)]*)\)", text) for label in group.split(", ")}
        used |= {label for group in re.findall(r"_[a-z]+\{([^{}]*)\}", text) for label in re.findall(r"(\w+)=", group)}
        assert used <= known


def test_the_docs_are_the_table() -> None:
    """`docs/metrics.md` holds the tables of the code, word for word."""
    assert markdown() in (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def test_every_figure_of_stats_is_defined() -> None:
    """What `cache.stats()` says, a hover explains."""
    assert {"alive"} == set(NodeStats().as_dict()) - set(FIGURES)
    assert {f"missed_{reason}" for reason in REASONS} == {name for name in FIGURES if name.startswith("missed_")}
