"""Ray Data's own reader of parquet (datasource V2), planned here where it reads through the cache.

Theory of operation. Ray's reader makes a dataset by `read_api._read_datasource_v2`, out of a datasource that says who lists
its files. Once `install` has run, that is a `CacheFileIndexer` where the filesystem is the cache; everything else of the
dataset, and all that Ray pushes down, is Ray's own. The planner is told to plan a `ListFiles` with such an indexer by
`placed_files`. Where that fails, Ray plans it, with a warning: right rows, but scheduled by Ray.

Do not import this module on a Ray release that `modes.placement_mode` has not approved.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray
from ray.data import read_api
from ray.data._internal.datasource_v2.interfaces.file_manifest import FileManifest
from ray.data._internal.execution.interfaces import RefBundle
from ray.data._internal.logical.operators import ListFiles
from ray.data._internal.planner.planner import Planner
from ray.data.context import DataContext

from raycache.filesystems.pyarrow import cache_handler
from raycache.raydata.datasource import NamedPlaces
from raycache.raydata.parquet import indexer, placed_files
from raycache.raydata.parquet.footers import RowGroups
from raycache.raydata.preference import cached_goes_first, hook_is_allowed, placement_wait_s
from raycache.raydata.queueing.cached_now import LAST_READ, CachedNow

logger = logging.getLogger("raycache")


def install(make_indexer: Callable[..., indexer.CacheFileIndexer]) -> str:
    """Extend this process's Ray Data; call it once.

    Args:
        make_indexer: takes the arguments of `CacheFileIndexer`.

    Returns:
        Empty; or why not, and then nothing is changed.
    """
    stock_plans, stock_read = Planner._DEFAULT_PLAN_FNS, read_api._read_datasource_v2  # noqa: SLF001
    planned = functools.partial(plan, stock=stock_plans[ListFiles])
    Planner._DEFAULT_PLAN_FNS = {**stock_plans, ListFiles: planned}  # noqa: SLF001
    read_api._read_datasource_v2 = _listing_here(stock_read, make_indexer)  # noqa: SLF001
    try:
        failure = _self_test(make_indexer)
    except Exception as error:  # whatever it was, it does not work here
        failure = f"{type(error).__name__}: {error}"
    if failure:
        Planner._DEFAULT_PLAN_FNS, read_api._read_datasource_v2 = stock_plans, stock_read  # noqa: SLF001
    return failure


def _listing_here(read_datasource: Any, make_indexer: Callable[..., indexer.CacheFileIndexer]) -> Any:
    """`_read_datasource_v2`, which has files listed by the cache that are read through it."""

    @functools.wraps(read_datasource)
    def read(datasource: Any, *, parallelism: int = -1, **named: Any) -> Any:
        if cache_handler(getattr(datasource, "filesystem", None)) is not None and hook_is_allowed():
            made = make_indexer(
                ignore_missing_paths=datasource.ignore_missing_paths,
                skip_paths=datasource.skip_paths,
                blocks=None if parallelism < 1 else parallelism,
            )
            datasource._get_file_indexer = lambda: made  # noqa: SLF001
        return read_datasource(datasource, parallelism=parallelism, **named)

    return read


def plan(op: Any, physical_children: list[Any], data_context: Any, *, stock: Any) -> Any:
    """Plan a `ListFiles`."""
    if isinstance(op.file_indexer, indexer.CacheFileIndexer):
        try:
            return _plan(op, data_context)
        except Exception as error:  # internals that are not as they were
            _warn(f"{type(error).__name__}: {error}")
    return stock(op, physical_children, data_context)


def _plan(op: Any, data_context: Any) -> placed_files.PlacedFiles:
    listing = placed_files.WantedFiles.of(op)
    execution = getattr(data_context, "_execution_idx", 0)

    def make() -> Iterator[RefBundle]:
        cpus = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]}
        ordered = bool(data_context.execution_options.preserve_order)
        cached, apart = None, cached_goes_first() and not ordered
        made = placed_files.bins(listing, cpus, ordered=ordered, execution=execution, apart=apart)
        if apart:
            handler = indexer.handler_of(listing.filesystem)
            places = NamedPlaces(handler.fs.client, handler.path_of)
            cached = CachedNow(places, LAST_READ if listing.shuffle_config is None else None)
        return placed_files.bundles(made, listing.filesystem, cpus, placement_wait_s(), ordered=ordered, cached=cached)

    return placed_files.PlacedFiles(data_context, make)


@functools.cache
def _warn(reason: str) -> None:
    logger.warning("reads of parquet are planned by Ray: %s", reason)


def _self_test(make_indexer: Callable[..., indexer.CacheFileIndexer]) -> str:
    """Plan a made-up read with the real planner, and look at the result. Needs no cluster.

    Returns:
        Empty when all is as expected, else what is not.
    """
    if "parallelism" not in inspect.signature(read_api._read_datasource_v2).parameters:  # noqa: SLF001
        return "datasources are read in another way"
    listing = ListFiles(
        paths=[], file_indexer=make_indexer(ignore_missing_paths=False), filesystem=None, source_paths=[]
    )
    if not isinstance(Planner().get_plan_fn(listing)(listing, [], DataContext.get_current()), placed_files.PlacedFiles):
        return "the planner does not find our plan function"
    groups = RowGroups(*map(np.array, ([0, 0], [3, 5], [10, 20], [100, 200], [True, True])))
    manifest = FileManifest(indexer.manifest_block([("a", 400)], groups))
    told = manifest.file_chunk_metadatas.tolist()[0]
    if (list(manifest.paths), list(told["row_group_ids"]), told["num_rows"]) != (["a"], [3, 5], 30):
        return "read tasks are told in another way what to read"
    return ""
