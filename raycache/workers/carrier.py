"""How effects are carried out: in the same steps by the worker actor and by the simulator, which differ in their ports only.

Theory of operation. An effect that takes no time is carried out at once, in the order given. For every other one a
coroutine is started: it has the ports move the bytes, and tells the service how that ended; the effects of that event are
carried out in turn. A port never raises: it answers False, or an outcome.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from raycache.errors import UnavailableError
from raycache.messages import BlockReply, Grant, GrantKind, encode
from raycache.types import BlockId, SegmentId, Tier
from raycache.workers.effects import (
    Compact,
    Demote,
    DropDisk,
    DropMemory,
    Effect,
    Forget,
    Load,
    LoadOutcome,
    Promote,
    Reply,
    SegmentEntry,
    SegmentGrant,
    Verify,
)
from raycache.workers.service import WorkerService
from raycache.workers.stores.assembly import Bytes


class WorkerPorts(Protocol):
    """What a worker's effects need: a service that hears of them, something that moves bytes, and the time."""

    service: WorkerService

    def now_s(self) -> float:
        """The time."""
        ...

    def run(self, effects: Sequence[Effect]) -> None:
        """Call `carry` for each of them."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine run in the background."""
        ...

    def reply(self, reply: Reply) -> None:
        """Give a ticket's reply to the request that waits for it."""
        ...

    async def fetch(self, load: Load) -> tuple[Sequence[Bytes], LoadOutcome]:
        """The segment in pieces, none when no block is good, and what became of each block."""
        ...

    async def store(self, load: Load, pieces: Sequence[Bytes], outcome: LoadOutcome) -> bool:
        """Put what was fetched into the load's tier."""
        ...

    def load_ended(self, load: Load, took_s: float) -> None:
        """Count a load that has ended."""
        ...

    async def demote(self, segment: SegmentId, entries: Sequence[SegmentEntry]) -> bool:
        """Copy from memory to disk."""
        ...

    async def promote(self, segment: SegmentId) -> bool:
        """Copy from disk to memory."""
        ...

    async def verify(self, segment: SegmentId) -> bool:
        """Whether the data on disk is what was written."""
        ...

    async def compact(self, effect: Compact) -> bool:
        """Copy parts of a segment into a new one."""
        ...

    def drop_memory(self, segment: SegmentId) -> None:
        """Let go of the copy in memory."""
        ...

    def drop_disk(self, segment: SegmentId) -> None:
        """Delete the copy on disk."""
        ...

    def forget(self, segment: SegmentId, blocks: Sequence[BlockId]) -> None:
        """Note blocks on disk that a restart must not bring back."""
        ...

    def reference(self, segment: SegmentId) -> Any:
        """The reference by which a reader gets a segment in memory."""
        ...

    def path(self, segment: SegmentId) -> str:
        """The file in which a reader on this node finds a segment."""
        ...

    async def extract(self, grant: SegmentGrant) -> Bytes | None:
        """The parts of a segment that a reader elsewhere wants, joined; None when it is gone."""
        ...


def carry(effect: Effect, ports: WorkerPorts) -> None:
    """Carry an effect out, or start to. Never waits."""
    match effect:
        case Reply():
            ports.reply(effect)
        case Load():
            ports.spawn(_load(effect, ports))
        case Demote(segment):
            ports.spawn(_demote(segment, ports.service.entries(segment), ports))
        case Promote(segment):
            ports.spawn(_promote(segment, ports))
        case Verify(segment):
            ports.spawn(_verify(segment, ports))
        case Compact():
            ports.spawn(_compact(effect, ports))
        case DropMemory(segment):
            ports.drop_memory(segment)
        case DropDisk(segment):
            ports.drop_disk(segment)
        case Forget(segment, blocks):
            ports.forget(segment, blocks)


async def hand_out(reply: Reply, ports: WorkerPorts, *, view_id: int, slow_downs: int = 0) -> tuple[bytes, list[Any]]:
    """Attach the bytes to the service's grants: (encoded `BlockReply`, payload per grant)."""
    payloads: list[Any] = []
    grants: list[Grant] = []
    for grant in reply.grants:
        payloads.append(ports.reference(grant.segment) if grant.kind is GrantKind.PLASMA else None)
        grants.append(
            Grant(
                grant.segment,
                grant.tier,
                grant.kind,
                grant.length_bytes,
                ports.path(grant.segment) if grant.kind is GrantKind.FILE else "",
                grant.lease_s,
                grant.entry_versions,
                grant.entry_blocks,
                grant.entry_offsets,
                grant.entry_lengths,
            )
        )
    # After the references were taken: the leases on those segments may be short.
    for number, grant in enumerate(reply.grants):
        if grant.kind is GrantKind.INLINE:
            payloads[number] = await ports.extract(grant)
    message = BlockReply(
        ports.service.worker,
        ports.service.epoch,
        view_id,
        [int(state) for state in reply.states],
        reply.grant_index,
        reply.grant_offsets,
        grants,
        reply.errors,
        reply.reasons,
        slow_downs,
        reply.claimants,
    )
    return encode(message), payloads


async def _load(load: Load, ports: WorkerPorts) -> None:
    started_s = ports.now_s()
    # Whatever raises, the load ends, or its flights, its tickets and its room would wait for ever.
    outcome = LoadOutcome.failed(
        load.items, UnavailableError("the worker met a defect, see its log; read past the cache")
    )
    try:
        pieces, fetched = await ports.fetch(load)
        stored = not pieces or await ports.store(load, pieces, fetched)
        outcome = fetched if stored else fetched.not_stored()
        if not stored and load.tier is Tier.DISK:
            ports.run(ports.service.disk_failed(ports.now_s()))
    finally:
        took_s = ports.now_s() - started_s
        ports.run(ports.service.loaded(load.load_id, outcome, ports.now_s()))
        ports.load_ended(load, took_s)


async def _demote(segment: SegmentId, entries: Sequence[SegmentEntry], ports: WorkerPorts) -> None:
    good = False
    try:
        good = await ports.demote(segment, entries)
    finally:
        ports.run(ports.service.demoted(segment, good, ports.now_s()))


async def _promote(segment: SegmentId, ports: WorkerPorts) -> None:
    good = False
    try:
        good = await ports.promote(segment)
    finally:
        ports.run(ports.service.promoted(segment, good, ports.now_s()))


async def _verify(segment: SegmentId, ports: WorkerPorts) -> None:
    good = False
    try:
        good = await ports.verify(segment)
    finally:
        ports.run(ports.service.verified(segment, good, ports.now_s()))


async def _compact(effect: Compact, ports: WorkerPorts) -> None:
    good = False
    try:
        good = await ports.compact(effect)
    finally:
        ports.run(ports.service.compacted(effect.segment, good, ports.now_s()))
