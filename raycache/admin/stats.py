"""Counters and sizes of the whole cluster, as results."""

from __future__ import annotations

from collections.abc import Sequence

from raycache.client.client import Client
from raycache.client.ports import WorkerCall
from raycache.messages import NodeFigures, ReadCounters, StatusReply, TouchRequest, WorkerStats, encode
from raycache.results import NodeStats, Setting, Stats, Status, WorkerStatus

#: Workers tell the master at once what they have; one that takes longer is known as it was.
_REPORT_TIMEOUT_S = 5.0


def stats(client: Client) -> Stats:
    """Counters and sizes per node and in total, as the workers know them now; this process's own reads are included."""
    client.flusher.flush()
    report = (encode(TouchRequest([], None, urgent=True)),)
    workers = client.locator.view.workers
    client.calls.workers([WorkerCall(worker.actor_name, "touch", report) for worker in workers], _REPORT_TIMEOUT_S)
    return stats_of(client.calls.master("stats"))


def status(client: Client) -> Status:
    """The master and the workers, as the master sees them."""
    return status_of(client.calls.master("status"), client.calls.master("stats"))


def settings(client: Client) -> list[Setting]:
    """Every setting, its value and where that came from."""
    return [Setting(name, value, client.origins[name]) for name, value in client.settings.as_dict().items()]


def stats_of(figures: Sequence[NodeFigures]) -> Stats:
    """Per node and in total."""
    counters, stats = ReadCounters(), WorkerStats()
    nodes: dict[str, NodeStats] = {}
    for node in figures:
        nodes[node.node] = NodeStats.of(node.counters, node.stats, alive=node.alive)
        counters = counters.plus(node.counters)
        stats = WorkerStats(*(a + b for a, b in zip(stats, node.stats, strict=True)))
    return Stats(NodeStats.of(counters, stats, alive=any(node.alive for node in figures)), nodes)


def status_of(reply: StatusReply, figures: Sequence[NodeFigures]) -> Status:
    """The public form of the master's status."""
    sizes = {node.node: node.stats for node in figures}
    workers = []
    for node, epoch, state, age_s in reply.workers:
        size = sizes.get(node, WorkerStats())
        workers.append(
            WorkerStatus(
                node_id=node,
                epoch=epoch,
                state=state,
                memory_used_bytes=size.memory_used_bytes,
                memory_capacity_bytes=size.memory_capacity_bytes,
                disk_used_bytes=size.disk_used_bytes,
                disk_capacity_bytes=size.disk_capacity_bytes,
                heartbeat_age_s=age_s,
            )
        )
    return Status("alive", reply.uptime_s, reply.mounts, reply.files_known, tuple(workers), tuple(reply.problems))
