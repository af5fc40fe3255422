"""`python -m benchmarks [WORKLOAD...]`: run workloads, print Markdown tables, write them and JSON to benchmarks/results/."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    cached,
    dashboard,
    endpoint,
    epochs,
    host_cuts,
    load,
    locality,
    on_hosts,
    overhead,
    parquet,
    scale,
    scale_steps,
    scale_worker,
    sync,
)
from benchmarks.large import report as large
from benchmarks.measure import Finding, findings, head, machine, ratio_rows, ratios_as_findings, save, table
from benchmarks.reading import report, runner
from raycache.testing.stop_signals import StopSignals

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(sorted(WORKLOADS)))
    parser.add_argument("--bytes", type=float, default=1e9, help="epochs: size of the parquet dataset")
    parser.add_argument(
        "--rounds", type=int, default=3, help="epochs, hosts: interleaved rounds; medians are shown; hosts-cuts: cuts"
    )
    parser.add_argument("--mbit", type=int, nargs="*", default=[400], help="hosts: speeds of their links, in Mbit/s")
    parser.add_argument("--files", type=int, default=2_000_000, help="scale-steps, scale-worker: synthetic files")
    parser.add_argument(
        "--only",
        nargs="*",
        choices=sorted({*load.PARTS, *runner.PARTS, *large.PARTS}),
        default=[],
        help="some parts of it",
    )
    parser.add_argument("--full", action="store_true", help="reading: more of it, for longer")
    arguments = parser.parse_args()
    chosen = arguments.workloads or ["epochs"]
    if unknown := [name for name in chosen if name not in WORKLOADS]:
        parser.error(f"no workload {unknown[0]!r}; choose from {', '.join(sorted(WORKLOADS))}")
    print("machine:", ", ".join(f"{key} {value}" for key, value in machine().items()), "\n")
    try:
        with StopSignals():
            met = [WORKLOADS[name](arguments) for name in chosen]
    except KeyboardInterrupt:
        print("interrupted; everything is stopped", file=sys.stderr)
        return 130
    return 0 if all(met) else 1


def _command() -> str:
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def _epochs(arguments: argparse.Namespace) -> bool:
    found = epochs.measure(int(arguments.bytes), arguments.rounds)
    ratios = ratio_rows(found, epochs.BARS)
    title = f"Parquet epochs, {arguments.bytes / 1e9:g} GB, {epochs.NODES} nodes"
    notes = [
        f"{epochs.FILES} files, uncompressed, all columns; medians of {arguments.rounds} interleaved runs.",
        "All but stock V2 go through the same reader path of Ray Data (V1).",
        "The first epoch after a load, and stock V2, are single runs.",
    ]
    speeds = table("Speeds", "MB", found, 1e6, "local files")
    tables = f"{speeds}\n### What must be shown\n\n{findings(ratios_as_findings(ratios))}"
    print(tables)
    targets = [{"name": target.name, "runs": target.runs} for target in found]
    save(RESULTS, "epochs", {"targets": targets, "ratios": ratios}, head(title, _command(), notes) + tables)
    return all(row["met"] for row in ratios)


def _reading(arguments: argparse.Namespace) -> bool:
    found = report.Results([], [], [])
    try:
        runner.measure(runner.FULL if arguments.full else runner.SHORT, found, arguments.only or runner.PARTS)
    finally:
        section = report.markdown(found, _command())
        print(section)
        save(RESULTS, "reading", report.content(found), section)
        (RESULTS / "reading.svg").write_text(report.picture(found.sections))
    return found.met()


class _Figures(NamedTuple):
    """A workload whose results are figures, not times of targets."""

    title: str
    measure: Callable[[argparse.Namespace], list[Finding]]

    def run(self, name: str, arguments: argparse.Namespace) -> bool:
        found = self.measure(arguments)
        print(findings(found))
        section = head(self.title, _command()) + findings(found)
        save(RESULTS, name, {"findings": [finding._asdict() for finding in found]}, section)
        return all(finding.met is not False for finding in found)


_FIGURES = {
    "cached": _Figures("Datasets cached after their transforms", lambda arguments: cached.measure(full=arguments.full)),
    "dashboard": _Figures("The dashboard", lambda _: dashboard.measure()),
    "endpoint": _Figures("The S3 endpoint", lambda _: endpoint.measure()),
    "epochs-large": _Figures("Datasets larger than the cache", lambda arguments: large.measure(arguments.only)),
    "hosts": _Figures("Three hosts", lambda arguments: on_hosts.measure(arguments.rounds, arguments.mbit)),
    "hosts-cuts": _Figures("Cut cables", lambda arguments: host_cuts.measure(arguments.rounds, full=arguments.full)),
    "load": _Figures("Warm-ups", lambda arguments: load.measure(arguments.only)),
    "locality": _Figures("Where tasks run", lambda _: locality.measure()),
    "overhead": _Figures("What counting, tagging and exporting cost", lambda _: overhead.measure()),
    "parquet": _Figures("Ray's own reader of parquet", lambda _: parquet.measure()),
    "scale": _Figures("How the control plane scales", lambda _: scale.measure()),
    "scale-steps": _Figures(
        "Steps of a worker with millions of small files", lambda arguments: scale_steps.measure(arguments.files)
    ),
    "scale-worker": _Figures(
        "A worker with millions of small files", lambda arguments: scale_worker.measure(arguments.files)
    ),
    "sync": _Figures("Sync and the cache map", lambda _: sync.measure()),
}

WORKLOADS: dict[str, Callable[[argparse.Namespace], bool]] = {
    "epochs": _epochs,
    "reading": _reading,
    **{name: functools.partial(figures.run, name) for name, figures in _FIGURES.items()},
}


if __name__ == "__main__":
    sys.exit(main())
