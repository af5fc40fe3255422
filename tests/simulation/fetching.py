"""The reads of a simulated worker: of the lake, or of another worker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import BlockReply, BlockRequest, BlockState, decode, encode
from raycache.types import SegmentId
from raycache.workers.effects import LoadItem

if TYPE_CHECKING:
    from .worker import SimulatedWorker

_PEER_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A segment in a worker's object store: lost with its owner."""

    owner: SimulatedWorker
    segment: SegmentId
    array: npt.NDArray[np.uint8]


#: Whether the lake gave it, or an error: see `Loader`.
Fetched: TypeAlias = bool | RaycacheError


def fetch(
    worker: SimulatedWorker,
    runs: Sequence[Sequence[LoadItem]],
    buffer: npt.NDArray[np.uint8],
    then: Callable[[Sequence[tuple[Sequence[LoadItem], Fetched]]], None],
) -> None:
    """All reads of a load, at the same time; `then` gets each with its result when the last has ended."""
    results: dict[int, Fetched] = {}

    def ended(number: int, result: Fetched) -> None:
        results[number] = result
        if len(results) == len(runs):
            then([(run, results[number]) for number, run in enumerate(runs)])

    for number, run in enumerate(runs):
        _fetch_run(worker, run, buffer, functools.partial(ended, number))


def _fetch_run(
    worker: SimulatedWorker,
    run: Sequence[LoadItem],
    buffer: npt.NDArray[np.uint8],
    then: Callable[[Fetched], None],
) -> None:
    """One read of the lake, or of the worker that is the source."""

    def from_lake() -> None:
        then(worker.loader._fetch_into(buffer, run))

    def nothing() -> None:
        then(UnavailableError("the peer does not hold it any more"))

    first = run[0]
    if not first.source_actor:
        worker._later(worker._lake_s(), from_lake)
    else:
        otherwise = nothing if first.passive else from_lake
        worker._later(0.001, lambda: _fetch_from(worker, first.source_actor, run, buffer, otherwise, then))


def _fetch_from(
    worker: SimulatedWorker,
    source: str,
    run: Sequence[LoadItem],
    buffer: npt.NDArray[np.uint8],
    otherwise: Callable[[], None],
    then: Callable[[Fetched], None],
) -> None:
    wanted = {item.block_index: item.length for item in run}
    request = BlockRequest.held(worker.node.name, run[0].version, wanted, worker.limits.block_size_bytes)

    def answered(answer: Any) -> None:
        if not worker.alive:
            return
        if isinstance(answer, RaycacheError):
            otherwise()
            return
        reply: BlockReply = decode(answer[0])
        if not all(BlockState(state).served for state in reply.states):
            otherwise()
            return
        for item, grant, start in zip(run, reply.grant_index, reply.grant_offsets, strict=True):
            payload = answer[1][grant]
            array = payload.array if isinstance(payload, ObjectRef) else payload
            if array is None or (isinstance(payload, ObjectRef) and not payload.owner.alive):
                otherwise()
                return
            buffer[item.offset_in_segment : item.offset_in_segment + item.length] = array[start : start + item.length]
        then(False)

    worker.cluster.network.call(
        lambda: worker.cluster.workers.get(source), "read", (encode(request),), _PEER_TIMEOUT_S, answered
    )
