"""Ray's own reader of parquet through the cache: its rows, planned here, on the nodes that hold them. Real cluster, real S3."""

from __future__ import annotations

import collections
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
from ray.data import Dataset
from ray.data.checkpoint import CheckpointConfig
from ray.data.datasource import FileShuffleConfig, Partitioning, PathPartitionFilter
from ray.data.expressions import col

import raycache
from raycache.cache import Cache
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata import hook
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer
from tests.support.parquet_lake import FILES, ROWS, content, objects, plain

# Of releases before 2.60 it is Ray's own: see `raycache.raydata.modes`.
pytest.importorskip(
    "ray.data._internal.datasource_v2.common", reason="this Ray's reader of parquet is not planned here"
)
from raycache.raydata.parquet import footer_reading, footers, indexer, placed_files

# Worker processes cannot import this module: what they run of it travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

BUCKET = "parquet"
EVENTS = 24
_QUIET = logging.getLogger("ray.data")


@pytest.fixture(scope="module")
def lake(s3_server: SeaweedServer) -> str:
    bucket = s3_server.make_bucket(BUCKET)
    client = s3_server.client()
    every = objects() | {f"events/f{i:02d}.parquet": content(plain(i)) for i in range(EVENTS)}
    for key, body in every.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
    return bucket


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer, lake: str) -> Iterator[Cache]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Other modules read parquet by the older reader.
    context.use_datasource_v2 = True
    _QUIET.setLevel(logging.ERROR)
    started = raycache.start(memory="20%", disk="off")
    started.mount("/lake", f"s3://{lake}", options=s3_server.options(), readonly=False, metadata_ttl_s=600)
    yield started
    raycache.stop()


@pytest.fixture
def stock(s3_server: SeaweedServer) -> pyarrow.fs.FileSystem:
    """The S3 server without the cache."""
    return s3_server.pyarrow_filesystem()


@pytest.fixture
def ordered() -> Iterator[None]:
    options = ray.data.DataContext.get_current().execution_options
    options.preserve_order = True
    yield
    options.preserve_order = False


def rows(dataset: Dataset, *, in_order: bool = False) -> list[str]:
    """All rows in a form that compares; sorted unless their order is promised."""

    def simple(value: Any) -> Any:
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    found = [repr({key: simple(value) for key, value in row.items()}) for row in dataset.take_all()]
    return found if in_order else sorted(found)


def is_planned_here(dataset: Dataset) -> bool:
    listing = dataset._logical_plan.dag
    while listing.input_dependencies:
        listing = listing.input_dependencies[0]
    planned = ray.data._internal.planner.planner.Planner().get_plan_fn(listing)(listing, [], dataset.context)
    return isinstance(planned, placed_files.PlacedFiles)


Read = Callable[[str, Any], Dataset]


def reading(*paths: str, then: Callable[[Dataset], Dataset] = lambda d: d, **arguments: Any) -> Read:
    """A read of paths in the lake, of which `{}` is where it is seen."""

    def read(base: str, filesystem: Any) -> Dataset:
        given = [path.replace("{}", base) for path in paths]
        made = {key: value(base, filesystem) if callable(value) else value for key, value in arguments.items()}
        return then(ray.data.read_parquet(given if len(given) > 1 else given[0], filesystem=filesystem, **made))

    return read


def _later_years(base: str, filesystem: Any) -> Any:
    return PathPartitionFilter.of(
        lambda keys: int(keys["year"]) > 2020, base_dir=f"{base}/hive", style="hive", filesystem=filesystem
    )


