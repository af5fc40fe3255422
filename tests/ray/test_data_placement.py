"""Ray Data's readers through the cache: the same rows, on the nodes that hold them. Real cluster, real S3."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest
import ray
import ray.data
from ray.data._internal.datasource.csv_datasource import CSVDatasource
from ray.data._internal.datasource.image_datasource import ImageDatasource
from ray.data.block import BlockMetadata
from ray.data.datasource.datasource import Datasource, ReadTask

import raycache
from raycache.cache import Cache
from raycache.client.connection import HEAD_RESOURCE
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.placement import near
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata import modes, readers
from raycache.raydata.datasource import LocatedDatasource
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer
from tests.support.gate import Gate
from tests.support.reader_formats import FILES, ROWS, TENSORFLOW_STAND_IN, all_formats, parquet_file, running

# Worker processes cannot import this module: what they run of it travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

BUCKET = "readers"
_numbers = itertools.count()
MANY = 90
#: (reader, directory, further arguments)
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("read_parquet", "parquet", {}),
    ("read_parquet", "parquet", {"columns": ["name", "half"], "include_paths": True}),
    ("read_csv", "csv", {"include_paths": True}),
    ("read_csv", "csv", {"shuffle": "files"}),
    ("read_json", "json", {}),
    ("read_json", "json", {"lines": True}),
    ("read_text", "text", {}),
    ("read_binary_files", "binary", {"include_paths": True}),
    ("read_numpy", "numpy", {}),
    ("read_images", "images", {"size": (4, 4), "mode": "RGB"}),
    ("read_webdataset", "webdataset", {}),
    ("read_avro", "avro", {}),
    ("read_audio", "audio", {}),
    ("read_videos", "videos", {"include_timestamps": True}),
    ("read_tfrecords", "tfrecords", {"include_paths": True}),
]

#: What else a reader's test needs: arguments of both readers which say where the work runs.
_RUNS: dict[str, dict[str, Any]] = {
    "read_tfrecords": running({"env_vars": {"PYTHONPATH": TENSORFLOW_STAND_IN}}) if TENSORFLOW_STAND_IN else {},
}


@pytest.fixture(scope="module")
def lake(s3_server: SeaweedServer) -> str:
    """A bucket with every format, and `MANY` equal parquet files under `many/`, and again under `claimed/`."""
    client = s3_server.client()
    # Made again for the tests with clusters of their own, which run last.
    bucket = s3_server.make_bucket(f"{BUCKET}-{next(_numbers)}")
    parquet = {f"f{i:02d}.parquet": parquet_file(i) for i in range(MANY)}
    objects = all_formats() | {f"{name}/{key}": body for name in ("many", "claimed") for key, body in parquet.items()}
    for key, body in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
    return bucket


def quiet() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Other modules read parquet by the older reader.
    context.use_datasource_v2 = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer, lake: str) -> Iterator[Cache]:
    quiet()
    started = raycache.start(memory="20%", disk="256MiB")
    started.mount("/lake", f"s3://{lake}", options=s3_server.options(), metadata_ttl_s=600)
    yield started
    raycache.stop()


@pytest.fixture
def stock(s3_server: SeaweedServer) -> pyarrow.fs.FileSystem:
    """What Ray's own readers use: the S3 server without the cache."""
    return pyarrow.fs.S3FileSystem(
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        endpoint_override=s3_server.endpoint_url,
        region="us-east-1",
    )


