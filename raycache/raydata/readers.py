"""`raycache.read_*`: Ray Data's readers, through the cache, with read tasks on the nodes that hold their files.

Theory of operation. Each reader is its namesake in `ray.data`, called with the cache as its filesystem; so arguments,
checks and results are Ray's own and cannot drift. Which files there are to read is found out first, by one look-up and the
cached listings (`file_listing`, `file_selection`), and of parquet which columns (`parquet_columns`). Then, by the mode in force
(`modes`):

- HOOK: the dataset's read is wrapped, so that its tasks are placed (`datasource`), as that of any reader which is given the
  cache as its filesystem (`hook`).
- LABELS: the files are split by node first, the namesake is called once per node with a label selector, and the datasets
  are joined with `union`.
- PLAIN: nothing more.

Paths may also be globs. No task or actor is started to find files, nor with HOOK to look into small ones (`sampling`).
Parquet is read by Ray's V2 datasource where that is in force and can be planned here (`parquet`), and else by V1's, since V2
lists with a pool of actors per read.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol, TypeAlias

import ray.data

from raycache import paths as names
from raycache.client import connection
from raycache.client.client import Client
from raycache.errors import InvalidRequestError
from raycache.filesystems.arrow_names import ArrowNames
from raycache.filesystems.pyarrow import cache_handler
from raycache.filesystems.pyarrow import filesystem as cache_filesystem
from raycache.placement.strategies import label_wish
from raycache.raydata import file_selection, grouping, parquet_columns
from raycache.raydata.datasource import NamedPlaces
from raycache.raydata.file_listing import files_meant
from raycache.raydata.modes import place_plain_reads, placement_mode
from raycache.raydata.preference import PlacementMode

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

        hook.locate(dataset, NamedPlaces.of(datasource, client))
    return dataset


def _client_of(cache: Connected | None) -> Client:
    return connection.connect() if cache is None else cache.client


def _read(name: str, paths: Paths, cache: Connected | None, arguments: dict[str, Any]) -> ray.data.Dataset:
    for unwanted in ("filesystem", "catalog"):
        if arguments.get(unwanted) is not None:
            raise InvalidRequestError(f"{name} reads through the cache: leave {unwanted}= away and give paths")
    locator = _client_of(cache).locator
    wanted = [names.normalise(path) for path in file_selection.path_list(paths)]
    bases = list(map(file_selection.base_of, wanted))
    filesystem = cache_filesystem(place_plain_reads, ArrowNames(path for path in bases if path.startswith("/")))
    handler = cache_handler(filesystem)
    assert handler is not None
    name_of = handler.normalize_path
    asked = list(map(name_of, bases))
    namesake = _Namesake(name, arguments)
    arguments = {**file_selection.rebased(arguments, wanted, locator, filesystem), "filesystem": filesystem}
    mode = placement_mode().mode
    columns, whole = None, True
    if name == "read_parquet" and mode is PlacementMode.HOOK and _plans_parquet():
        if bases != wanted:
            extensions = namesake.default("file_extensions", arguments)
            asked = [
                file for file, _ in file_selection.parquet_files(wanted, arguments, extensions, locator, name_of)[0]
            ]
        return _read_v2(asked, arguments)
    if name == "read_parquet":
        arguments["partitioning"] = namesake.default("partitioning", arguments)
        extensions = namesake.default("file_extensions", arguments)
        files, whole = file_selection.parquet_files(wanted, arguments, extensions, locator, name_of)
        columns = parquet_columns.settle([file for file, _ in files], filesystem, arguments)
    else:
        files = list(files_meant(locator, wanted, name_of, ignore_missing=bool(arguments.get("ignore_missing_paths"))))

    def call(some: list[str], extra: dict[str, Any]) -> Any:
        dataset = namesake.read(some, {**arguments, **extra})
        if columns is not None:
            parquet_columns.apply(dataset, columns)
        return dataset

    if mode is PlacementMode.HOOK:
        handler.chosen = files
        return call(asked, {})
    if mode is PlacementMode.LABELS and (parts := _parts(handler, files, namesake, arguments)):
        first, *others = [call(*part) for part in parts]
        return first.union(*others) if others else first
    # Ray lists a directory faster than it looks up its files.
    return call(asked if whole and bases == wanted else [file for file, _ in files], {})


def _plans_parquet() -> bool:
    """Whether Ray's own reader of parquet (datasource V2) is in force, and planned here."""
    from raycache.raydata import hook

    return bool(getattr(ray.data.DataContext.get_current(), "use_datasource_v2", False)) and not hook.parquet_failure()


