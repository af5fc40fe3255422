"""`raycache.read_*`: Ray Data's readers, through the cache, with read tasks on the nodes that hold their files.

Theory of operation. Each reader is its namesake in `ray.data`, called with the cache as its filesystem; so arguments,
checks and results are Ray's own and cannot drift. Then, by the mode in force (`modes`):

- HOOK: the dataset's read is wrapped, so that its tasks are placed (`datasource`), as that of any reader which is given the
  cache as its filesystem (`hook`).
- LABELS: the files are split by node first, the namesake is called once per node with a label selector, and the datasets
  are joined with `union`.
- PLAIN: nothing more.

Paths may also be globs. Listings and footers come through the cache, in this process; no task or actor is started to
find files, nor with HOOK to look into small ones (`sampling`). That is why `read_parquet` uses Ray's V1 datasource:
V2 lists with a pool of actors per read.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Protocol, TypeAlias

import ray.data

from raycache import paths as names
from raycache.client import connection
from raycache.client.client import Client
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.filesystems.pyarrow import filesystem as cache_filesystem
from raycache.placement.strategies import label_wish
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata import grouping
from raycache.raydata.modes import place_plain_reads, placement_mode
from raycache.raydata.preference import PlacementMode
from raycache.types import FileKind

logger = logging.getLogger("raycache")

#: One path or several: files, directories, globs; in the namespace or UFS URIs.
Paths: TypeAlias = str | PurePath | Sequence[str | PurePath]

#: LABELS: reads per dataset; files of further nodes are read without a wish.
_BRANCHES_MAX = 12


class Connected(Protocol):
    """A `raycache.Cache`."""

    @property
    def client(self) -> Client:
        """Its connection."""
        ...


def read_parquet(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_parquet`, through the cache; column and filter pushdown included.

    Args:
        paths: one or several files, directories or globs.
        cache: None: the cache of this Ray cluster.
        arguments: of the namesake, except `filesystem` and `catalog`.

    Raises:
        InvalidRequestError: an argument that makes no sense here.
        NotFoundError: a path does not exist, or no cache runs.
    """
    return _read("read_parquet", paths, cache, arguments)