def rows(dataset: ray.data.Dataset) -> list[str]:
    """All rows, sorted, in a form that compares."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    return sorted(repr({key: plain(row[key]) for key in sorted(row)}) for row in dataset.take_all())


def expected_rows(name: str, path: str, stock: Any, arguments: dict[str, Any]) -> list[str]:
    reader = getattr(ray.data, name)
    if not arguments.get("lines"):
        return rows(reader(path, filesystem=stock, **arguments))
    return rows(reader(path, filesystem=stock, **{key: value for key, value in arguments.items() if key != "lines"}))


def with_node(batch: pa.Table) -> pa.Table:
    node = ray.get_runtime_context().get_node_id()
    return batch.append_column("node", pa.array([node] * batch.num_rows))


def local_share(dataset: ray.data.Dataset, wanted: dict[int, str]) -> float:
    """The share of rows that were read on the node they were wanted on; the map is fused with the read."""
    found = dataset.map_batches(with_node, batch_format="pyarrow", batch_size=None).to_pandas()
    assert len(found) == ROWS * len(wanted)
    return float((found["node"] == found["file"].map(wanted)).mean())


def balanced_files(cache: Cache, per_node: int, directory: str = "/lake/many") -> dict[str, str]:
    """Path -> node of files in a directory, equally many for each node."""
    chosen: dict[str, list[str]] = {}
    paths = [info.path for info in cache.expand(directory)]
    for path, nodes in zip(paths, Whereabouts(cache.client).place(paths), strict=True):
        chosen.setdefault(nodes[0], []).append(path)
    counts = {node: len(found) for node, found in chosen.items()}
    assert min(counts.values()) >= per_node, f"no balanced choice among the files: {counts}"
    picked = [(path, node) for node, found in chosen.items() for path in found[:per_node]]
    return dict(sorted(picked))


def file_index(path: str) -> int:
    return int(path.rpartition("/f")[2].removesuffix(".parquet"))


# --- the same rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "directory", "arguments"), CASES)
def test_reader_gives_the_rows_of_its_namesake(
    cache: Cache, lake: str, stock: Any, name: str, directory: str, arguments: dict[str, Any]
) -> None:
    """Every reader, by namespace path and by URI, gives what Ray's own gives on the same objects."""
    if name == "read_videos":
        pytest.importorskip("decord")
    arguments = {**arguments, **_RUNS.get(name, {})}
    expected = expected_rows(name, f"{lake}/{directory}", stock, arguments)
    assert len(expected) >= FILES
    by_uri = rows(getattr(readers, name)(f"s3://{lake}/{directory}", cache=cache, **arguments))
    assert expected == by_uri
    by_path = rows(getattr(readers, name)(f"/lake/{directory}", **arguments))
    # Rows that show their file show it as it was asked for.
    assert sorted(row.replace(f"{lake}/{directory}", f"/lake/{directory}") for row in expected) == by_path


def test_every_reader_is_compared() -> None:
    """No reader is offered that the test above leaves out; `read_datasource` has its own below."""
    offered = {name for name in raycache.__all__ if name.startswith("read_")}
    assert offered == {name for name, _, _ in CASES} | {"read_datasource"}


@pytest.mark.parametrize("mode", ["labels", "plain"])
@pytest.mark.parametrize(
    ("name", "directory"), [("read_parquet", "parquet"), ("read_csv", "csv"), ("read_numpy", "numpy")]
)
def test_rows_do_not_depend_on_the_mode(
    cache: Cache, lake: str, stock: Any, monkeypatch: pytest.MonkeyPatch, mode: str, name: str, directory: str
) -> None:
    """Without the hook, readers fall back to public API, with the same rows."""
    monkeypatch.setenv("RAYCACHE_PLACEMENT", mode)
    assert modes.placement_mode().mode.value == mode
    expected = expected_rows(name, f"{lake}/{directory}", stock, {})
    assert expected == rows(getattr(readers, name)(f"/lake/{directory}", cache=cache))


