"""The cache on three hosts and an S3 server on a fourth: rows are right, and a cable that is cut holds nobody up for long.

How long an epoch may take is what is promised of reads: see `docs/failures.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raycache.testing.hosts import Fleet
from raycache.testing.hosts.interpreter import Interpreter
from raycache.testing.hosts.raylets import ENVIRONMENT, start_raylets

pytestmark = pytest.mark.long
HERE = "tests.hosts.cache_tasks"
LAKE = "raycache.testing.hosts.lake"
NODES = ["one", "two", "three"]
CUT_S = 12.0
#: Beyond the cut itself.
SLACK_S = 20.0


@pytest.fixture(scope="module")
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    return make_fleet(["lake", *NODES], bits_per_s=400e6)


@pytest.fixture(scope="module")
def lake(fleet: Fleet) -> Iterator[Interpreter]:
    with Interpreter(fleet["lake"], "lake") as lake:
        yield lake


@pytest.fixture(scope="module")
def driver(fleet: Fleet, lake: Interpreter) -> Iterator[Interpreter]:
    """On the first host, with a cache on all three."""
    options = lake.call(f"{LAKE}:serve", address=fleet.address("lake"), bucket="data")
    with Interpreter(fleet["one"], "driver", ENVIRONMENT) as driver:
        assert driver.call(f"{HERE}:join", address=start_raylets(fleet, NODES)) == 3
        settings = {"memory": "120MiB", "disk": "300MiB"}
        driver.call(f"{HERE}:start_cache", uri="s3://data", options=options, settings=settings)
        yield driver


@pytest.fixture(scope="module")
def written(lake: Interpreter, driver: Interpreter) -> dict[str, Any]:
    """Some 230 MB of parquet; what reading it gives."""
    found: dict[str, Any] = lake.call(f"{LAKE}:put_parquet", bucket="data", prefix="set", files=24, rows=400_000)
    return found


def lake_bytes(fleet: Fleet, run: Callable[[], Any]) -> tuple[Any, int]:
    """What it gives, and the bytes that the lake has sent meanwhile."""
    before = fleet.traffic()["lake"].sent_bytes
    result = run()
    return result, fleet.traffic()["lake"].sent_bytes - before


def right(epoch: dict[str, Any], written: dict[str, Any]) -> bool:
    return (epoch["rows"], epoch["total"]) == (written["rows"], written["total"])


def test_epochs_are_right_and_each_byte_leaves_the_lake_once(
    fleet: Fleet, driver: Interpreter, written: dict[str, Any]
) -> None:
    """A cold epoch through three hosts reads the dataset from the lake once, a warm one next to nothing of it."""
    read = lambda: driver.call(f"{HERE}:epoch", timeout_s=300, directory="set")  # noqa: E731
    cold, cold_bytes = lake_bytes(fleet, read)
    warm, warm_bytes = lake_bytes(fleet, read)
    assert right(cold, written)
    assert right(warm, written)
    assert cold_bytes < 1.1 * written["bytes"]
    assert warm_bytes < 0.02 * written["bytes"]


def test_reads_go_on_while_a_holder_is_cut_off(fleet: Fleet, driver: Interpreter, written: dict[str, Any]) -> None:
    """All hosts read all files; one is cut off meanwhile: right bytes everywhere, and no read takes longer than a cut and its slack."""
    names = [f"set/part-{number:04}.parquet" for number in range(24)]
    nodes = [fleet.address(name) for name in NODES]
    sums = [
        total for total, _ in driver.call(f"{HERE}:read_everywhere", timeout_s=300, names=names, nodes=nodes[:1])[0]
    ]
    driver.call(f"{HERE}:forget")
    driver.call(f"{HERE}:epoch", timeout_s=300, directory="set")
    driver.begin(f"{HERE}:read_everywhere", names=names, nodes=nodes)
    driver.event()
    with fleet.cut_off("three"):
        threading.Event().wait(CUT_S)
    found = driver.result(300)
    assert [[total for total, _ in row] for row in found] == [sums] * 3
    assert max(seconds for row in found for _, seconds in row) < CUT_S + SLACK_S


@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
def test_an_epoch_outlives_a_cut(fleet: Fleet, driver: Interpreter, written: dict[str, Any], is_warm: bool) -> None:
    """A host is cut off for a while in the middle of an epoch, and comes back: rows are right, not long after the cut; so are the next one's."""
    if not is_warm:
        driver.call(f"{HERE}:forget")
    driver.begin(f"{HERE}:epoch", directory="set")
    driver.event()
    with fleet.cut_off("two"):
        threading.Event().wait(CUT_S)
    cut = driver.result(300)
    after = driver.call(f"{HERE}:epoch", timeout_s=300, directory="set")
    assert right(cut, written)
    assert right(after, written)
    assert cut["seconds"] < CUT_S + SLACK_S
