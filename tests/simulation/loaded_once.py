"""Each byte leaves the lake once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raycache.messages import BlockRequest, BlockState, Selector
from raycache.types import BlockId, VersionId
from raycache.workers.effects import Load, LoadOutcome

from .checker import Checker

if TYPE_CHECKING:
    from .cluster import Cluster
    from .worker import SimulatedWorker


class BlocksAreLoadedOnce(Checker):
    """A block is on its way to a worker at most once at a time; with room and calm, it leaves the lake exactly once.

    Once, that is, among those who share a view: a worker that joins becomes the owner of blocks that others hold. And until
    they are freed: the news of a write may come late, and drop the version that was written, too.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        #: (block, view) -> loads from the lake.
        self._loaded: dict[tuple[BlockId, int], int] = {}
        #: (worker, block) -> the view of who asked last.
        self._views: dict[tuple[str, BlockId], int] = {}
        self._uris: dict[VersionId, str] = {}

    def asked(self, worker: SimulatedWorker, request: BlockRequest) -> None:
        """A worker is asked for blocks."""
        if self.cluster.plan.roomy:
            ids = [version.id() for version in request.files.versions()]
            for file_index, block_index in zip(request.file_index, request.block_index, strict=True):
                self._views[worker.name, BlockId(ids[file_index], block_index)] = request.view_id

    def freed(self, selector: Selector) -> None:
        """A worker begins to free blocks."""
        for key in list(self._loaded):
            uri = self._uris[key[0].version]
            if key[0].version in selector.versions or any(pattern.names(uri) for pattern in selector.patterns):
                del self._loaded[key]

    def load(self, worker: SimulatedWorker, load: Load) -> None:
        """A load starts; the worker does not count it as running yet."""
        for item in load.items:
            for other in worker.running.values():
                there = any(item.block == running.block for running in other.items)
                self.require(not there, f"{worker.name} loads block {item.block_index} of {item.version.uri} twice")

    def loaded(self, worker: SimulatedWorker, load: Load, outcome: LoadOutcome) -> None:
        """A load has ended."""
        if not self.cluster.plan.roomy:
            return
        for item, state in zip(load.items, outcome.states, strict=True):
            if state is BlockState.LOADED:
                self._uris[item.block.version] = item.version.uri
                key = (item.block, self._views[worker.name, item.block])
                count = self._loaded[key] = self._loaded.get(key, 0) + 1
                what = f"block {item.block_index} of {item.version.uri}"
                self.require(count == 1, f"{worker.name} has loaded {what}, which was loaded before")
