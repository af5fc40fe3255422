"""Runs seeds: `python -m tests.simulation --seeds 10000`, or one of them: `--seed 17`."""

from __future__ import annotations

import argparse
import sys
import time

from .engine import ViolationError
from .scenario import simulate


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run just this one, and tell what happened in it")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    started_s = time.perf_counter()
    failures = 0
    totals: dict[str, int] = {}
    for number, seed in enumerate(seeds, 1):
        try:
            outcome = simulate(seed)
        except ViolationError as error:
            failures += 1
            print(f"seed {seed}: {error}", file=sys.stderr)
            if not options.keep_going:
                return 1
            continue
        for what, count in (("steps", outcome.steps), ("reads", outcome.reads), *outcome.figures.items()):
            totals[what] = totals.get(what, 0) + count
        if number % 1000 == 0:
            print(f"{number} seeds, {failures} failures, {time.perf_counter() - started_s:.0f} s", flush=True)
    print(", ".join(f"{count} {what}" for what, count in totals.items()))
    if options.seed is not None and not failures:
        print(f"digest {outcome.digest}")
    print(f"{len(seeds)} seeds, {failures} failures, {time.perf_counter() - started_s:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
