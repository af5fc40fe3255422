"""What a `Cache` offers to those who place tasks: where files are, where they will be, and where they should be."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raycache.admin import residency
from raycache.client.expanding import expand
from raycache.client.locator import Locator
from raycache.client.ports import ActorCalls
from raycache.hashing import extent_key, place_many
from raycache.messages import DirectRequest, FileColumns, encode
from raycache.ranges import block_count
from raycache.results import PathInfo
from raycache.settings import Settings
from raycache.types import FileKind


class Scheduling:
    """A part of `Cache`; everything here goes by hints, for scheduling and not for proof."""

    _calls: ActorCalls
    _locator: Locator
    _settings: Settings

    def expand(self, paths: str | Sequence[str]) -> list[PathInfo]:
        """The files that `paths` mean, with their sizes, from the cached listing."""
        return [PathInfo(path, file.size_bytes) for path, file in expand(self._locator, paths)]

    def place(self, paths: Sequence[str]) -> list[tuple[str, ...]]:
        """Per file the nodes that hold most of it, or when nobody holds any the node that will; best first.

        Args:
            paths: shape (F,), of files.

        Returns:
            Shape (F,): Ray node ids; empty when there is no worker or no such file.
        """
        metas = self._locator.resolve(paths)
        workers = self._locator.view.workers
        if not workers:
            return [() for _ in metas]
        self._locator.locate(metas)
        keys = np.array([extent_key(meta.version, 0) for meta in metas], dtype=np.uint64)
        owners = place_many(keys, workers)[:, 0].tolist()
        live = {worker.worker for worker in workers}
        placed: list[tuple[str, ...]] = []
        for meta, owner in zip(metas, owners, strict=True):
            counts = {worker: mask.bit_count() for worker, mask in meta.places.holders if worker in live and mask}
            most = max(counts.values(), default=0)
            nodes = tuple(worker for worker, count in counts.items() if count == most) or (workers[owner].worker,)
            placed.append(nodes if meta.kind is FileKind.FILE else ())
        return placed

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of these files of which nobody is known to hold all blocks; goes by what `place` has found."""
        live = {worker.worker for worker in self._locator.view.workers}
        found: set[str] = set()
        for path, meta in zip(paths, self._locator.resolve(paths), strict=True):
            if meta.places.held_mask(live).bit_count() < block_count(
                meta.file.size_bytes, self._settings.block_size_bytes
            ):
                found.add(path)
        return found

    def direct(self, nodes: Mapping[str, str]) -> None:
        """Say where files should be loaded that nobody holds yet, instead of where the hash would put them.

        Args:
            nodes: Ray node id by path. A node without a worker is ignored.

        Raises:
            UnavailableError: the master does not answer.
        """
        metas = self._locator.resolve(list(nodes))
        files = [
            (meta.file, nodes[path]) for path, meta in zip(nodes, metas, strict=True) if meta.kind is FileKind.FILE
        ]
        request = DirectRequest(FileColumns.of(file for file, _ in files), [node for _, node in files])
        self._calls.master("direct", encode(request))
        # What was known here is where the hash would put them.
        self._locator.forget_files(nodes)

    @property
    def nodes(self) -> list[str]:
        """The Ray node ids of all workers known here."""
        return [worker.worker for worker in self._locator.view.workers]

    def near(self, paths: str | Sequence[str]) -> dict[str, Any]:
        """Ray options that send a task or an actor, softly, to the node that holds most of these bytes.

        `task.options(**cache.near(paths)).remote(...)`; see `placement/near.py`.
        """
        from raycache.placement.near import near

        return near(self, paths)

    def near_many(self, path_lists: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
        """Ray options for many tasks at once: balanced, and tasks that share files share a node."""
        from raycache.placement.near import near_many

        return near_many(self, path_lists)

    def locate_bytes(self, paths: Sequence[str]) -> list[dict[str, int]]:
        """Per path the bytes each node holds of it, directories summed up, from hints: for scheduling, not for proof."""
        found = [self._locator.resolve([name for name, _ in expand(self._locator, path)]) for path in paths]
        self._locator.locate(itertools.chain.from_iterable(found))
        sums: list[dict[str, int]] = []
        for metas in found:
            by_node: dict[str, int] = {}
            for meta in metas:
                for worker, mask in meta.places.holders:
                    held = residency.bytes_of(mask, meta.file, self._settings.block_size_bytes)
                    by_node[worker] = by_node.get(worker, 0) + held
            sums.append(by_node)
        return sums
