"""How a Ray Data read task is sent to the node of its blocks: the choice between three ways.

- HOOK: an operator of our own asks for the node, per task (`hook`). It survives operator fusion and puts
  practically every task where it should be, but it uses internals of Ray Data. So it is taken only on releases it was
  tested with, and only after a self-test that runs Ray's real planner and operator code on a made-up read. Ray's own reader
  of parquet (datasource V2) has a self-test of its own; where that fails, `raycache.read_parquet` reads by the older one.
- LABELS: one read per node, joined by `union`, each with a label selector and a fallback: public API only.
- PLAIN: Ray's own scheduling. Rows are right, most bytes are remote.

`RAYCACHE_PLACEMENT` forces a mode. A node that is gone or busy is no failure in any mode: the task runs elsewhere.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import NamedTuple

import ray

from raycache.raydata.preference import PlacementMode, hook_is_allowed, preferred_mode

logger = logging.getLogger("raycache")

#: Ray releases (major, minor) the hook has been run on.
TESTED_RAY = ((2, 57), (2, 58), (2, 59), (2, 60))


class Placement(NamedTuple):
    """The mode in force, and why."""

    mode: PlacementMode
    reason: str
    #: With HOOK, why Ray's own reader of parquet is not planned here; empty: it is.
    parquet_failure: str = ""


def placement_mode() -> Placement:
    """Which mode is in force in this process.

    The first call decides (it imports Ray Data) and logs one line: a warning when the hook cannot be used.

    Raises:
        InvalidRequestError: `RAYCACHE_PLACEMENT` names no mode.
    """
    return _decide(preferred_mode(), ray.__version__)


def place_plain_reads() -> None:
    """Have `ray.data.read_*` place what it reads through the cache, too; nothing without Ray Data, or in another mode.

    Called where Ray Data asks for the first time what a path means, before it makes the dataset.
    """
    if "ray.data" in sys.modules and hook_is_allowed() and placement_mode().mode is PlacementMode.HOOK:
        from raycache.raydata import hook

        hook.install()


def ray_version() -> str:
    """Of this process's Ray."""
    return str(ray.__version__)


@functools.lru_cache(maxsize=16)
def _decide(preferred: PlacementMode | None, version: str) -> Placement:
    placement = _choose(preferred, version)
    expected = (placement.mode is PlacementMode.HOOK and not placement.parquet_failure) or preferred is not None
    logger.log(
        logging.INFO if expected else logging.WARNING,
        "read tasks are placed by %s: %s",
        placement.mode.value,
        placement.reason,
    )
    return placement


def _choose(preferred: PlacementMode | None, version: str) -> Placement:
    if preferred in (PlacementMode.LABELS, PlacementMode.PLAIN):
        return Placement(preferred, "forced by RAYCACHE_PLACEMENT")
    if preferred is None and not is_tested(version):
        tested = ", ".join(f"{major}.{minor}" for major, minor in TESTED_RAY)
        return Placement(PlacementMode.LABELS, f"Ray {version} is outside the tested range ({tested})")
    failure = _self_test_failure()
    if failure:
        return Placement(PlacementMode.LABELS, f"self-test failed on Ray {version}: {failure}")
    failure = _parquet_failure()
    reader = "V2" if not failure else f"V1, since V2 cannot be planned here ({failure})"
    return Placement(PlacementMode.HOOK, f"self-test passed on Ray {version}; parquet by datasource {reader}", failure)


def is_tested(version: str) -> bool:
    """Whether the hook has been run on this Ray release ("2.60.0")."""
    parts = version.split(".")
    return any(parts[:2] == [str(major), str(minor)] for major, minor in TESTED_RAY)


def _parquet_failure() -> str:
    from raycache.raydata import hook

    return hook.parquet_failure()


@functools.cache
def _self_test_failure() -> str:
    """Empty when the hook works here. Changed internals may raise anything, even while importing."""
    try:
        from raycache.raydata import hook

        return hook.self_test()
    except Exception as error:  # whatever it was, the hook does not work here
        return f"{type(error).__name__}: {error}"
