"""Whether what is cached is whole: every worker's disk is read, and what is cached is compared with master, lake and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raycache.admin.checks.doctor import BAD, NOTE, OK, Finding
from raycache.admin.inventory import inventory_pages
from raycache.admin.sync import sync
from raycache.client.client import Client
from raycache.client.ports import WorkerCall
from raycache.errors import RaycacheError
from raycache.messages import DiskCheck, HoldersReply, TouchRequest, decode, encode
from raycache.rules import RuleTable
from raycache.types import VersionId, WorkerView

_TIMEOUT_S = 3600.0


def check(client: Client, *, repair: bool) -> list[Finding]:
    """Check everything; takes as long as reading all disk tiers, and listing all mounts.

    Args:
        client: of the running cache.
        repair: damaged segments, files that belong to nothing, and versions that the lake no longer has, are dropped.
    """
    workers = client.refresh_view().workers
    calls = [WorkerCall(worker.actor_name, "check_disk", (repair,)) for worker in workers]
    findings: list[Finding] = []
    for worker, reply in zip(workers, client.calls.workers(calls, _TIMEOUT_S), strict=True):
        if isinstance(reply, RaycacheError):
            findings.append(Finding(BAD, "disk", f"{worker.worker[:12]} does not answer", "see raycache doctor"))
        else:
            findings += of_disk(decode(reply), repair=repair)
            findings.append(_of_locations(client, worker))
    mounts = client.calls.master("mounts")
    for path, *_ in mounts:
        # Not a bare URI that mounted itself: that is a whole store, little of which was ever read.
        if path.startswith("/"):
            findings.append(_of_lake(client, path, repair=repair))
    rules: RuleTable = client.calls.master("rules")
    return [*findings, of_rules(rules, [uri for _, uri, *_ in mounts])]


def of_disk(checked: DiskCheck, *, repair: bool) -> list[Finding]:
    """What is wrong with one worker's disk."""
    host = checked.node[:12]
    done, todo = "; dropped", "raycache fsck --repair drops them"
    found: list[Finding] = []
    if checked.bad:
        text = f"{host}: {checked.bad} of {checked.segments} segments are damaged, such as {checked.bad_names[0]}"
        found.append(Finding(BAD, "disk", text + done * repair, "" if repair else todo))
    if checked.orphans:
        text = f"{host}: {checked.orphans} files ({checked.orphan_bytes >> 20} MiB) belong to nothing"
        found.append(Finding(BAD, "disk", text + done * repair, "" if repair else todo))
    return found or [Finding(OK, "disk", f"{host}: {checked.segments} segments are whole")]


def of_locations(host: str, held: Mapping[VersionId, int], said: Mapping[VersionId, int]) -> Finding:
    """What the master has of a worker's blocks, bit masks by version, beside what that holds."""
    other = sum(said.get(version, 0) != mask for version, mask in held.items())
    if other:
        text = f"{host[:12]}: the master knows other blocks of {other} of {len(held)} files"
        return Finding(NOTE, "locations", text, "it is told within seconds; where it lasts, see raycache doctor")
    return Finding(OK, "locations", f"{host[:12]}: the master knows all blocks of {len(held)} files")


def of_rules(rules: RuleTable, mounted: Sequence[str]) -> Finding:
    """Rules that name nothing that is mounted."""
    bases = [rule.pattern.base for rule in rules.rules if rule.pattern.base]
    on_nothing = [base for base in bases if not any((base + "/").startswith(uri.rstrip("/") + "/") for uri in mounted)]
    if on_nothing:
        text = f"{len(on_nothing)} rules are on what is not mounted, such as {on_nothing[0]}"
        return Finding(
            NOTE, "rules", text, "mount it, or take them back: raycache unpin, set-ttl --never, set-quota --none"
        )
    return Finding(OK, "rules", f"{len(bases)}, all on what is mounted")


def _of_locations(client: Client, worker: WorkerView) -> Finding:
    held: dict[VersionId, int] = {}
    said: dict[VersionId, int] = {}
    try:
        client.calls.workers([WorkerCall(worker.actor_name, "touch", (encode(TouchRequest([], None, urgent=True)),))])
        for page in inventory_pages(client.calls, worker.actor_name):
            versions = [version.id() for version in page.files.versions()]
            held.update(zip(versions, page.masks, strict=True))
            reply: HoldersReply = client.calls.master("holders", encode(versions))
            for version, number in zip(versions, reply.numbers, strict=True):
                said[version] = dict(reply.said[number]).get(worker.worker, 0)
    except RaycacheError as error:
        return Finding(BAD, "locations", f"{worker.worker[:12]} cannot be compared: {error}", "see raycache doctor")
    return of_locations(worker.worker, held, said)


def _of_lake(client: Client, path: str, *, repair: bool) -> Finding:
    try:
        result = sync(client, path, dry_run=not repair, load=False, bandwidth=None)
    except RaycacheError as error:
        return Finding(BAD, "lake", f"{path} cannot be compared: {error}", "see raycache doctor")
    stale = result.changed.files + result.removed.files
    if stale:
        text = f"{path}: the lake has other versions of {stale} files, or none"
        return Finding(
            NOTE, "lake", text + "; dropped" * repair, "" if repair else "raycache fsck --repair, or raycache sync"
        )
    return Finding(OK, "lake", f"{path}: what is known of it is what the lake has")
