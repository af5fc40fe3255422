"""A real Ray cluster of several nodes on this machine: one GCS, and a raylet with a plasma store of its own per node.

It wraps `ray.cluster_utils.Cluster` and sees to what that leaves open. The cluster keeps to itself: a temporary
directory of its own under a short path (unix socket names end at 107 bytes), free ports only, and Ray's file of "the
current cluster" in that directory too, so that several clusters run side by side. And nothing outlives it: all
processes below its raylets are known by pid and start time, and whatever is still there after the shutdown is killed.

What makes the start fast: no dashboard process (with `include_dashboard=False` Ray 2.60 starts one all the same and
waits for it), no autoscaler monitor, no log monitor, no usage statistics. The two agents each raylet starts stay: Ray's
metrics need them, and most of the start-up time is theirs.

A node that dies is noticed in about 5 s, since a killed raylet refuses its health checks at once; one that is merely
slow on a busy machine has ten seconds to answer each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
import ray.cluster_utils
from ray._private import node as ray_node

from raycache.errors import InvalidRequestError, NotFoundError, UnavailableError
from raycache.settings import MIB
from raycache.testing.processes import ProcessKey, command_line, process_key, processes_below

_ENVIRONMENT = {
    # Since 2.59 a local `ray.init` turns tokens on; a cluster and all its clients must agree.
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run`, Ray would build an environment for every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The memory monitor kills tasks by the whole machine's memory, which other programs use too.
    "RAY_memory_monitor_refresh_ms": "0",
}
_SYSTEM_CONFIG = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 4,
}
_LEFTOVERS_GRACE_S = 3.0


class LocalCluster:
    """A cluster of several raylets as a context manager; the process is connected to it as a driver meanwhile.

    Args:
        nodes: how many, the head included; >= 1.
        cpus_per_node: logical CPUs of each.
        object_store_memory: bytes of each node's plasma store; Ray wants 75 MiB at least.
        dashboard: start Ray's dashboard on a free port (slower).
    """

    def __init__(
        self,
        nodes: int = 3,
        cpus_per_node: int = 1,
        object_store_memory: int = 512 * MIB,
        *,
        dashboard: bool = False,
    ) -> None:
        if nodes < 1:
            raise InvalidRequestError(f"{nodes} nodes are too few; give 1 or more")
        self._node_count = nodes
        self._cpus_per_node = cpus_per_node
        self._object_store_memory = object_store_memory
        self._dashboard = dashboard
        self._cluster: ray.cluster_utils.Cluster | None = None
        self._nodes: list[Any] = []
        #: Every process seen below a raylet or a head's daemon, dead ones included.
        self._seen: set[ProcessKey] = set()
        self._saved_environment: dict[str, str | None] = {}
        self._directory: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"LocalCluster(nodes={len(self._nodes)}, running={self._cluster is not None})"

    @property
    def address(self) -> str:
        """Of the GCS, `host:port`."""
        if self._cluster is None:
            raise UnavailableError("this cluster does not run; call start()")
        return str(self._cluster.address)

    def environment(self) -> dict[str, str]:
        """What another process needs in its environment to join as a driver, such as the command line."""
        return {**_ENVIRONMENT, "RAY_ADDRESS": self.address, "RAY_TMPDIR": str(self._directory)}

    def start(self) -> None:
        """Start all nodes and connect this process. Call it in the main thread: the kernel ties raylets to it.

        Raises:
            InvalidRequestError: this process is connected to a Ray cluster already.
        """
        if self._cluster is not None:
            return
        if ray.is_initialized():
            raise InvalidRequestError("this process is connected to a Ray cluster; call ray.shutdown() first")
        self._directory = Path(tempfile.mkdtemp(prefix="rc-"))
        self._set_environment({**_ENVIRONMENT, "RAY_TMPDIR": str(self._directory)})
        try:
            self._cluster = ray.cluster_utils.Cluster()
            for _ in range(self._node_count):
                self.add_node()
            self.connect()
        except BaseException:
            self.stop()
            raise

    def connect(self) -> None:
        """Connect this process again, after `disconnect`."""
        with _own_sigterm():
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)

    def disconnect(self) -> None:
        """Disconnect this process; the cluster goes on. Actor handles and object references become useless."""
        ray.shutdown()

    def stop(self) -> None:
        """Disconnect, end every process of the cluster, remove its files. Twice is harmless."""
        self._note_processes()
        with contextlib.suppress(Exception):  # a cluster half started or half dead cannot be left politely
            ray.shutdown()
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.shutdown()
        self._cluster = None
        self._nodes = []
        self._end_leftovers()
        self._set_environment(self._saved_environment)
        self._saved_environment = {}
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def node_ids(self) -> list[str]:
        """Ray's ids of the nodes not removed, hex, in the order they were added; the first is the head and the driver's."""
        return [str(node.node_id) for node in self._nodes]

    def add_node(self, cpus: int | None = None, object_store_memory: int | None = None) -> str:
        """Add a node like the others, or of another size; returns its id once Ray knows it.

        Raises:
            UnavailableError: it did not come up within Ray's own 30 s.
        """
        if self._cluster is None:
            raise UnavailableError("this cluster does not run; call start()")
        arguments: dict[str, Any] = {
            "num_cpus": self._cpus_per_node if cpus is None else cpus,
            "object_store_memory": object_store_memory or self._object_store_memory,
            "include_log_monitor": False,
        }
        if not self._nodes:
            # A copy: Ray writes the session's own spill directory into it.
            system_config = dict(_SYSTEM_CONFIG)
            arguments |= {"no_monitor": True, "_system_config": system_config, "include_dashboard": self._dashboard}
        with _own_sigterm(), _without_dashboard_process(active=not self._dashboard):
            try:
                node = self._cluster.add_node(**arguments)
            except Exception as error:  # Ray raises bare ones here
                reason = str(error).partition(".")[0]
                raise UnavailableError(f"a Ray node did not start ({reason}); is the machine overloaded?") from error
        self._nodes.append(node)
        self._note_processes()
        return str(node.node_id)

    def remove_node(self, node: int | str, *, kill: bool = True) -> str:
        """Remove a node; returns its id.

        Args:
            node: its index in `node_ids()`, or its id.
            kill: True: SIGKILL its raylet by pid, and all that the raylet started, as if the machine lost power; Ray
                notices seconds later. False: let it leave.

        Raises:
            InvalidRequestError: the head, which holds the GCS and the driver's store.
            NotFoundError: no such node.
        """
        ids = self.node_ids()
        index = ids.index(node) if isinstance(node, str) and node in ids else node
        if not isinstance(index, int) or not 0 <= index < len(ids) or self._cluster is None:
            raise NotFoundError(f"node {node} is not one of the {len(ids)} here")
        if index == 0:
            raise InvalidRequestError("the first node is the head and the driver's own; remove another")
        removed = self._nodes.pop(index)
        if kill:
            raylet_pids = _root_pids(removed)
            below = [child for root in raylet_pids for child in processes_below(root)]
            for pid in [*raylet_pids, *below]:
                _kill(pid)
        self._cluster.remove_node(removed, allow_graceful=not kill)
        return ids[index]

    def _set_environment(self, values: dict[str, str] | dict[str, str | None]) -> None:
        for name, value in values.items():
            self._saved_environment.setdefault(name, os.environ.get(name))
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _note_processes(self) -> None:
        """Remember all that is below this process and names the cluster's directory, and all below that.

        By directory and not by Ray's records, which lack a node that failed halfway.
        """
        if self._directory is None:
            return
        mark = f"{self._directory}/".encode()
        roots = [pid for pid in processes_below(os.getpid()) if mark in command_line(pid)]
        for pid in [*roots, *(child for root in roots for child in processes_below(root))]:
            key = process_key(pid)
            if key is not None:
                self._seen.add(key)

    def _end_leftovers(self) -> None:
        deadline_s = time.monotonic() + _LEFTOVERS_GRACE_S
        while (left := [key for key in self._seen if process_key(key.pid) == key]) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        for key in left:
            _kill(key.pid)
        self._seen.clear()


@contextlib.contextmanager
def connected_or_local(nodes: int, cpus_per_node: int = 1) -> Iterator[None]:
    """The Ray cluster this process is connected to, or else a local one for the while."""
    if ray.is_initialized():
        yield
    else:
        with LocalCluster(nodes=nodes, cpus_per_node=cpus_per_node):
            yield


def _root_pids(node: Any) -> list[int]:
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, if it has one: Ray's end its cluster, but not what else was started."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _without_dashboard_process(*, active: bool) -> Iterator[None]:
    """Keep Ray from starting its dashboard's process, which it does even with `include_dashboard=False`."""
    original = ray_node.Node.start_api_server
    if active:
        ray_node.Node.start_api_server = lambda *_, **__: None
    try:
        yield
    finally:
        ray_node.Node.start_api_server = original
