"""Plants each fault in a copy of the sources, and runs the tests that must catch it: `python -m tests.mutants`.

A fault that survives is a fault of the tests. Survivors are listed with their reasons; one without a reason makes this fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.mutants.planted import PLANTED, Mutation

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 600
#: Tests that last for ever are a fault found, too.
_CAUGHT = {1, 2, 124}
_COPIED = (
    "raycache",
    "tests",
    "pyproject.toml",
    "benchmarks",
    "docs",
    "examples",
    "Makefile",
    "README.md",
    "mkdocs.yml",
)


def plant(mutation: Mutation, root: Path) -> str:
    """Change the source; returns it as it was."""
    path = root / mutation.path
    whole = path.read_text()
    if whole.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.path} has what is to be changed {whole.count(mutation.old)} times: {mutation.what}"
        )
    path.write_text(whole.replace(mutation.old, mutation.new))
    return whole


def run(mutation: Mutation, root: Path) -> tuple[bool, float]:
    """Whether some test caught it, and the seconds that took."""
    started_s = time.perf_counter()
    whole = plant(mutation, root)
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", *mutation.tests.split()]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options],
            cwd=root, env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False,
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        done = 124
    finally:
        (root / mutation.path).write_text(whole)
    if done not in {0, *_CAUGHT}:
        raise RuntimeError(f"the tests of {mutation.what!r} did not run: exit status {done}")
    return done != 0, time.perf_counter() - started_s


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those whose description or file has this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    options = parser.parse_args()
    chosen = [one for one in PLANTED if options.only in one.what or options.only in one.path]
    survivors: list[Mutation] = []
    with TemporaryDirectory(prefix="raycache-mutants-") as scratch:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(_copy(Path(scratch) / str(number)))

        def one(mutation: Mutation) -> None:
            root = copies.get()
            try:
                caught, seconds = run(mutation, root)
            finally:
                copies.put(root)
            if not caught:
                survivors.append(mutation)
            print(f"{'caught  ' if caught else 'SURVIVED'} {seconds:5.1f} s  {mutation.what}", flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, chosen))
    print(f"{len(chosen)} faults, {len(chosen) - len(survivors)} caught")
    for mutation in survivors:
        print(f"survived: {mutation.what} ({mutation.path}): {mutation.excuse or 'NO REASON: write a test'}")
    return 1 if any(not mutation.excuse for mutation in survivors) else 0


def _copy(root: Path) -> Path:
    root.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        elif source.exists():
            shutil.copy(source, root / name)
    return root


if __name__ == "__main__":
    raise SystemExit(main())
