"""Making blocks resident in a given order, straight at the workers that should hold them: no listing, no job.

Blocks go in groups, several on the way at a time, so what comes first in the order is there first, nearly. Each group
is one request a worker; what a worker does not answer is asked of the one that comes next by the hash.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from raycache.client.client import Client
from raycache.client.ports import ActorCalls
from raycache.client.reading.prefetch import load_rounds
from raycache.client.topology import Topology
from raycache.errors import RaycacheError
from raycache.messages import BlockReply, BlockState, Purpose, decode
from raycache.ranges import block_count, block_length
from raycache.types import FileVersion, WorkerId

GROUP_BYTES_MAX = 128 << 20
GROUP_BLOCKS_MAX = 2_000
GROUPS_INFLIGHT_MAX = 4
#: Workers asked for a block, one after the other.
ATTEMPTS_MAX = 3

NO_ROOM = "no room in the cache; free something, or give it more memory or disk"
_REASONS = {
    BlockState.NO_SPACE: NO_ROOM,
    BlockState.CHANGED: "replaced in the lake meanwhile; sync again",
    BlockState.GONE: "removed from the lake meanwhile",
    BlockState.FAILED: "the lake did not deliver it",
}
_UNANSWERED = "no worker answered; try again"


class Wanted(NamedTuple):
    """Blocks of one file."""

    file: FileVersion
    #: Of the blocks, as a bit mask; None = all.
    mask: int | None = None


class Warmed(NamedTuple):
    """What became of one file: whether it was there before does not matter."""

    file: FileVersion
    #: Of the blocks wanted, those that are resident now.
    bytes: int
    #: Why the others are not; empty when all are.
    reason: str


def warmed_by(client: Client, wanted: Iterable[Wanted]) -> Iterator[Warmed]:
    """Make blocks resident, as `warm` does, through a client."""
    return warm(client.calls, client.fresh_topology, wanted)


def warm(calls: ActorCalls, topology: Callable[[], Topology], wanted: Iterable[Wanted]) -> Iterator[Warmed]:
    """Make blocks resident.

    Args:
        calls: to the workers.
        topology: tells where blocks go; asked again for every group.
        wanted: what to load, the most urgent first; taken as needed.

    Yields:
        One result for each file, in order; a file of several groups comes several times.
    """
    running: deque[Future[list[Warmed]]] = deque()
    with ThreadPoolExecutor(GROUPS_INFLIGHT_MAX, thread_name_prefix="raycache-warm") as pool:
        for group in _groups(wanted, topology().block_size_bytes):
            running.append(pool.submit(_load, calls, topology(), group))
            if len(running) >= GROUPS_INFLIGHT_MAX:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()


Group = list[tuple[FileVersion, list[int]]]


def _groups(wanted: Iterable[Wanted], block_size_bytes: int) -> Iterator[Group]:
    """Files and their blocks, as many as one group may hold; a larger file is cut."""
    group: Group = []
    blocks = size_bytes = 0
    for file, mask in wanted:
        indices = [i for i in range(block_count(file.size_bytes, block_size_bytes)) if mask is None or mask >> i & 1]
        group.append((file, []))
        for index in indices:
            length = block_length(index, file.size_bytes, block_size_bytes)
            if blocks and (blocks >= GROUP_BLOCKS_MAX or size_bytes + length > GROUP_BYTES_MAX):
                yield group
                group, blocks, size_bytes = [(file, [])], 0, 0
            group[-1][1].append(index)
            blocks += 1
            size_bytes += length
        if len(group) >= GROUP_BLOCKS_MAX:
            yield group
            group, blocks, size_bytes = [], 0, 0
    if group:
        yield group


def _load(calls: ActorCalls, topology: Topology, group: Group) -> list[Warmed]:
    """Ask for a group; what a worker that does not answer was asked for goes where it goes without that worker.

    What readers have claimed is asked of the claimants; the last attempt takes it where the hash puts it.
    """
    left = [(target, index) for target, (_, indices) in enumerate(group) for index in indices]
    states: dict[tuple[int, int], tuple[BlockState, str]] = {}
    claimants: list[dict[int, WorkerId]] = [{} for _ in group]
    for attempt in range(1, ATTEMPTS_MAX + 1):
        claimed = claimants if attempt < ATTEMPTS_MAX else None
        silent = _ask(calls, topology, [file for file, _ in group], left, states, claimed)
        left = [block for block in left if block not in states]
        topology = topology.without(silent)
        if not left or not topology.view.workers:
            break
    loaded = [0] * len(group)
    reasons = [""] * len(group)
    for target, (file, indices) in enumerate(group):
        for index in indices:
            state, error_text = states.get((target, index), (None, ""))
            if state is not None and state.served:
                loaded[target] += block_length(index, file.size_bytes, topology.block_size_bytes)
            else:
                reason = error_text or (_UNANSWERED if state is None else _REASONS[state])
                reasons[target] = reasons[target] or reason
    return list(itertools.starmap(Warmed, zip((file for file, _ in group), loaded, reasons, strict=True)))


def _ask(
    calls: ActorCalls,
    topology: Topology,
    files: list[FileVersion],
    blocks: list[tuple[int, int]],
    states: dict[tuple[int, int], tuple[BlockState, str]],
    claimants: list[dict[int, WorkerId]] | None,
) -> list[WorkerId]:
    """Ask for (file, block) once, and note what became of each, or its claimant; returns the workers that did not answer."""
    rounds = load_rounds(files, blocks, topology, claimants=claimants)
    requests = [found.to_call() for found in rounds]
    silent: list[WorkerId] = []
    for round_, answer in zip(rounds, calls.workers(requests), strict=True):
        if isinstance(answer, RaycacheError):
            silent.append(round_.worker.worker)
            continue
        reply: BlockReply = decode(answer[0])
        for position, part_index in enumerate(round_.part_indices):
            state, error = BlockState(reply.states[position]), reply.errors.get(position)
            target, index = blocks[part_index]
            if claimants is not None and state is BlockState.ELSEWHERE:
                claimants[target][index // topology.blocks_per_extent] = reply.claimants[position]
            elif state.served or round_.request.purpose != Purpose.PREFETCH_CLAIMED:
                states[target, index] = state, "" if error is None else str(error)
    return silent