def test_untested_ray_version_warns_and_falls_back(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a Ray release nobody has tried, the hook is not used, one warning says so, and rows are right."""
    monkeypatch.delenv("RAYCACHE_PLACEMENT", raising=False)
    monkeypatch.setattr(ray, "__version__", "2.99.1")
    with caplog.at_level(logging.WARNING, logger="raycache"):
        dataset = readers.read_parquet("/lake/parquet", cache=cache)
    assert modes.placement_mode().mode is modes.PlacementMode.LABELS
    assert "Ray 2.99.1 is outside the tested range" in caplog.text
    assert dataset.count() == FILES * ROWS


def test_columns_and_filters_are_pushed_into_the_read(cache: Cache) -> None:
    """A filter and a projection end up in the parquet read itself, and give the right rows."""
    found = readers.read_parquet("/lake/parquet", cache=cache)
    found = found.filter(expr=ray.data.expressions.col("id") >= 100).select_columns(["id"])
    assert sorted(row["id"] for row in found.take_all()) == list(range(100, FILES * ROWS))
    assert ("ReadParquet" if modes.placement_mode().parquet_failure else "ReadFilesParquetV2:") in found.stats()
    assert "Filter" not in found.stats()


def test_partition_pruning_keeps_only_matching_files(cache: Cache) -> None:
    """A filter on a hive partition column works on located reads as on Ray's."""
    found = readers.read_parquet("/lake/parquet", cache=cache).filter(expr=ray.data.expressions.col("half") == "1")
    assert {row["file"] for row in found.take_all()} == {1, 3, 5}


def test_globs_and_lists_name_files(cache: Cache) -> None:
    """A glob, and a list of files in several directories, read exactly those."""
    assert readers.read_csv("/lake/csv/f[0-2].csv", cache=cache).count() == 3 * ROWS
    files = [info.path for info in cache.expand("/lake/parquet")]
    assert readers.read_parquet(files * 3, cache=cache).count() == 3 * FILES * ROWS


def test_missing_and_skipped_paths(cache: Cache) -> None:
    """Parquet's `ignore_missing_paths` and `skip_paths` do what they say; a glob without a match is an error."""
    found = readers.read_parquet(
        ["/lake/parquet", "/lake/nowhere"], cache=cache, ignore_missing_paths=True, skip_paths="/lake/parquet/half=1"
    )
    assert {row["file"] for row in found.take_all()} == {0, 2, 4, 6}
    with pytest.raises(NotFoundError):
        readers.read_csv("/lake/csv/*.nothing", cache=cache)


def test_other_filesystem_is_refused(cache: Cache) -> None:
    """Readers go through the cache; a filesystem of one's own is a mistake."""
    with pytest.raises(InvalidRequestError, match="filesystem"):
        readers.read_csv("/lake/csv", cache=cache, filesystem=pyarrow.fs.LocalFileSystem())


def test_order_is_kept_when_asked_for(cache: Cache) -> None:
    """With `preserve_order`, rows come in the order of files."""
    options = ray.data.DataContext.get_current().execution_options
    options.preserve_order = True
    try:
        found = [row["id"] for row in readers.read_parquet("/lake/many", cache=cache).take_all()]
    finally:
        options.preserve_order = False
    assert found == list(range(MANY * ROWS))


def test_dataset_behaves_as_one_of_ray(cache: Cache) -> None:
    """limit, take, materialize, a second execution and iter_batches work on a located dataset."""
    dataset = readers.read_parquet("/lake/many", cache=cache, override_num_blocks=12)
    assert dataset.limit(30).count() == 30
    assert [row["id"] for row in dataset.take(2)] == [0, 1]
    assert dataset.materialize().count() == MANY * ROWS
    assert sum(len(batch["id"]) for batch in dataset.iter_batches(batch_size=64)) == MANY * ROWS
    assert dataset.schema().names == ["id", "file", "name"]


def test_streaming_split_reads_every_row_once(cache: Cache) -> None:
    """`streaming_split` plans in an actor; located reads travel there."""
    splits = readers.read_parquet("/lake/many", cache=cache).streaming_split(2)

    @ray.remote(num_cpus=0)
    def consume(split: Any) -> list[int]:
        return [value for batch in split.iter_batches(batch_size=100) for value in batch["id"].tolist()]

    found = ray.get([consume.remote(split) for split in splits], timeout=120)
    assert sorted(value for part in found for value in part) == list(range(MANY * ROWS))


class JsonLines(Datasource):
    """Somebody's own datasource: one task per file, of no base class we know."""

    def __init__(self, cache: Cache, directory: str) -> None:
        super().__init__()
        self.filesystem = cache.filesystem()
        self.files = [info.path for info in cache.expand(directory)]

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: Any = None, data_context: Any = None) -> Any:
        def task(path: str) -> ReadTask:
            filesystem = self.filesystem

            def read() -> Iterator[pa.Table]:
                with filesystem.open_input_stream(path) as stream:
                    yield pa.Table.from_pylist([json.loads(line) for line in stream.readall().splitlines()])

            return ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=[path]))

        return [task(path) for path in self.files]


def test_any_datasource_is_placed_by_its_input_files(cache: Cache) -> None:
    """A datasource we know nothing of keeps its tasks; each wants the node of its files."""
    source = JsonLines(cache, "/lake/json")
    located = LocatedDatasource(source, Whereabouts(cache.client)).located_tasks(
        99, None, ray.data.DataContext.get_current()
    )
    found = {task.metadata.input_files[0]: node for task, node in located}
    assert found == {
        path: nodes[0] for path, nodes in zip(source.files, Whereabouts(cache.client).place(source.files), strict=True)
    }
    assert readers.read_datasource(JsonLines(cache, "/lake/json"), cache=cache).count() == FILES * ROWS


