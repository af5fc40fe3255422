"""The input of a read of parquet: what each task reads, on which node, made in a thread while the first tasks run.

Theory of operation. Ray's plan is `ListFiles -> ReadFiles`; the second is Ray's own, and runs by the placed operator of
`raydata.hook`. In place of the first stands a `PlacedFiles`, an input buffer that fills while the read is executed: a
thread lists the files, asks where they are, finds out their row groups and cuts them into bins, and each bin becomes a
bundle for a node. Rows that need not come in order start with whichever bin fits (`dispatch`).
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from ray.data._internal.datasource_v2.common.listing_utils import _build_pruners
from ray.data._internal.execution.interfaces import RefBundle
from ray.data._internal.execution.operators.input_data_buffer import InputDataBuffer
from ray.data.block import BlockMetadata

from raycache.errors import RaycacheError
from raycache.raydata import announcing, grouping, inputs
from raycache.raydata.datasource import NamedPlaces
from raycache.raydata.parquet import indexer
from raycache.raydata.parquet.bins import BinPacker, limits_bytes
from raycache.raydata.parquet.footers import RowGroups, Wanted
from raycache.raydata.queueing.cached_now import CachedNow
from raycache.raydata.queueing.dispatch import DispatchQueue

logger = logging.getLogger("raycache")

#: The executor asks again and again whether there is input. It waits here instead, while nothing else goes on.
_WAIT_S = 0.02
#: What one task has announced at most.
_ANNOUNCED_BYTES_MAX = 256 << 20
#: One of these row groups, by its position.
_Piece = tuple[RowGroups, int]


class Told(NamedTuple):
    """What one task reads, and where."""

    #: Hex id; None: anywhere.
    node: str | None
    manifest: pa.Table
    #: Paths of the files that it reads whole, and that nobody is known to hold.
    missing: list[str]
    #: Names of the files it reads.
    files: list[str]


class WantedFiles(NamedTuple):
    """What a read asks for."""

    paths: list[str]
    filesystem: Any
    file_indexer: indexer.CacheFileIndexer
    pruners: list[Any]
    wanted: Wanted
    limit: int | None
    shuffle_config: Any

    @classmethod
    def of(cls, op: Any) -> WantedFiles:
        """Of the logical operator `ListFiles`."""
        return cls(
            list(op.paths),
            op.filesystem,
            op.file_indexer,
            _build_pruners(op.file_extensions, op.partition_filter, op.partition_pruner),
            indexer.wanted_of(op.predicate, op.projected_columns),
            op.limit,
            op.shuffle_config_factory(),
        )


def bins(
    listing: WantedFiles, cpus: Mapping[str, float], *, ordered: bool, execution: int, apart: bool = False
) -> Iterator[Told]:
    """What each task reads, as early as it is known.

    Args:
        listing: what is read.
        cpus: per node.
        ordered: rows must come in the order of files.
        execution: of the dataset, which one; makes another order where files are shuffled.
        apart: what is cached is read by other tasks than what is not, and these are more.
    """
    files = listing.file_indexer.files(
        pa.array(listing.paths, type=pa.string()),
        filesystem=listing.filesystem,
        pruners=listing.pruners,
        preserve_order=ordered,
        shuffle_config=listing.shuffle_config,
        execution_idx=execution,
    )
    nodes, missing, order = _places(listing, files, apart=apart and not ordered and listing.limit is None)
    if order is not None:
        files, nodes = [files[i] for i in order], [nodes[i] for i in order]
    found = indexer.row_groups(listing.filesystem, files, listing.wanted, listing.limit)
    # The first files tell how much larger row groups are than files.
    seen = list(itertools.islice(found, 1))
    seen_bytes = sum(size for end, _ in seen for _, size in files[:end])
    ratio = sum(int(groups.sizes_bytes.sum()) for _, groups in seen) / seen_bytes if seen_bytes else 1.0
    # Rows in order are cut as if they were all of one node.
    lanes: list[str | None] = [None] * len(nodes) if ordered else list(nodes)
    lane_bytes: dict[str | None, float] = {}
    for (_, size), lane in zip(files, lanes, strict=True):
        lane_bytes[lane] = lane_bytes.get(lane, 0.0) + size * ratio
    blocks = listing.file_indexer.blocks
    small = {} if blocks else {lane: int(cpus.get(lane or "", 1)) for lane in lane_bytes}
    packer: BinPacker[_Piece] = BinPacker(
        limits_bytes(lane_bytes, sum(cpus.values()), blocks, is_mixed=order is not None), small
    )
    for _, groups in itertools.chain(seen, found):
        for at, (position, size_bytes) in enumerate(
            zip(groups.files.tolist(), groups.sizes_bytes.tolist(), strict=True)
        ):
            for full in packer.add(lanes[position], (groups, at), size_bytes):
                yield _told(full, files, nodes, missing)
    for full in packer.rest():
        yield _told(full, files, nodes, missing)


def _told(
    pieces: Sequence[_Piece],
    files: Sequence[tuple[str, int]],
    nodes: Sequence[str | None],
    missing: Mapping[str, str],
) -> Told:
    runs = [list(run) for _, run in itertools.groupby(pieces, key=lambda piece: id(piece[0]))]
    groups = RowGroups.together([run[0][0].take([at for _, at in run]) for run in runs])
    positions = groups.files.tolist()
    node = grouping.majority([nodes[position] for position in positions], groups.sizes_bytes.tolist())
    names = dict.fromkeys(files[position][0] for position in positions)
    unheld = [missing[name] for name in names if name in missing] if missing else []
    return Told(node, indexer.manifest_block(files, groups), unheld, list(names))


def _places(
    listing: WantedFiles, files: Sequence[tuple[str, int]], *, apart: bool
) -> tuple[list[str | None], dict[str, str], list[int] | None]:
    """The node of each file, shape (F,); the paths of those that will be loaded whole, by name; see `cached_apart`."""
    handler = indexer.handler_of(listing.filesystem)
    names = [name for name, _ in files]
    wants_all = listing.wanted.columns is None and listing.wanted.filter is None and listing.limit is None
    try:
        places = NamedPlaces(handler.fs.client, handler.path_of)
        nodes = grouping.choose_nodes([size for _, size in files], places.place(names))
        missing = {name: places.path_of(name) for name in (places.missing(names) if wants_all else ())}
        return nodes, missing, grouping.cached_apart(places.shares(names, now=False)) if apart else None
    except RaycacheError as error:
        logger.warning("cannot tell where %d files are, so tasks run anywhere: %s", len(files), error)
        return [None] * len(files), {}, None


def bundles(
    made: Iterator[Told],
    filesystem: Any,
    cpus: Mapping[str, float],
    patience_s: float,
    *,
    ordered: bool,
    cached: CachedNow | None = None,
) -> Iterator[RefBundle]:
    """A bundle for each task; see `DispatchQueue` for `cpus` and `patience_s`, and `CachedNow`."""
    client = indexer.handler_of(filesystem).fs.client
    queue: DispatchQueue[RefBundle] | None = None if ordered else DispatchQueue([], cpus, patience_s)
    if queue is not None and cached is not None:
        queue.on_start, queue.on_add = cached.started, cached.begin
        cached.watch(queue)
    prefetch = client.prefetch if cached is None else announcing.in_this_epoch(client.prefetch)
    for node, table, missing, files in made:
        about = BlockMetadata(num_rows=len(table), size_bytes=table.nbytes, exec_stats=None, input_files=None)
        announce = functools.partial(prefetch, missing, _ANNOUNCED_BYTES_MAX) if missing else None
        # Where files are nobody can say, there is nothing to choose by.
        yield inputs.bundle(table, about, node, queue=None if node is None else queue, announce=announce, files=files)
    if cached is not None:
        cached.is_open = False


class PlacedFiles(InputDataBuffer):  # type: ignore[misc]
    """An input buffer that is filled while it is used.

    Args:
        data_context: of the dataset.
        make: gives the bundles; called when the execution starts, in a thread of its own.
    """

    def __init__(self, data_context: Any, make: Callable[[], Iterator[RefBundle]]) -> None:
        super().__init__(data_context, input_data=[])
        self._is_execution_marked_finished = False
        self._estimated_num_output_bundles: int | None = None
        self._make = make
        self._ahead: deque[RefBundle] = deque()
        #: Set while there is something to be told.
        self._news = threading.Event()
        self._filled = False
        self._error: BaseException | None = None

    def start(self, *arguments: Any, **named: Any) -> None:
        super().start(*arguments, **named)
        threading.Thread(target=self._fill, name="raycache-plan", daemon=True).start()

    def _fill(self) -> None:
        try:
            for bundle in self._make():
                if self._is_execution_marked_finished:
                    break
                self._ahead.append(bundle)
                self._news.set()
        except BaseException as error:  # whatever it is, who waits for rows must hear of it
            self._error = error
        self._filled = True
        self._news.set()

    def has_next(self) -> bool:
        if not self._ahead and not self._filled and not any(o.num_active_tasks() for o in self.output_dependencies):
            self._news.wait(_WAIT_S)
        if self._ahead:
            return True
        self._news.clear()
        if self._filled:
            self._news.set()
            error, self._error = self._error, None
            if error is not None and not self._is_execution_marked_finished:
                raise error
        # It may have come meanwhile.
        return bool(self._ahead)

    def _get_next_inner(self) -> RefBundle:
        bundle = self._ahead.popleft()
        located = inputs.located_metadata(bundle)
        if located is not None and located.queue is not None:
            number = located.queue.add(bundle, located.node or "")
            if located.queue.on_add is not None:
                located.queue.on_add(located.queue, [(number, located.files)])
        self._metrics.on_input_received(bundle)
        # Kept, as of any input: lost blocks are made from it again.
        self._input_data.append(bundle)
        self._stats["input"].extend(bundle.metadata)
        if self._filled:
            self._estimated_num_output_bundles = len(self._input_data) + len(self._ahead)
        return bundle

    def _do_shutdown(self, *arguments: Any, **named: Any) -> None:
        # Whoever wanted the rows has enough, or has failed.
        self.mark_execution_finished()
        super()._do_shutdown(*arguments, **named)

    def has_execution_finished(self) -> bool:
        return self._is_execution_marked_finished or self._filled
