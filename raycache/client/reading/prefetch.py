"""Asking workers to make whole blocks resident, without having any handed out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from raycache.client.file_meta import FileMeta
from raycache.client.ports import WorkerCall
from raycache.client.reading.read_operation import FileTarget, Part, ReadOperation
from raycache.client.topology import Topology
from raycache.errors import RaycacheError
from raycache.messages import BlockReply, BlockState, decode
from raycache.ranges import block_length
from raycache.types import FileKind, FileVersion, WorkerId


def prefetch_calls(
    wanted: Iterable[tuple[FileMeta, Iterable[int]]],
    bytes_max: int,
    topology: Topology,
    epoch_age_s: float | None = None,
) -> list[WorkerCall]:
    """Make the calls that load what no worker is hinted to hold: one to each worker that it belongs to.

    Args:
        wanted: files and which of their blocks, in the order they will be read; directories and missing files are left out.
        bytes_max: blocks after the one that reaches it are left out.
        topology: where blocks go.
        epoch_age_s: see `BlockRequest`.
    """
    files: list[FileVersion] = []
    claimants: list[Mapping[int, WorkerId]] = []
    chosen: list[tuple[int, int]] = []
    size_bytes = 0
    live = {worker.worker for worker in topology.view.workers}
    for meta, blocks in wanted:
        if meta.kind is not FileKind.FILE:
            continue
        held = meta.places.held_mask(live)
        missing = [index for index in blocks if not held >> index & 1]
        for index in missing:
            if size_bytes < bytes_max:
                chosen.append((len(files), index))
                size_bytes += block_length(index, meta.file.size_bytes, topology.block_size_bytes)
        if missing:
            files.append(meta.file)
            claimants.append(meta.places.claimants)
    if not chosen:
        return []
    operation = ReadOperation(
        [FileTarget(file, file.id(), (), claims) for file, claims in zip(files, claimants, strict=True)],
        [Part(i, index, 0, block_length(index, files[i].size_bytes, topology.block_size_bytes)) for i, index in chosen],
        topology,
        follows_claims=True,
    )
    rounds = [found.prefetching() for found in operation.next_calls()]
    return [found._replace(request=found.request._replace(epoch_age_s=epoch_age_s)).to_call() for found in rounds]


class Gathering:
    """Bringing small files together where their reader is going to ask for each.

    Args:
        metas: files of one block, in the order they will be read, the first at once; hints in them are learnt from.
        topology: where blocks go.
    """

    def __init__(self, metas: Sequence[FileMeta], topology: Topology) -> None:
        self._node = topology.node
        self._operation: Callable[[Sequence[FileMeta], bool], ReadOperation] = lambda some, claims: ReadOperation(
            [FileTarget(meta.file, meta.version, meta.places.holders, meta.places.claimants) for meta in some],
            [Part(index, 0, 0, meta.file.size_bytes) for index, meta in enumerate(some)],
            topology,
            claims=claims,
        )
        self._metas = metas
        found = self._operation(metas, False)
        if found.is_at_home(0):
            # It is read where it belongs. Other readers may share the directory in this way: their files are left to them.
            self._metas = [meta for index, meta in enumerate(metas) if found.is_at_home(index)]

    def claim(self, ask: Callable[[Sequence[WorkerCall]], list[Any]]) -> None:
        """Claim for the own worker what nobody is known to have, with one call to each worker that the hash names.

        Args:
            ask: calls workers at once; errors stand in the place of results.
        """
        cold = [meta for meta in self._metas if not meta.places.holders and not meta.places.claimants]
        calls = self._operation(cold, True).next_calls()
        rounds = [found.prefetching() for found in calls if found.worker.worker != self._node]
        for found, answer in zip(rounds, ask([found.to_call() for found in rounds]), strict=True):
            if isinstance(answer, RaycacheError):
                continue  # the read of the file asks again
            reply: BlockReply = decode(answer[0])
            for position, part_index in enumerate(found.part_indices):
                state = BlockState(reply.states[position])
                if state is BlockState.ELSEWHERE:
                    cold[part_index].places.learn_claimant(0, reply.claimants.get(position))
                elif state.served:
                    cold[part_index].places.learn_holder(found.worker.worker, 0)

    def calls(self) -> list[WorkerCall]:
        """Make one call to each worker: load what is not here, copy what others hold."""
        return [found.prefetching().to_call() for found in self._operation(self._metas, False).next_calls()]
