"""Measuring: interleaved runs, medians, ratios, and how they are shown. Knows nothing of what is measured."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


@dataclasses.dataclass
class Target:
    """One thing to time.

    Args:
        name: as shown.
        run: does the work and returns how much of it was done (bytes, rows or files), which must agree over targets.
        before: preparation that is not timed, such as emptying a cache.
    """

    name: str
    run: Callable[[], float]
    before: Callable[[], None] | None = None
    seconds: list[float] = dataclasses.field(default_factory=list)
    amount: float = 0.0

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bound on a ratio of medians: `target / base <= most` (times) or `>= least` (speeds)."""

    target: str
    base: str
    most: float | None = None
    least: float | None = None


class Finding(NamedTuple):
    """One figure that is not a time of one of several targets."""

    what: str
    figure: str
    #: What was promised; empty: shown beside.
    bound: str = ""
    met: bool | None = None


def interleave(targets: Sequence[Target], rounds: int) -> None:
    """Time all targets in turn, `rounds` times over, so that drift of the machine meets all alike."""
    for _ in range(rounds):
        for target in targets:
            if target.before is not None:
                target.before()
            started = time.perf_counter()
            target.amount = target.run()
            target.seconds.append(time.perf_counter() - started)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def ratio_rows(targets: Sequence[Target], bars: Sequence[Bar]) -> list[dict[str, Any]]:
    """Each bar with the ratio that was measured: of median times for `most`, of median speeds for `least`."""
    by_name = {target.name: target for target in targets}
    rows = []
    for bar in bars:
        times = by_name[bar.target].median_s / by_name[bar.base].median_s
        ratio = times if bar.most is not None else 1 / times
        bound = f"<= {bar.most:g}x" if bar.most is not None else f">= {bar.least:g}x"
        good = ratio <= bar.most if bar.most is not None else ratio >= (bar.least or 0.0)
        rows.append({"what": f"{bar.target} / {bar.base}", "ratio": round(ratio, 3), "bound": bound, "met": good})
    return rows


def table(title: str, unit: str, targets: Sequence[Target], scale: float) -> str:
    """A Markdown table with relative bars: the longest bar is the fastest."""
    speeds = {target.name: target.amount / scale / target.median_s for target in targets}
    top = max(speeds.values())
    lines = [f"### {title}", "", f"| target | median | spread | {unit}/s | |", "|---|---:|---:|---:|---|"]
    for target in targets:
        spread = f"{min(target.seconds):.2f}..{max(target.seconds):.2f} s"
        bar = "█" * max(1, round(20 * speeds[target.name] / top))
        lines.append(f"| {target.name} | {target.median_s:.2f} s | {spread} | {speeds[target.name]:,.1f} | {bar} |")
    return "\n".join(lines) + "\n"


def save(path: Path, name: str, targets: Sequence[Target], ratios: list[dict[str, Any]]) -> None:
    """Write one workload's results as JSON."""
    path.mkdir(parents=True, exist_ok=True)
    content = {
        "workload": name,
        "machine": machine(),
        "targets": [{"name": t.name, "seconds": t.seconds, "amount": t.amount} for t in targets],
        "ratios": ratios,
    }
    (path / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def findings(title: str, found: Sequence[Finding]) -> str:
    """A Markdown table of figures, with what was promised."""
    lines = [f"### {title}", "", "| what | measured | bound | |", "|---|---:|---:|---|"]
    marks = {True: "met", False: "NOT met", None: ""}
    lines += [f"| {f.what} | {f.figure} | {f.bound} | {marks[f.met]} |" for f in found]
    return "\n".join(lines) + "\n"


def save_findings(path: Path, name: str, found: Sequence[Finding]) -> None:
    """Write one workload's figures as JSON."""
    path.mkdir(parents=True, exist_ok=True)
    content = {"workload": name, "machine": machine(), "findings": [finding._asdict() for finding in found]}
    (path / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
