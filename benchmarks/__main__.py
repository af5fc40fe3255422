"""`python -m benchmarks`: run the workloads, print Markdown tables, write JSON to benchmarks/results/."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import epochs
from benchmarks.measure import machine, ratio_rows, save, table

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--bytes", type=float, default=1e9, help="size of the parquet dataset")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; medians are shown")
    arguments = parser.parse_args()
    # The first touch of memory is dear in virtual machines, and not what is measured: Ray takes it all at its start.
    os.environ.setdefault("RAY_preallocate_plasma_memory", "1")
    print("machine:", ", ".join(f"{key} {value}" for key, value in machine().items()), "\n")
    found = epochs.measure(int(arguments.bytes), arguments.rounds)
    ratios = ratio_rows(found, epochs.BARS)
    print(table(f"Parquet epochs, {arguments.bytes / 1e9:g} GB, {epochs.NODES} nodes", "MB", found, 1e6))
    for row in ratios:
        print(f"{row['what']}: {row['ratio']} (bar {row['bound']}: {'met' if row['met'] else 'NOT met'})")
    save(RESULTS, "epochs", found, ratios)
    return 0 if all(row["met"] for row in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
