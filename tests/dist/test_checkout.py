"""A fresh checkout as strangers use it: a plain `pytest` in its root, with a browser or without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pytest_says(*arguments: str, **environment: str) -> str:
    """Run plain `pytest` in the root to its good end; returns what it said."""
    ended = subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-p", "no:cacheprovider", "--color=no", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


def test_pytest_in_the_root_collects_everything() -> None:
    """No two modules are in each other's way, and no folder is passed over, this one included."""
    collected = {line.partition(":")[0] for line in pytest_says("--collect-only", "-q", "-m", "").splitlines()}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    assert f"{Path(__file__).relative_to(ROOT)}" in wanted
    assert set() == wanted - collected


def test_without_a_browser_only_its_tests_are_skipped(tmp_path: Path) -> None:
    """Everything else runs."""
    said = pytest_says("tests/browser", "tests/unit/test_digests.py", "-vv", PATH=str(tmp_path))
    results = [line.split()[:2] for line in said.splitlines() if line.startswith("tests/")]
    for test, result in results:
        assert ("SKIPPED" if test.startswith("tests/browser/") else "PASSED") == result, test
    assert {"tests/browser", "tests/unit"} == {test.rpartition("/")[0] for test, _ in results}