@pytest.mark.parametrize("kind", [CSVDatasource, ImageDatasource])
def test_read_datasource_gives_the_rows_of_its_namesake(cache: Cache, lake: str, stock: Any, kind: Any) -> None:
    """A file-based datasource of Ray's, handed over with the cache's filesystem, reads what it reads from the lake."""
    directory = {CSVDatasource: "csv", ImageDatasource: "images"}[kind]
    expected = rows(ray.data.read_datasource(kind(f"{lake}/{directory}", filesystem=stock)))
    assert len(expected) >= FILES
    for path in (f"s3://{lake}/{directory}", f"/lake/{directory}"):
        assert expected == rows(readers.read_datasource(kind(path, filesystem=cache.filesystem()), cache=cache))


# --- on the right nodes ------------------------------------------------------------------------------------------------


def test_cold_tasks_run_where_the_blocks_will_be(cache: Cache) -> None:
    """Before anything is loaded, at least 90 % of the rows are read on the node that then holds them."""
    wanted = balanced_files(cache, 12)
    cache.free("/lake/many")
    dataset = readers.read_parquet(list(wanted), cache=cache, override_num_blocks=36)
    share = local_share(dataset, {file_index(path): node for path, node in wanted.items()})
    assert share >= 0.9


def test_warm_tasks_run_where_their_blocks_are(cache: Cache) -> None:
    """Once loaded, at least 95 % of the rows are read on a node that holds them."""
    wanted = balanced_files(cache, 12)
    cache.load("/lake/many").wait(60)
    dataset = readers.read_parquet(list(wanted), cache=cache, override_num_blocks=36)
    share = local_share(dataset, {file_index(path): node for path, node in wanted.items()})
    assert share >= 0.95


def test_what_was_loaded_elsewhere_is_read_there(cache: Cache) -> None:
    """Tasks that Ray put on other nodes than the hash names have claimed files; placed reads and `near` follow them."""
    named = balanced_files(cache, 8, "/lake/claimed")
    nodes = sorted(set(named.values()))
    wanted = {path: nodes[(nodes.index(node) + 1) % len(nodes)] for path, node in named.items()}

    @ray.remote
    def read(path: str) -> int:
        return len(raycache.connect().read(path))

    def there(node: str) -> Any:
        return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    loads = [read.options(scheduling_strategy=there(node)).remote(path) for path, node in wanted.items()]
    assert all(ray.get(loads, timeout=120))
    wait_until(lambda: Whereabouts(cache.client).place(list(wanted)) == [(node,) for node in wanted.values()])
    cache.client.locator.forget_all()
    cache.expand("/lake/claimed")  # a listing says nothing of holders
    dataset = readers.read_parquet(list(wanted), cache=cache, override_num_blocks=24)
    assert local_share(dataset, {file_index(path): node for path, node in wanted.items()}) >= 0.95
    path, node = next(iter(wanted.items()))
    assert near.near_node(Whereabouts(cache.client), path, dict) == node


# --- Ray's own readers, given the cache as filesystem ------------------------------------------------------------------


