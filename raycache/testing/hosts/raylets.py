"""A Ray cluster over the hosts of a fleet: a real `ray start` on each, as on real hosts.

Ray's own settings are left as they are, those of its health checks above all. Programs on the hosts join with `ENVIRONMENT`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from raycache.settings import MIB
from raycache.testing.hosts.fleet import Fleet

PORT = 6379
_START_TIMEOUT_S = 240.0
#: What all of the cluster and its drivers must agree on.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    # A busy machine starts slowly.
    "RAY_raylet_start_wait_time_s": "200",
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",
}


def start_raylets(fleet: Fleet, names: Sequence[str], *, cpus: int = 1, object_store_bytes: int = 256 * MIB) -> str:
    """Start a raylet on each of these hosts, the first of them the head; returns the address of the cluster.

    They end with their hosts.

    Raises:
        UnavailableError: one did not start.
    """
    head, *others = names
    address = f"{fleet.address(head)}:{PORT}"
    _start(fleet, head, ["--head", f"--port={PORT}", "--include-dashboard=false"], cpus, object_store_bytes)
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        arguments = [f"--address={address}"]
        list(pool.map(lambda name: _start(fleet, name, arguments, cpus, object_store_bytes), others))
    return address


def _start(fleet: Fleet, name: str, arguments: list[str], cpus: int, object_store_bytes: int) -> None:
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, f"--node-ip-address={fleet.address(name)}",
        f"--num-cpus={cpus}", f"--object-store-memory={object_store_bytes}", "--disable-usage-stats",
    ]  # fmt: skip
    fleet[name].run(command, _START_TIMEOUT_S, ENVIRONMENT)