def _read_v2(asked: list[str], arguments: dict[str, Any]) -> ray.data.Dataset:
    """Ray's own reader; columns as it takes them, without its warning that they will be chosen in another way."""
    columns = arguments.pop("columns", None)
    if columns is not None:
        parquet_columns.require_distinct(columns)
    dataset = ray.data.read_parquet(asked, **arguments)
    if columns is None:
        return dataset
    added = [name for argument, name in parquet_columns.ADDED.items() if arguments.get(argument)]
    return dataset.select_columns([*columns, *(name for name in added if name not in columns)])


# --- the namesakes ----------------------------------------------------------------------------------------------------


class _Namesake:
    """One of Ray's readers.

    Args:
        name: in `ray.data`.
        arguments: of the call; `lines` makes `read_json` another reader.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        stock = getattr(ray.data, name)
        #: What it takes; empty where Ray does not say.
        self.parameters: Mapping[str, inspect.Parameter] = inspect.signature(stock).parameters
        self._read = _json_lines if name == "read_json" and arguments.get("lines") else stock

    def default(self, parameter: str, arguments: Mapping[str, Any]) -> Any:
        """What holds for a parameter: the argument, or the reader's default; None where it has no such."""
        found = self.parameters.get(parameter)
        return arguments.get(parameter, None if found is None else found.default)

    def read(self, names: list[str], arguments: Mapping[str, Any]) -> Any:
        """Make the dataset by a V1 datasource. Its context keeps what the user had set."""
        context = ray.data.DataContext.get_current()
        previous = getattr(context, "use_datasource_v2", None)
        if not previous:
            return self._read(names, **arguments)
        context.use_datasource_v2 = False
        try:
            dataset = self._read(names, **arguments)
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


# --- LABELS ------------------------------------------------------------------------------------------------------------


def _parts(
    handler: Any, files: file_selection.Files, namesake: _Namesake, arguments: dict[str, Any]
) -> list[tuple[list[str], dict[str, Any]]]:
    """Split a read by node: (files, arguments) of each part. Empty when it should not be split, or when nothing is left.

    Rows must come in the order of files when the user asked for it, and a user's own labels win.
    """
    preserve_order = ray.data.DataContext.get_current().execution_options.preserve_order
    if "label_selector" not in namesake.parameters or arguments.get("label_selector") or preserve_order:
        return []
    files = file_selection.passing(
        files, arguments.get("partition_filter"), namesake.default("file_extensions", arguments)
    )
    left, sizes_bytes = [file for file, _ in files], [size for _, size in files]
    nodes = grouping.choose_nodes(sizes_bytes, NamedPlaces(handler.fs.client, handler.path_of).place(left))
    by_node: dict[str | None, list[int]] = {}
    for index, node in enumerate(nodes):
        by_node.setdefault(node, []).append(index)
    ranked = sorted((node for node in by_node if node is not None), key=lambda node: -len(by_node[node]))
    for node in ranked[_BRANCHES_MAX - 1 :] if len(by_node) > _BRANCHES_MAX else []:
        by_node.setdefault(None, []).extend(by_node.pop(node))
    parts: list[tuple[list[str], dict[str, Any]]] = []
    blocks = arguments.get("override_num_blocks")
    for node, indexes in by_node.items():
        # What a filter leaves is known by now, for all parts.
        extra: dict[str, Any] = {} if node is None else label_wish(node)
        if "partition_filter" in arguments:
            extra["partition_filter"] = None
        if blocks:
            extra["override_num_blocks"] = max(1, round(blocks * len(indexes) / len(files)))
        parts.append(([left[index] for index in sorted(indexes)], extra))
    return parts
