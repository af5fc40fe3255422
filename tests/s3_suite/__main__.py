"""Runs the suite: `python -m tests.s3_suite CHECKOUT`. Exit status 1: what must pass has not."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import raycache
from raycache.client.neighbour.endpoints import Endpoint
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer
from tests.s3_suite.left_out import MARKERS, reason
from tests.s3_suite.mounted_buckets import MountedBuckets

PASSING = Path(__file__).with_name("passing.txt")
_FILES = ("test_s3.py", "test_headers.py")
#: The suite wants several users. The endpoint has one key, so all of them are one.
_USERS = ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root")


def configuration(endpoint: Endpoint) -> str:
    """What the suite reads of its file of settings."""
    host, _, port = endpoint.url.partition("//")[2].rpartition(":")
    lines = [
        "[DEFAULT]",
        f"host = {host}",
        f"port = {port}",
        "is_secure = False",
        "[fixtures]",
        "bucket prefix = suite-{random}-",
    ]
    for user in _USERS:
        lines += [f"[{user}]", f"access_key = {endpoint.access_key}", f"secret_key = {endpoint.secret_key}"]
        lines += ["user_id = raycache", "display_name = raycache", "email = none@example.com", "tenant = none"]
    return "\n".join(lines) + "\n"


def run(checkout: Path, arguments: list[str]) -> dict[str, str]:
    """Outcomes by the name of the test."""
    with SeaweedServer() as server, LocalCluster(nodes=1), TemporaryDirectory() as folder:
        cache = raycache.start(memory="100MiB", disk="200MiB", endpoint=True)
        file = Path(folder) / "suite.conf"
        file.write_text(configuration(cache.endpoint()))
        os.environ["S3TEST_CONF"] = str(file)
        suite = MountedBuckets(cache, server, checkout)
        files = [str(checkout / "s3tests" / "functional" / name) for name in _FILES]
        left = " or ".join(sorted(MARKERS))
        options = [
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(checkout),
            "-c",
            str(checkout / "pytest.ini"),
        ]
        pytest.main([*options, "--timeout=60", "-m", f"not ({left})", *arguments, *files], plugins=[suite])
        raycache.stop()
    return suite.outcomes


def main() -> int:
    """Run, and compare with what must pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.s3_suite", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of github.com/ceph/s3-tests")
    parser.add_argument("--write", action="store_true", help="write what has passed to passing.txt")
    known, others = parser.parse_known_args()
    outcomes = run(known.checkout.resolve(), others)
    passed = sorted(name for name, outcome in outcomes.items() if outcome == "passed")
    if known.write:
        PASSING.write_text("\n".join(passed) + "\n")
    must = set(PASSING.read_text().split())
    missing = sorted(must & set(outcomes) - set(passed))
    unexplained = sorted(
        name for name, outcome in outcomes.items() if outcome == "failed" and not reason(name) and name not in must
    )
    reasons = Counter(reason(name) for name, outcome in outcomes.items() if outcome != "passed" and reason(name))
    print(f"{len(passed)} of {len(outcomes)} passed")
    for text, count in reasons.most_common():
        print(f"  left out, {count}: {text}")
    for name in missing:
        print(f"  must pass, and has not: {name}")
    for name in unexplained:
        print(f"  failed, without a reason in left_out.py: {name}")
    return 1 if missing or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