#: What the options mean, by Ray's own reader on the same objects.
CASES: dict[str, Read] = {
    "all": reading("{}/plain"),
    "projection": reading("{}/plain", then=lambda d: d.select_columns(["name", "id"])),
    "filter": reading("{}/plain", then=lambda d: d.filter(expr=col("id") >= 195)),
    "filter of a text, then other columns": reading(
        "{}/plain", then=lambda d: d.filter(expr=col("name") == "row-00123").select_columns(["half"])
    ),
    "hive": reading("{}/hive"),
    "a filter of partitions": reading("{}/hive", then=lambda d: d.filter(expr=col("year") == "2021")),
    "partition_filter": reading("{}/hive", partition_filter=_later_years),
    "partitions with types": reading("{}/hive", partitioning=Partitioning("hive", field_types={"year": int})),
    "nested": reading("{}/nested"),
    "evolved": reading("{}/evolved"),
    "files without rows": reading("{}/empty"),
}
#: The same, in the long form: `make test-parquet`.
MORE: dict[str, Read] = {
    "rows that no statistics exclude": reading("{}/plain", then=lambda d: d.filter(expr=col("half") == 3.5)),
    "no row": reading("{}/plain", then=lambda d: d.filter(expr=col("id") < 0)),
    "a computed column": reading("{}/plain", then=lambda d: d.with_column("twice", col("id") * 2)),
    "a renamed column": reading("{}/plain", then=lambda d: d.rename_columns({"id": "key"}).select_columns(["key"])),
    "columns": reading("{}/plain", columns=["half", "id"]),
    "columns that are partitions": reading("{}/hive", columns=["city", "id"]),
    "file_extensions": reading("{}/plain", file_extensions=["parquet", "none"]),
    "ignore_missing_paths": reading(
        "{}/plain/f1.parquet", "{}/gone", "{}/plain/gone.parquet", ignore_missing_paths=True
    ),
    "skip_paths": reading("{}/plain", skip_paths=lambda base, _: [f"{base}/plain/f1.parquet", f"{base}/plain/deep"]),
    "many paths": reading(*[f"{{}}/plain/f{i}.parquet" for i in (3, 1, 5)]),
    "directory partitions": reading(
        "{}/hive", partitioning=lambda base, fs: Partitioning("dir", f"{base}/hive", ["y", "c"], filesystem=fs)
    ),
    "no partitioning": reading("{}/hive", partitioning=None),
    "a schema": reading("{}/evolved", schema=pa.schema({"id": pa.int32(), "later": pa.float64()})),
    "tensors": reading("{}/tensors"),
    "shuffled files": reading("{}/plain", shuffle="files"),
    "blocks": reading("{}/plain", override_num_blocks=3),
    "a map": reading("{}/plain", then=lambda d: d.map_batches(lambda b: {"id": b["id"] + 1})),
    "a union": reading("{}/plain", then=lambda d: d.union(d)),
    "a sort": reading("{}/plain", then=lambda d: d.sort("name", descending=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_and_schema_are_rays(cache: Cache, stock: Any, lake: str, case: str) -> None:
    """What every option gives is what Ray's own reader gives of the same objects."""
    found, expected = both(CASES[case], cache, stock, lake)
    assert expected == found


@pytest.mark.long
@pytest.mark.parametrize("case", MORE)
def test_rows_and_schema_are_rays_in_all_other_cases(cache: Cache, stock: Any, lake: str, case: str) -> None:
    """The rest of the table."""
    found, expected = both(MORE[case], cache, stock, lake)
    assert expected == found


@pytest.mark.long
@pytest.mark.parametrize("case", CASES | MORE)
def test_rows_and_schema_are_rays_on_a_disk(cache: Cache, disk: str, case: str) -> None:
    """The whole table on local files."""
    found, expected = both((CASES | MORE)[case], cache, pyarrow.fs.LocalFileSystem(), disk, "/disk")
    assert expected == found


@pytest.fixture(scope="module")
def disk(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same objects in a directory, mounted at /disk."""
    base = tmp_path_factory.mktemp("disk")
    for key, body in objects().items():
        (base / key).parent.mkdir(parents=True, exist_ok=True)
        (base / key).write_bytes(body)
    cache.mount("/disk", f"file://{base}")
    return str(base)


def both(read: Read, cache: Cache, stock: Any, lake: str, mount: str = "/lake") -> tuple[Any, Any]:
    """What is found through the cache, planned here, and by Ray's own reader: schema, rows and their number."""
    expected, found = read(lake, stock), read(mount, cache.filesystem())
    assert is_planned_here(found) and not is_planned_here(expected)
    return tuple((dataset.schema(), rows(dataset), dataset.count()) for dataset in (found, expected))  # type: ignore[return-value]


# --- what is promised beyond rows ---------------------------------------------------------------------------------------


def test_paths_are_as_they_were_given(cache: Cache, lake: str) -> None:
    """Of the namespace, and of URIs."""
    through = cache.filesystem()
    named = ray.data.read_parquet("/lake/plain/f1.parquet", filesystem=through, include_paths=True)
    assert {"/lake/plain/f1.parquet"} == set(named.unique("path"))
    uri = ray.data.read_parquet(f"s3://{lake}/plain/f1.parquet", filesystem=through, include_paths=True)
    assert {f"{lake}/plain/f1.parquet"} == set(uri.unique("path"))


def test_rows_come_in_order_where_that_is_asked_for(cache: Cache, ordered: None) -> None:
    """With `preserve_order`, rows come in the order of files, and of row groups in them."""
    del ordered
    found = ray.data.read_parquet("/lake/events", filesystem=cache.filesystem()).take_all()
    assert list(range(EVENTS * ROWS)) == [row["id"] for row in found]


def test_files_are_shuffled_anew_for_each_execution_and_alike_for_a_seed(cache: Cache, ordered: None) -> None:
    """A seed gives the same order again, and no file is lost in it."""
    del ordered
    through = cache.filesystem()

    def firsts(dataset: Dataset) -> list[int]:
        return [row["file"] for row in dataset.take_all()][::ROWS]

    seeded = [
        ray.data.read_parquet("/lake/events", filesystem=through, shuffle=FileShuffleConfig(seed=7)) for _ in range(2)
    ]
    first = firsts(seeded[0])
    assert first == firsts(seeded[1])
    assert sorted(first) == list(range(EVENTS)) != first


def test_a_limit_looks_at_few_files(cache: Cache) -> None:
    """Footers are looked at until there are rows enough."""
    wanted = footers.Wanted()
    files = [(f"/lake/events/f{i:02d}.parquet", 1) for i in range(EVENTS)]
    found = [groups for _, groups in indexer.row_groups(cache.filesystem(), files, wanted, limit=15 * ROWS)]
    assert list(range(15)) == np.unique(footers.RowGroups.together(found).files).tolist()
    assert 5 == len(ray.data.read_parquet("/lake/events", filesystem=cache.filesystem()).limit(5).take_all())


def test_a_second_plan_reads_no_footer(cache: Cache, s3_server: SeaweedServer) -> None:
    """Whoever makes it: the master keeps what was made of them. A replaced file is looked at again."""
    client = s3_server.client()
    for i in range(5):
        client.put_object(Bucket=BUCKET, Key=f"kept/f{i}.parquet", Body=content(plain(i)))
    names = [f"/lake/kept/f{i}.parquet" for i in range(5)]
    handler = indexer.handler_of(cache.filesystem())

    def parsed(wanted: footers.Wanted | None = None) -> tuple[int, int]:
        reader = footer_reading.FooterReader(handler, wanted or footers.Wanted())
        return sum(int(groups.rows.sum()) for _, groups in reader.row_groups(names)), reader.parsed

    assert (5 * ROWS, 5) == parsed()
    assert (5 * ROWS, 0) == parsed()
    many = indexer.wanted_of(col("id") >= 4 * ROWS, ["name"])
    assert (ROWS, 0) == parsed(many)
    with cache.open(names[2], "wb") as file:
        file.write(content(plain(2, 10)))
    assert (4 * ROWS + 10, 1) == parsed()
    assert (4 * ROWS + 10, 0) == parsed()


def test_small_data_is_no_single_task_and_blocks_can_be_chosen(cache: Cache) -> None:
    """All CPUs get something to do, and `override_num_blocks` has an effect."""
    through = cache.filesystem()

    def tasks(**arguments: Any) -> int:
        return ray.data.read_parquet("/lake/events", filesystem=through, **arguments).materialize().num_blocks()

    cpus = ray.cluster_resources()["CPU"]
    assert cpus * 2 <= tasks()
    assert 3 <= tasks(override_num_blocks=3) <= 5
    assert EVENTS <= tasks(override_num_blocks=EVENTS)


def test_tasks_run_on_their_files_and_nothing_else_runs(cache: Cache) -> None:
    """Warm, fused with a map, for a count, a filter and two columns; no actor reads footers and no task lists."""
    cache.load("/lake/events").wait(60)
    names = [f"/lake/events/f{i:02d}.parquet" for i in range(EVENTS)]
    holders = dict(zip(names, Whereabouts(cache.client).place(names), strict=True))
    before = _actors()

    def where(batch: pa.Table) -> pa.Table:
        paths = batch["path"].unique()
        return pa.table({"path": paths, "node": [ray.get_runtime_context().get_node_id()] * len(paths)})

    through = cache.filesystem()
    whole = ray.data.read_parquet("/lake/events", filesystem=through, include_paths=True)
    some = whole.select_columns(["path", "id"]).filter(expr=col("id") >= 2 * ROWS)
    for dataset, files in ((whole, EVENTS), (some, EVENTS - 2)):
        mapped = dataset.map_batches(where, batch_format="pyarrow", batch_size=None)
        found = mapped.take_all()
        assert files == len({row["path"] for row in found})
        away = [row for row in found if row["node"] not in holders[row["path"]]]
        assert len(away) <= len(found) // 10
        assert "ReadFiles" in mapped.stats() and "->MapBatches(where)" in mapped.stats()
    assert EVENTS * ROWS == ray.data.read_parquet("/lake/events", filesystem=through).count()
    assert [] == [name for name in _actors() - before if "Footer" in name]


def _actors() -> set[str]:
    """All there ever were."""
    return {f"{actor['ActorClassName']} {actor['ActorID']}" for actor in ray._private.state.actors().values()}


# --- bad worlds ---------------------------------------------------------------------------------------------------------


def test_a_corrupt_file_is_the_same_error(cache: Cache, stock: Any, lake: str) -> None:
    """Among good ones, with Ray's class and words."""
    with pytest.raises(Exception, match="magic bytes") as expected:  # Ray's class differs by release
        ray.data.read_parquet(f"{lake}/corrupt", filesystem=stock).take_all()
    with pytest.raises(Exception, match="magic bytes") as found:
        ray.data.read_parquet("/lake/corrupt", filesystem=cache.filesystem()).take_all()
    assert isinstance(expected.value, pa.ArrowInvalid) == isinstance(found.value, pa.ArrowInvalid)


def test_what_is_not_there(cache: Cache) -> None:
    """Paths that do not exist, and filters that leave nothing, are errors when the dataset is made."""
    through = cache.filesystem()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ray.data.read_parquet("/lake/nowhere", filesystem=through)
    with pytest.raises(ValueError, match="no files found"):
        ray.data.read_parquet("/lake/plain", filesystem=through, file_extensions=["orc"])


def test_a_file_that_goes_between_plan_and_read_is_an_error_and_no_hang(cache: Cache, s3_server: SeaweedServer) -> None:
    """It is said by its class."""
    client = s3_server.client()
    client.put_object(Bucket=BUCKET, Key="going/f.parquet", Body=content(plain(0)))
    dataset = ray.data.read_parquet("/lake/going", filesystem=cache.filesystem())
    cache.filesystem().delete_file("/lake/going/f.parquet")
    with pytest.raises(FileNotFoundError):
        dataset.take_all()


def test_a_plan_that_cannot_be_made_is_rays(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one warning, and the same rows; our indexer lists for it, without actors."""
    caplog.set_level(logging.WARNING, logger="raycache")

    def broken(_op: Any) -> Any:
        raise AttributeError("ListFiles has no such field")

    monkeypatch.setattr(placed_files.WantedFiles, "of", broken)
    for _ in range(2):
        found = ray.data.read_parquet("/lake/plain", filesystem=cache.filesystem()).take_all()
        assert (FILES + 1) * ROWS == len(found)
    assert 1 == len([r for r in caplog.records if "planned by Ray" in r.message])


def test_streaming_split_plans_where_it_runs(cache: Cache) -> None:
    """In an actor of Ray's, which has never heard of the cache."""
    splits = ray.data.read_parquet("/lake/events", filesystem=cache.filesystem()).streaming_split(2)

    @ray.remote
    def consume(split: Any) -> list[int]:
        return [int(i) for batch in split.iter_batches(batch_size=None) for i in batch["id"]]

    found = ray.get([consume.remote(split) for split in splits], timeout=120)
    assert list(range(EVENTS * ROWS)) == sorted(i for part in found for i in part)


def test_raycaches_own_function_goes_the_same_way(cache: Cache) -> None:
    """Globs, too, also where the read is executed elsewhere."""
    dataset = raycache.read_parquet("/lake/events/f0*.parquet", columns=["id"], include_paths=True)
    assert is_planned_here(dataset)
    assert ["id", "path"] == dataset.schema().names
    counted = collections.Counter(row["path"] for row in dataset.take_all())
    assert {f"/lake/events/f0{i}.parquet": ROWS for i in range(10)} == counted
    [split] = dataset.streaming_split(1)
    assert 10 * ROWS == sum(len(batch["id"]) for batch in split.iter_batches(batch_size=None))


def test_other_filesystems_are_rays(cache: Cache, tmp_path: Any) -> None:
    """Nothing changes for reads that have nothing to do with the cache."""
    del cache
    (tmp_path / "f.parquet").write_bytes(content(plain(0)))
    assert not is_planned_here(ray.data.read_parquet(str(tmp_path)))
    assert "" == hook.parquet_failure()


@pytest.mark.long
def test_what_a_checkpoint_names_is_not_read_again(cache: Cache, tmp_path: Any) -> None:
    """A job that died after a part of its rows goes on with the rest, planned here."""
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=str(tmp_path / "seen"), delete_checkpoint_on_success=False
    )
    try:
        first = ray.data.read_parquet("/lake/plain/f1.parquet", filesystem=cache.filesystem())
        first.write_parquet(str(tmp_path / "out"))
        every = ray.data.read_parquet("/lake/plain", filesystem=cache.filesystem())
        assert is_planned_here(every)
        every.write_parquet(str(tmp_path / "out"))
    finally:
        context.checkpoint_config = None
    found = pq.read_table(tmp_path / "out")["id"].to_pylist()
    assert list(range((FILES + 1) * ROWS)) == sorted(found)
