"""The files that a pipeline reads: by Ray Data's readers of either kind, listed anew for each execution.

A group is what one result is made of: some files, by name and version, and what a task needs to read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash
from ray.data._internal.logical.operators import Read

from raycache.client.client import Client
from raycache.client.file_meta import require_file
from raycache.errors import InvalidRequestError
from raycache.filesystems.pyarrow import CacheHandler, cache_handler
from raycache.raydata.cached import file_groups
from raycache.raydata.cached.pipelines import plain_datasource
from raycache.raydata.datasource import NamedPlaces
from raycache.raydata.file_lists import known_files
from raycache.raydata.parquet import indexer
from raycache.raydata.parquet.placed_files import WantedFiles
from raycache.types import VersionId

#: How much larger parquet is in memory than in files, about.
_PARQUET_RATIO = 4


class Group(NamedTuple):
    """Some files, in the order of the listing."""

    #: As Ray Data calls them.
    names: list[str]
    #: As the cache does.
    paths: list[str]
    versions: list[VersionId]
    sizes_bytes: list[int]
    #: Positions in the listing.
    span: range

    def fingerprint(self, of_pipeline: str) -> str:
        """The name of its result."""
        digest = xxhash.xxh3_128(of_pipeline.encode())
        for name, version in zip(self.names, self.versions, strict=True):
            digest.update(f"{len(name)}:".encode())
            digest.update(name.encode("utf-8", "surrogatepass"))
            digest.update(version)
        return digest.hexdigest()

    def origin(self, pipeline: str) -> str:
        """What its result stands for, whatever the versions of the files and the code of the transforms: see `KeptResult.origin`.

        The last file says it: groups end behind files of certain names, so that this one stays when others come and go.
        """
        return xxhash.xxh3_64_hexdigest(f"{pipeline}\0{self.paths[-1]}".encode("utf-8", "surrogatepass"))


class ReadTasks:
    """V1: what a group is read by are read tasks of its own."""

    def __init__(self, tasks: Sequence[Any]) -> None:
        self._tasks = list(tasks)

    def blocks(self) -> Iterable[Any]:
        """What the first function of the pipeline takes."""
        return self._tasks


class Manifests:
    """V2: what a group is read by is a list of its row groups; made where it is read."""

    def __init__(self, listing: WantedFiles, files: Sequence[tuple[str, int]]) -> None:
        self._filesystem, self._wanted = listing.filesystem, listing.wanted
        self._files = list(files)

    def blocks(self) -> Iterable[pa.Table]:
        """What the first function of the pipeline takes."""
        for _, groups in indexer.row_groups(self._filesystem, self._files, self._wanted, None):
            if len(groups.indexes):
                yield indexer.manifest_block(self._files, groups)


def check_source(source: Any) -> CacheHandler:
    """The way to the cache that a source reads through.

    Args:
        source: `Read` or `ListFiles`, as optimised.

    Raises:
        InvalidRequestError: it does not read by file, or not through the cache, or in another order each time.
    """
    if isinstance(source, Read):
        datasource = plain_datasource(source.datasource)
        filesystem, shuffled = getattr(datasource, "_filesystem", None), getattr(datasource, "_shuffle", None)
        if filesystem is not None and known_files(datasource) is None:
            raise InvalidRequestError(f"{source.name} does not read by file, so that it cannot be kept by file")
    else:
        filesystem, shuffled = source.filesystem, source.shuffle_config_factory()
    handler = cache_handler(filesystem)
    if handler is None:
        raise InvalidRequestError(
            f"{source.name} does not read through the cache, so that nobody knows when its files change; read them with "
            "raycache.read_*, or with filesystem=cache.filesystem()"
        )
    if shuffled is not None:
        raise InvalidRequestError(
            f"{source.name} shuffles files before cached; shuffle behind it: cached(ds).randomize_block_order()"
        )
    return handler


class SourceFiles:
    """The files of one execution.

    Args:
        source: `Read` or `ListFiles`, as optimised.
        context: Ray Data's settings.
    """

    def __init__(self, source: Any, context: Any) -> None:
        self._context = context
        self._files: Any = None
        self._listing: WantedFiles | None = None
        handler = check_source(source)
        if isinstance(source, Read):
            self._files = known_files(plain_datasource(source.datasource))
        else:
            self._listing = WantedFiles.of(source)
        self.client: Client = handler.fs.client
        self._handler = handler
        self._names, self._sizes_bytes = self._list()

    def _list(self) -> tuple[list[str], list[int]]:
        if self._files is not None:
            return self._files.paths, self._files.sizes_bytes
        listing = self._listing
        assert listing is not None
        files = listing.file_indexer.files(
            pa.array(listing.paths, type=pa.string()),
            filesystem=listing.filesystem,
            pruners=listing.pruners,
            preserve_order=True,
            shuffle_config=None,
            execution_idx=0,
        )
        return [name for name, _ in files], [size for _, size in files]

    def __len__(self) -> int:
        return len(self._names)

    @property
    def memory_bytes(self) -> int:
        """What all files take in memory, about."""
        return sum(self._sizes_bytes) * (_PARQUET_RATIO if self._listing is not None else 1)

    def groups(self, bits: int) -> list[Group]:
        """The groups, in the order of the listing; `bits` as of `file_groups.cut`."""
        paths = [self._handler.path_of(name) for name in self._names]
        metas = self.client.locator.resolve(paths)
        versions = [require_file(meta, path).version for meta, path in zip(metas, paths, strict=True)]
        sizes = [meta.file.size_bytes for meta in metas]
        return [
            Group(
                self._names[span.start : span.stop],
                paths[span.start : span.stop],
                versions[span.start : span.stop],
                sizes[span.start : span.stop],
                span,
            )
            for span in file_groups.cut(self._names, bits)
        ]

    def input(self, group: Group) -> ReadTasks | Manifests:
        """What reads a group."""
        if self._files is not None:
            return ReadTasks(self._files.read_tasks(list(group.span), None, self._context))
        assert self._listing is not None
        return Manifests(
            self._listing, list(zip(group.names, self._sizes_bytes[group.span.start : group.span.stop], strict=True))
        )

    def places(self, groups: Sequence[Group]) -> list[list[str]]:
        """Per group, for each of its files the best node; empty where there is none."""
        names = [name for group in groups for name in group.names]
        found = iter(NamedPlaces(self.client, self._handler.path_of).place(names))
        return [[nodes[0] if (nodes := next(found)) else "" for _ in group.names] for group in groups]
