"""`python -m benchmarks [WORKLOAD...]`: run workloads, print Markdown tables, write them and JSON to benchmarks/results/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import dashboard, epochs, load, locality, overhead, sync
from benchmarks.measure import findings, machine, ratio_rows, save, save_findings, table
from benchmarks.reading import report, runner
from raycache.testing.stop_signals import StopSignals

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(sorted(WORKLOADS)))
    parser.add_argument("--bytes", type=float, default=1e9, help="epochs: size of the parquet dataset")
    parser.add_argument("--rounds", type=int, default=3, help="epochs: interleaved rounds; medians are shown")
    parser.add_argument(
        "--only", nargs="*", choices=sorted({*load.PARTS, *runner.PARTS}), default=[], help="some parts of it"
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


def _epochs(arguments: argparse.Namespace) -> bool:
    found = epochs.measure(int(arguments.bytes), arguments.rounds)
    ratios = ratio_rows(found, epochs.BARS)
    print(table(f"Parquet epochs, {arguments.bytes / 1e9:g} GB, {epochs.NODES} nodes", "MB", found, 1e6, "local files"))
    for row in ratios:
        print(f"{row['what']}: {row['ratio']} (bar {row['bound']}: {'met' if row['met'] else 'NOT met'})")
    save(RESULTS, "epochs", found, ratios)
    return all(row["met"] for row in ratios)


def _reading(arguments: argparse.Namespace) -> bool:
    found = report.Results([], [], [])
    try:
        runner.measure(runner.FULL if arguments.full else runner.SHORT, found, arguments.only or runner.PARTS)
    finally:
        print(report.markdown(found))
        report.save(RESULTS, found)
    return found.met()


def _locality(_: argparse.Namespace) -> bool:
    found = locality.measure()
    print(findings("Locality", found))
    save_findings(RESULTS, "locality", found)
    return all(finding.met is not False for finding in found)


def _load(arguments: argparse.Namespace) -> bool:
    found = load.measure(arguments.only)
    print(findings("Loads", found))
    save_findings(RESULTS, "load", found)
    return all(finding.met is not False for finding in found)


def _dashboard(_: argparse.Namespace) -> bool:
    found = dashboard.measure()
    print(findings("Dashboard", found))
    save_findings(RESULTS, "dashboard", found)
    return all(finding.met is not False for finding in found)


def _sync(_: argparse.Namespace) -> bool:
    found = sync.measure()
    print(findings("Sync and cache map", found))
    save_findings(RESULTS, "sync", found)
    return all(finding.met is not False for finding in found)


def _overhead(_: argparse.Namespace) -> bool:
    found = overhead.measure()
    print(findings("Overhead of counting, tagging and exporting", found))
    save_findings(RESULTS, "overhead", found)
    return all(finding.met is not False for finding in found)


WORKLOADS = {
    "dashboard": _dashboard, "epochs": _epochs, "load": _load, "locality": _locality, "overhead": _overhead,
    "reading": _reading, "sync": _sync,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
