"""What is wrong with a cache, and what to do about it. The diagnosis is pure; `examine` asks.

Every finding names its subject, says what was found, and, unless all is well, what to do.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from raycache.admin.overview import NodeView, Overview, overview_now
from raycache.client.client import Client
from raycache.client.ports import WorkerCall
from raycache.errors import RaycacheError
from raycache.messages import Health, StatusReply, decode
from raycache.results import Result
from raycache.settings import OBJECT_STORE_SHARE_MAX

OK, NOTE, BAD = "ok", "note", "bad"
_TIMEOUT_S = 30.0
_SKEW_S = 2.0
_SLOW_S = 1.0
#: Of an event loop; shorter ones come with a loaded machine.
_SLOW_TURN_S = 0.5
_DISK_FREE_SHARE = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Finding(Result):
    """One thing that was looked at."""

    #: "ok"; "note": works, but could be better; "bad": does not work.
    level: str
    subject: str
    text: str
    #: Empty when all is well.
    remedy: str = ""


class Checkup(NamedTuple):
    """One worker's answer."""

    health: Health
    #: Its clock less the asker's, in seconds, and how far that may be off.
    skew_s: float
    margin_s: float


def examine(client: Client, mode: str, reason: str, *, clean: bool = False) -> list[Finding]:
    """Look at everything; takes as long as the slowest store, at most half a minute.

    Args:
        client: of the running cache.
        mode: of placement, in force here ("hook", "labels", "plain").
        reason: why.
        clean: remove what dead workers have left on the disks.
    """
    overview = overview_now(client)
    workers = client.refresh_view().workers
    asked_s = time.time()
    replies = client.calls.workers([WorkerCall(w.actor_name, "examine", (clean,)) for w in workers], _TIMEOUT_S)
    answered_s = time.time()
    checkups: list[Checkup] = []
    silent: list[str] = []
    for worker, reply in zip(workers, replies, strict=True):
        if isinstance(reply, RaycacheError):
            silent.append(worker.worker)
            continue
        health: Health = decode(reply)
        # It answered somewhere between the question and the last answer.
        early, late = health.wall_s - answered_s, health.wall_s - asked_s
        checkups.append(Checkup(health, (early + late) / 2, (late - early) / 2))
    status: StatusReply = client.calls.master("status")
    return [*diagnose(overview, checkups, silent, mode, reason), *_master(status.problems)]


def diagnose(
    overview: Overview, checkups: Sequence[Checkup], silent: Sequence[str], mode: str, reason: str
) -> list[Finding]:
    """Judge; the order is that of the text of `raycache doctor`."""
    hosts = {node.node_id: node.host or node.node_id[:12] for node in overview.nodes}
    return [
        _placement(mode, reason),
        *_workers(overview, silent, hosts),
        *_memory(overview.nodes),
        *_disks(overview.nodes, checkups, hosts),
        *_mounts(overview, checkups, hosts),
        _loops(checkups, hosts),
        _silent_peers(overview, checkups, hosts),
        _clocks(checkups, hosts),
        _leftovers(checkups, hosts),
    ]


def _master(problems: Sequence[str]) -> list[Finding]:
    remedy = "make its journal's place writable; see `raycache journal check`"
    return [Finding(BAD, "master", problem, remedy) for problem in problems] or [
        Finding(OK, "master", "its journal is whole, and can be written")
    ]


def _placement(mode: str, reason: str) -> Finding:
    if mode == "hook":
        return Finding(OK, "placement", f"read tasks are sent to their data ({reason})")
    remedy = "use a Ray release that raycache was tested with, and unset RAYCACHE_PLACEMENT"
    return Finding(NOTE, "placement", f"mode {mode}: fewer tasks run where their data is ({reason})", remedy)


