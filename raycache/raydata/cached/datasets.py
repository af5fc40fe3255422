"""`raycache.cached`: a dataset whose blocks are kept by the cache."""

from __future__ import annotations

import inspect

import ray.data

from raycache.client import connection
from raycache.errors import InvalidRequestError
from raycache.raydata.cached.kept_source import KeptSource
from raycache.raydata.cached.pipelines import concurrency, remote_arguments, written
from raycache.raydata.cached.sources import check_source
from raycache.raydata.modes import placement_mode
from raycache.raydata.preference import PlacementMode


def cached(ds: ray.data.Dataset, key: str | None = None) -> ray.data.Dataset:
    """A dataset whose first execution keeps what it gives in the cache, and whose later ones read it there.

    Later ones may be in this process, in another trial, or in another job. What is kept depends on the versions of the files that
    are read, group by group, on the reader and its arguments, and on all transforms, their code and what that uses.

    Args:
        ds: reads files through the cache, and transforms them row by row or batch by batch: map, map_batches, flat_map, filter,
            and whatever chooses or computes columns. What looks at all rows (sort, shuffle, groupby, join) belongs behind `cached`.
        key: stands for what cannot be seen of the transforms, or should be frozen although it is left to chance. Change it whenever
            results should be made again. It comes besides the fingerprint: transforms that change are run again under any key.

    Returns:
        A dataset with the same rows.

    Raises:
        InvalidRequestError: the dataset cannot be kept; the error says why, and what to do.
    """
    if placement_mode().mode is not PlacementMode.HOOK:
        raise InvalidRequestError(f"cached needs reads that can be placed: {placement_mode().reason}")
    from raycache.raydata import hook

    client = connection.connect()
    pipeline = written(ds._logical_plan.dag)  # noqa: SLF001
    source = KeptSource(pipeline, _key(key), ds.context, client.settings.cached_compression or None)
    # Whatever cannot be kept is said here, and not when the dataset is executed.
    check_source(source.settle()[2])
    operators = (pipeline.reader, *pipeline.operators)
    known = inspect.signature(ray.data.read_datasource).parameters
    arguments = {name: value for name, value in remote_arguments(operators).items() if name in known}
    found = ray.data.read_datasource(source, concurrency=concurrency(operators), override_num_blocks=1, **arguments)
    # Not by way of a `LocatedDatasource`: this one says itself where its tasks should run.
    placed = hook.located_read(found._logical_plan.dag)  # noqa: SLF001
    found._logical_plan = type(found._logical_plan)(placed, found.context)  # noqa: SLF001
    return found if pipeline.limit is None else found.limit(pipeline.limit)


def _key(key: str | None) -> str | None:
    if key is None or (isinstance(key, str) and key):
        return key
    raise InvalidRequestError(f"key={key!r} is no text; give a name such as key='v1'")