def test_plain_reads_run_where_their_blocks_are(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own reader of parquet, V1, is placed as ours is."""
    cache.load("/lake/many").wait(60)
    wanted = balanced_files(cache, 12)
    nodes = {file_index(path): node for path, node in wanted.items()}
    monkeypatch.setattr(ray.data.DataContext.get_current(), "use_datasource_v2", False)
    placed = ray.data.read_parquet(list(wanted), filesystem=cache.filesystem(), override_num_blocks=36)
    assert local_share(placed, nodes) >= 0.95


def test_plain_datasources_are_placed(cache: Cache) -> None:
    """`ray.data.read_datasource`, of one that reads files through the cache."""
    ours = CSVDatasource("/lake/csv", filesystem=cache.filesystem())
    assert "LocatedRead" == type(ray.data.read_datasource(ours)._logical_plan.dag).__name__
    assert "LocatedRead" != type(ray.data.read_datasource(JsonLines(cache, "/lake/json"))._logical_plan.dag).__name__


@pytest.mark.parametrize("name", ["read_csv", "read_binary_files"])
def test_plain_reads_give_the_rows_of_other_filesystems(cache: Cache, lake: str, stock: Any, name: str) -> None:
    """Paths in rows included, which name the object as on S3."""
    path = f"{lake}/{name.split('_')[1]}"
    expected = rows(getattr(ray.data, name)(path, filesystem=stock, include_paths=True))
    assert expected == rows(getattr(ray.data, name)(f"s3://{path}", filesystem=cache.filesystem(), include_paths=True))


@pytest.mark.parametrize(
    ("mode", "kind"), [("", "LocatedRead"), ("plain", "Read"), ("labels", "Read"), ("no such", "Read")]
)
def test_the_first_plain_read_of_a_process_is_placed(cache: Cache, mode: str, kind: str) -> None:
    """Where the hook works, and unless another way is forced; nothing but the filesystem tells of the cache."""
    del cache

    @ray.remote(num_cpus=0)
    def made() -> str:
        filesystem = raycache.connect().filesystem()
        return type(ray.data.read_text("/lake/text", filesystem=filesystem)._logical_plan.dag).__name__

    fresh = made.options(runtime_env={"env_vars": {"RAYCACHE_PLACEMENT": mode}})
    assert kind == ray.get(fresh.remote(), timeout=60)


def test_task_near_its_bytes_runs_there(cache: Cache) -> None:
    """`near` puts tasks on the holders, a few at a time."""
    cache.load("/lake/many").wait(60)
    wanted = balanced_files(cache, 4)

    @ray.remote
    def where() -> str:
        return str(ray.get_runtime_context().get_node_id())

    found = {path: ray.get(where.options(**cache.near(path)).remote(), timeout=60) for path in wanted}
    assert wanted == found


def test_many_tasks_are_spread_over_all_nodes(cache: Cache) -> None:
    """`near_many` uses every node that holds data, evenly."""
    paths = [info.path for info in cache.expand("/lake/many")]
    options = cache.near_many([paths[start : start + 6] for start in range(MANY - 6)])
    nodes = [found["scheduling_strategy"].node_id for found in options]
    counts = [nodes.count(node) for node in sorted(set(nodes))]
    assert len(counts) == 3
    assert max(counts) <= 1.05 * len(nodes) / 3 + 1


def test_busy_node_does_not_hold_tasks_up(cache: Cache) -> None:
    """A task whose node has no free CPU runs elsewhere at once."""
    path, node = next(iter(balanced_files(cache, 1).items()))

    @ray.remote(num_cpus=1)
    class Occupant:
        """Holds the CPU of its node."""

    @ray.remote
    def where() -> str:
        return str(ray.get_runtime_context().get_node_id())

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    blocker = Occupant.options(scheduling_strategy=strategy).remote()
    try:
        wait_until(lambda: _free_cpus(node) == 0)
        assert ray.get(where.options(**cache.near(path)).remote(), timeout=60) != node
    finally:
        ray.kill(blocker)


def _free_cpus(node: str) -> float:
    from ray._private.state import available_resources_per_node

    return float(available_resources_per_node()[node].get("CPU", 0.0))


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def test_node_killed_in_the_middle_costs_no_row(
    make_cluster: Callable[..., LocalCluster], s3_server: SeaweedServer, lake: str
) -> None:
    """A raylet that dies while it reads is made up for by the others: all rows, no failed job."""
    private = make_cluster(nodes=3)
    quiet()
    cache = raycache.start(memory="20%", disk="off")
    cache.mount("/lake", f"s3://{lake}", options=s3_server.options(), metadata_ttl_s=600)
    # On the head node, which stays.
    gate, killed = Gate.options(resources={HEAD_RESOURCE: 0.001}).remote(6), False

    def through(batch: pa.Table) -> pa.Table:
        ray.get(gate.enter.remote(), timeout=120)
        return batch

    dataset = readers.read_parquet("/lake/many", cache=cache, override_num_blocks=MANY)
    found: list[int] = []
    for batch in dataset.map_batches(through, batch_format="pyarrow").iter_batches(batch_size=None):
        found.extend(batch["id"].tolist())
        if not killed and len(found) >= 3 * ROWS:
            killed = True
            private.remove_node(2, kill=True)
            ray.get(gate.open.remote(), timeout=60)
    assert killed
    assert sorted(found) == list(range(MANY * ROWS))
    raycache.stop()