def _workers(overview: Overview, silent: Sequence[str], hosts: dict[str, str]) -> list[Finding]:
    found = [
        Finding(BAD, "worker", f"{hosts.get(node, node)} does not answer", "see its node's load, and Ray's logs there")
        for node in silent
    ]
    # A node that has left the cluster is no trouble: Ray's live nodes have an address.
    lost = [node for node in overview.nodes if node.host and not node.stats.alive]
    found += [
        Finding(
            BAD,
            "worker",
            f"{node.host} has no live worker ({node.state})",
            "it is started again; else see Ray's logs there",
        )
        for node in lost
    ]
    if not overview.workers_alive:
        found.append(Finding(BAD, "worker", "no worker is alive", "run raycache stop, then raycache start"))
    elif not found:
        found.append(Finding(OK, "worker", f"{overview.workers_alive} alive, all answer"))
    return found


def _memory(nodes: Sequence[NodeView]) -> list[Finding]:
    found = []
    for node in nodes:
        stats = node.stats
        if stats.alive and stats.plasma_capacity_bytes:
            share = stats.plasma_used_bytes / stats.plasma_capacity_bytes
            if share > OBJECT_STORE_SHARE_MAX:
                text = f"{node.host}: Ray's object store is {share:.0%} full, so the cache's memory tier gives way"
                remedy = "start Ray with a larger --object-store-memory, or let the job keep less in it"
                found.append(Finding(NOTE, "object store", text, remedy))
    return found or [Finding(OK, "object store", "has room on every node")]


def _disks(nodes: Sequence[NodeView], checkups: Sequence[Checkup], hosts: dict[str, str]) -> list[Finding]:
    found = []
    stats = {node.node_id: node.stats for node in nodes}
    for checkup in checkups:
        health = checkup.health
        host = hosts.get(health.node, health.node[:12])
        known = stats.get(health.node)
        if known is None or not known.disk_capacity_bytes:
            continue
        missing = known.disk_capacity_bytes - known.disk_used_bytes - health.disk_free_bytes
        if health.disk_total_bytes and health.disk_free_bytes < _DISK_FREE_SHARE * health.disk_total_bytes:
            text = f"{host}: {health.disk_path} has less than {_DISK_FREE_SHARE:.0%} free"
            found.append(
                Finding(BAD, "disk", text, "make room there, or give the cache another disk: --disk PATH:SIZE")
            )
        elif missing > 0:
            text = f"{host}: {health.disk_path} lacks {missing >> 20} MiB of what the disk tier may still take"
            found.append(Finding(NOTE, "disk", text, "start the cache with a smaller --disk, or make room there"))
        if known.disk_errors:
            text = f"{host}: {known.disk_errors} writes to {health.disk_path} have failed"
            found.append(
                Finding(BAD, "disk", text, "check the disk for errors and space; the cache tries again by itself")
            )
        if known.corrupt_segments:
            text = f"{host}: {known.corrupt_segments} segments failed their checksum, and were dropped"
            found.append(Finding(NOTE, "disk", text, "check the disk's health"))
    return found or [Finding(OK, "disk", "room enough, no errors")]


def _mounts(overview: Overview, checkups: Sequence[Checkup], hosts: dict[str, str]) -> list[Finding]:
    latencies: dict[str, list[float]] = {}
    errors: dict[str, list[tuple[str, str]]] = {}
    for checkup in checkups:
        for mount in checkup.health.mounts:
            if mount.error:
                host = hosts.get(checkup.health.node, checkup.health.node[:12])
                errors.setdefault(mount.path, []).append((host, mount.error))
            else:
                latencies.setdefault(mount.path, []).append(mount.latency_s)
    found = []
    for path in sorted({*latencies, *errors}):
        if path in errors:
            host, error = errors[path][0]
            text = (
                f"{path} cannot be reached from {len(errors[path])} of {len(checkups)} nodes, such as {host}: {error}"
            )
            found.append(
                Finding(BAD, "mount", text, "check endpoint, credentials and network of these nodes; then mount anew")
            )
            continue
        middle_s = statistics.median(latencies[path])
        text = f"{path} answers in {middle_s * 1000:.0f} ms"
        slow = middle_s > _SLOW_S
        found.append(Finding(NOTE if slow else OK, "mount", text, "look for a store nearer by" if slow else ""))
    if not overview.mounts:
        found.append(Finding(NOTE, "mount", "nothing is mounted", "raycache mount /lake s3://bucket/prefix"))
    elif checkups and len(overview.mounts) > len(found):
        found.append(Finding(OK, "mount", f"{len(overview.mounts) - len(found)} more were not tried"))
    return found