def read_csv(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_csv`, through the cache; see `read_parquet`."""
    return _read("read_csv", paths, cache, arguments)


def read_json(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_json`, through the cache, `lines=True` included; see `read_parquet`."""
    return _read("read_json", paths, cache, arguments)


def read_text(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_text`, through the cache; see `read_parquet`."""
    return _read("read_text", paths, cache, arguments)


def read_images(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_images`, through the cache; see `read_parquet`."""
    return _read("read_images", paths, cache, arguments)


def read_binary_files(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_binary_files`, through the cache; see `read_parquet`."""
    return _read("read_binary_files", paths, cache, arguments)


def read_numpy(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_numpy`, through the cache; see `read_parquet`."""
    return _read("read_numpy", paths, cache, arguments)


def read_webdataset(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_webdataset`, through the cache; see `read_parquet`."""
    return _read("read_webdataset", paths, cache, arguments)


def read_tfrecords(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_tfrecords`, through the cache; see `read_parquet`."""
    return _read("read_tfrecords", paths, cache, arguments)


def read_avro(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_avro`, through the cache; see `read_parquet`."""
    return _read("read_avro", paths, cache, arguments)


def read_audio(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_audio`, through the cache; see `read_parquet`."""
    return _read("read_audio", paths, cache, arguments)


def read_videos(paths: Paths, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_videos`, through the cache; see `read_parquet`."""
    return _read("read_videos", paths, cache, arguments)


def read_datasource(datasource: Any, *, cache: Connected | None = None, **arguments: Any) -> ray.data.Dataset:
    """As `ray.data.read_datasource`, with its tasks placed.

    Args:
        datasource: any that reads files, made with `filesystem=cache.filesystem()`.
        cache: None: the cache of this Ray cluster.
        arguments: of the namesake.
    """
    client = _client_of(cache)
    dataset = ray.data.read_datasource(datasource, **arguments)
    if placement_mode().mode is PlacementMode.HOOK:
        from raycache.raydata import hook

        hook.locate(dataset, Whereabouts(client))
    return dataset


def _client_of(cache: Connected | None) -> Client:
    return connection.connect() if cache is None else cache.client


def _read(name: str, paths: Paths, cache: Connected | None, arguments: dict[str, Any]) -> ray.data.Dataset:
    for unwanted in ("filesystem", "catalog"):
        if arguments.get(unwanted) is not None:
            raise InvalidRequestError(f"{name} reads through the cache: leave {unwanted}= away and give paths")
    client = _client_of(cache)
    whereabouts = Whereabouts(client)
    wanted = [names.normalise(path) for path in _as_list(paths)]
    reader = _json_lines if name == "read_json" and arguments.get("lines") else getattr(ray.data, name)
    filesystem = cache_filesystem(place_plain_reads)
    partitioning = arguments.get("partitioning")
    if partitioning is not None and "://" in (partitioning.base_dir or ""):
        base_dir = names.filesystem_path(names.normalise(partitioning.base_dir))
        arguments["partitioning"] = dataclasses.replace(partitioning, base_dir=base_dir, filesystem=filesystem)
    if name == "read_parquet":
        wanted = _without_skipped(client, wanted, arguments)

    def call(some: Sequence[str], extra: dict[str, Any]) -> Any:
        spelled = [names.filesystem_path(path) for path in some]
        return _first_generation(reader, spelled, {**arguments, **extra, "filesystem": filesystem})

    mode = placement_mode().mode
    if mode is PlacementMode.LABELS:
        parts = _parts(whereabouts, wanted, reader, arguments)
        if len(parts) > 1:
            first, *others = [call(*part) for part in parts]
            return first.union(*others)
    elif mode is PlacementMode.PLAIN and len(wanted) > 1:
        # One call resolves them all, instead of one each.
        client.locator.resolve([path for path in wanted if not names.is_glob(path)])
    return call(_globs_expanded(whereabouts, wanted), {})


def _first_generation(reader: Callable[..., Any], paths: list[str], arguments: dict[str, Any]) -> Any:
    """Call a reader with Ray's V1 datasources. The dataset's context keeps what the user had set."""
    context = ray.data.DataContext.get_current()
    previous = getattr(context, "use_datasource_v2", None)
    if not previous:
        return reader(paths, **arguments)
    context.use_datasource_v2 = False
    try:
        dataset = reader(paths, **arguments)
    finally:
        context.use_datasource_v2 = previous
    dataset.context.use_datasource_v2 = previous
    return dataset


def _json_lines(paths: list[str], **arguments: Any) -> Any:
    """`ray.data.read_json(lines=True)`, which refuses a filesystem although its datasource takes one."""
    from ray.data._internal.datasource.json_datasource import PandasJSONDatasource
    from ray.data.datasource.file_based_datasource import FileBasedDatasource

    bound = inspect.signature(ray.data.read_json).bind(paths, **arguments)
    bound.apply_defaults()
    given = bound.arguments
    for refused in ("arrow_open_stream_args", "arrow_json_args"):
        if given.get(refused):
            raise InvalidRequestError(f"read_json(lines=True) does not take {refused}; leave it away")
    of_files = inspect.signature(FileBasedDatasource.__init__).parameters
    of_read = inspect.signature(ray.data.read_datasource).parameters
    source = PandasJSONDatasource(
        paths,
        target_output_size_bytes=ray.data.DataContext.get_current().target_max_block_size,
        **{key: value for key, value in given.items() if key in of_files and key != "paths"},
    )
    rest = {key: value for key, value in given.items() if key in of_read and key != "read_args"}
    return ray.data.read_datasource(source, **rest)


# --- paths -------------------------------------------------------------------------------------------------------------


def _as_list(paths: Paths) -> list[str]:
    return [str(path) for path in ([paths] if isinstance(paths, (str, PurePath)) else paths)]


def _globs_expanded(whereabouts: Whereabouts, paths: list[str]) -> list[str]:
    """Globs as the files they match; everything else as it is, for Ray lists directories its own way."""
    result: list[str] = []
    for path in paths:
        if names.is_glob(path):
            result.extend(info.path for info in whereabouts.expand(path))
        else:
            result.append(path)
    return result


def _without_skipped(client: Client, paths: list[str], arguments: dict[str, Any]) -> list[str]:
    """Do what Ray's V1 parquet datasource does not: `ignore_missing_paths` and `skip_paths`."""
    ignore_missing = arguments.pop("ignore_missing_paths", False)
    skip = arguments.pop("skip_paths", None) or []
    if ignore_missing:
        paths = [path for path in paths if names.is_glob(path) or client.locator.kind(path) is not FileKind.MISSING]
        if not paths:
            raise NotFoundError("none of the paths exists; check them")
    if skip:
        skipped = [names.normalise(path) for path in _as_list(skip)]
        below = tuple(f"{path}/" for path in skipped)
        files = _visible_files(Whereabouts(client), paths)
        paths = [path for path, _ in files if path not in skipped and not path.startswith(below)]
        if not paths:
            raise NotFoundError("skip_paths leaves no file to read; check it")
    return paths


def _visible_files(whereabouts: Whereabouts, paths: Sequence[str]) -> list[tuple[str, int]]:
    """(path, size) of all files, without those Ray passes over: names below a directory that start with `.` or `_`."""
    result: list[tuple[str, int]] = []
    for path in paths:
        hidden = (names.join(path, "."), names.join(path, "_"))
        result.extend((f.path, f.size_bytes) for f in whereabouts.expand(path) if not f.path.startswith(hidden))
    return result


# --- LABELS ------------------------------------------------------------------------------------------------------------


def _parts(
    whereabouts: Whereabouts, paths: list[str], reader: Callable[..., Any], arguments: dict[str, Any]
) -> list[tuple[list[str], dict[str, Any]]]:
    """Split a read by node: (files, arguments) of each part. Empty when it should not be split.

    Rows must come in the order of files when the user asked for it, and a user's own labels win.
    """
    parameters = inspect.signature(reader).parameters
    if reader is _json_lines:
        parameters = inspect.signature(ray.data.read_json).parameters
    preserve_order = ray.data.DataContext.get_current().execution_options.preserve_order
    if "label_selector" not in parameters or arguments.get("label_selector") or preserve_order:
        return []
    extensions = arguments.get("file_extensions")
    if extensions is None and "file_extensions" in parameters and "file_extensions" not in arguments:
        extensions = parameters["file_extensions"].default
    suffixes = tuple(f".{extension.lstrip('.').lower()}" for extension in extensions or ())
    files = [file for file in _visible_files(whereabouts, paths) if not suffixes or file[0].lower().endswith(suffixes)]
    sizes_bytes = [size for _, size in files]
    nodes = grouping.choose_nodes(sizes_bytes, whereabouts.place([path for path, _ in files]))
    by_node: dict[str | None, list[int]] = {}
    for index, node in enumerate(nodes):
        by_node.setdefault(node, []).append(index)
    ranked = sorted((node for node in by_node if node is not None), key=lambda node: -len(by_node[node]))
    for node in ranked[_BRANCHES_MAX - 1 :] if len(by_node) > _BRANCHES_MAX else []:
        by_node.setdefault(None, []).extend(by_node.pop(node))
    parts: list[tuple[list[str], dict[str, Any]]] = []
    blocks = arguments.get("override_num_blocks")
    for node, indexes in by_node.items():
        extra: dict[str, Any] = {} if node is None else label_wish(node)
        if blocks:
            extra["override_num_blocks"] = max(1, round(blocks * len(indexes) / len(files)))
        parts.append(([files[index][0] for index in sorted(indexes)], extra))
    return parts
