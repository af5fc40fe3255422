"""Where files are, and where they will be, for whatever places tasks. By hints: for scheduling, not for proof."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from raycache.client.client import Client
from raycache.client.expanding import expand
from raycache.hashing import extent_key, place_many
from raycache.messages import DirectRequest, FileColumns, encode
from raycache.ranges import block_count, mask_bytes
from raycache.results import PathInfo
from raycache.types import FileKind


class Whereabouts:
    """What a client knows of where files are."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def expand(self, paths: str | Sequence[str]) -> list[PathInfo]:
        """The files that `paths` mean, with their sizes, from the cached listing."""
        return [PathInfo(path, file.size_bytes) for path, file in expand(self._client.locator, paths)]

    def place(self, paths: Sequence[str]) -> list[tuple[str, ...]]:
        """Per file the nodes that hold most of it, or when nobody holds any the node that will; best first.

        Args:
            paths: shape (F,), of files.

        Returns:
            Shape (F,): Ray node ids; empty when there is no worker or no such file.
        """
        metas = self._client.locator.resolve(paths)
        workers = self._client.locator.view.workers
        if not workers:
            return [() for _ in metas]
        self._client.locator.locate(metas)
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
        live = {worker.worker for worker in self._client.locator.view.workers}
        found: set[str] = set()
        for path, meta in zip(paths, self._client.locator.resolve(paths), strict=True):
            if meta.places.held_mask(live).bit_count() < block_count(
                meta.file.size_bytes, self._client.settings.block_size_bytes
            ):
                found.add(path)
        return found

    def shares(self, paths: Sequence[str], *, now: bool) -> list[float]:
        """How much of each of these files the workers hold, of its blocks.

        Args:
            paths: shape (F,), of files.
            now: as the master knows it now, which costs a call for 50,000 files; False: as it was last said here.

        Returns:
            Shape (F,), 0..1; 1 of an empty file.
        """
        metas = self._client.locator.resolve(paths)
        if now:
            self._client.locator.locate(metas)
        live = {worker.worker for worker in self._client.locator.view.workers}
        size_bytes = self._client.settings.block_size_bytes
        counts = [block_count(meta.file.size_bytes, size_bytes) for meta in metas]
        return [
            meta.places.held_mask(live).bit_count() / count if count else 1.0
            for meta, count in zip(metas, counts, strict=True)
        ]

    def direct(self, nodes: Mapping[str, str]) -> None:
        """Say where files should be loaded that nobody holds yet, instead of where the hash would put them.

        Args:
            nodes: Ray node id by path. A node without a worker is ignored.

        Raises:
            UnavailableError: the master does not answer.
        """
        metas = self._client.locator.resolve(list(nodes))
        files = [
            (meta.file, nodes[path]) for path, meta in zip(nodes, metas, strict=True) if meta.kind is FileKind.FILE
        ]
        request = DirectRequest(FileColumns.of(file for file, _ in files), [node for _, node in files])
        self._client.calls.master("direct", encode(request))
        # What was known here is where the hash would put them.
        self._client.locator.forget_files(nodes)

    @property
    def nodes(self) -> list[str]:
        """The Ray node ids of all workers known here."""
        return [worker.worker for worker in self._client.locator.view.workers]

    def locate_bytes(self, paths: Sequence[str]) -> list[dict[str, int]]:
        """Per path the bytes each node holds of it, directories summed up, from hints: for scheduling, not for proof."""
        found = [
            self._client.locator.resolve([name for name, _ in expand(self._client.locator, path)]) for path in paths
        ]
        self._client.locator.locate(itertools.chain.from_iterable(found))
        sums: list[dict[str, int]] = []
        for metas in found:
            by_node: dict[str, int] = {}
            for meta in metas:
                for worker, mask in meta.places.holders:
                    held = mask_bytes(mask, meta.file.size_bytes, self._client.settings.block_size_bytes)
                    by_node[worker] = by_node.get(worker, 0) + held
            sums.append(by_node)
        return sums