def _loops(checkups: Sequence[Checkup], hosts: dict[str, str]) -> Finding:
    slow = [
        (longest_s, kind, turns, hosts.get(checkup.health.node, checkup.health.node[:12]))
        for checkup in checkups
        for kind, turns, longest_s in checkup.health.turns
        if turns
    ]
    if not slow or max(slow)[0] < _SLOW_TURN_S:
        return Finding(OK, "event loop", "no worker's was held up for long")
    longest_s, kind, turns, host = max(slow)
    text = f"{host}'s worker was held up {turns} times by {kind!r}, for up to {longest_s:.1f} s"
    return Finding(NOTE, "event loop", text, "see whether the node has CPUs to spare; else report it, with this line")


def _silent_peers(overview: Overview, checkups: Sequence[Checkup], hosts: dict[str, str]) -> Finding:
    """Workers that show no sign of life to others, whether or not they do so to whoever asks here."""
    # A worker's name ends with its node's id and its epoch.
    left_alone = [
        (
            next((host for node, host in hosts.items() if node in peer), peer),
            hosts.get(c.health.node, c.health.node[:12]),
        )
        for c in checkups
        for peer, _, _ in c.health.left_alone
    ]
    if not left_alone:
        often = sum(node.stats.peer_silences for node in overview.nodes)
        return Finding(
            OK, "network", "no worker leaves another alone" + (f"; {often} silences so far" if often else "")
        )
    peer, host = left_alone[0]
    text = f"{host}'s worker and readers leave {peer}'s alone, which showed no sign of life"
    if len(left_alone) > 1:
        text += f"; {len(left_alone) - 1} more pairs of nodes"
    return Finding(BAD, "network", text, "look at the network between the two, and at the load of both")


def _clocks(checkups: Sequence[Checkup], hosts: dict[str, str]) -> Finding:
    off = [c for c in checkups if abs(c.skew_s) - c.margin_s > _SKEW_S]
    if not off:
        return Finding(OK, "clock", f"within {_SKEW_S:g} s of this machine's on every node")
    worst = max(off, key=lambda checkup: abs(checkup.skew_s))
    host = hosts.get(worst.health.node, worst.health.node[:12])
    text = f"{len(off)} nodes' clocks are off, {host}'s by {worst.skew_s:+.1f} s: signed requests may be refused"
    return Finding(BAD, "clock", text, "run NTP (chrony) there")


def _leftovers(checkups: Sequence[Checkup], hosts: dict[str, str]) -> Finding:
    def named(kind: str) -> list[tuple[str, str, int]]:
        return [
            (hosts.get(checkup.health.node, checkup.health.node[:12]), path, size)
            for checkup in checkups
            for path, size in getattr(checkup.health, kind)
        ]

    left, removed = named("leftovers"), named("removed")
    if left:
        host, path, _ = left[0]
        total = sum(size for _, _, size in left)
        text = f"{len(left)} directories of dead workers hold {total >> 20} MiB, such as {path} on {host}"
        remedy = "raycache doctor --clean removes them; a cache that is started again with that disk finds nothing then"
        return Finding(NOTE, "leftovers", text, remedy)
    if removed:
        total = sum(size for _, _, size in removed)
        return Finding(OK, "leftovers", f"{len(removed)} directories of dead workers are removed, {total >> 20} MiB")
    return Finding(OK, "leftovers", "none of dead workers or other caches")
