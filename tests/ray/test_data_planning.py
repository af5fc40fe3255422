"""What a placed read costs before its first row: objects, tasks and calls that it can do without. Real cluster, real S3."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
import ray.data
from ray.data._internal.execution.interfaces import BlockEntry
from ray.data.block import BlockMetadata
from ray.data.datasource import file_meta_provider
from ray.data.datasource.datasource import ReadTask
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raycache
from raycache.cache import Cache
from raycache.errors import NotFoundError
from raycache.placement.whereabouts import Whereabouts
from raycache.raydata import announcing, file_listing, inputs, readers, sampling
from raycache.testing.cluster import LocalCluster
from raycache.testing.seaweed import SeaweedServer
from tests.support.gate import Gate
from tests.support.reader_formats import ROWS, parquet_file

# Worker processes cannot import this module: what they run of it travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

FILES = 30
ALL_ROWS = list(range(FILES * ROWS))


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer) -> Iterator[Cache]:
    """Some parquet files at `/plans`, loaded."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    bucket = s3_server.make_bucket("plans")
    client = s3_server.client()
    for index in range(FILES):
        client.put_object(Bucket=bucket, Key=f"f{index:02d}.parquet", Body=parquet_file(index))
    started = raycache.start(memory="20%", disk="off")
    started.mount("/plans", f"s3://{bucket}", options=s3_server.options(), metadata_ttl_s=600)
    started.load("/plans").wait(60)
    yield started
    raycache.stop()


@pytest.fixture
def older_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet is read by datasource V1, as all other formats are."""
    monkeypatch.setattr(ray.data.DataContext.get_current(), "use_datasource_v2", False)


def ids(dataset: ray.data.Dataset) -> list[int]:
    return sorted(row["id"] for row in dataset.take_all())


class AddOne:
    """A map that keeps state, which Ray Data runs in actors."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return batch.append_column("more", pc.add(batch["id"], 1))


@ray.remote(num_cpus=1)
class Occupant:
    """Holds the CPU of its node."""

    def is_here(self) -> bool:
        return True


# --- which files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/trees", "/@s3/trees", "trees"])
def test_files_are_found_as_ray_finds_them(cache: Cache, s3_server: SeaweedServer, base: str) -> None:
    """Directories of any depth, files, the same path twice: the same paths, sizes and order; what is hidden is left out."""
    del cache
    client, bucket = s3_server.client(), "trees"
    if base == "/trees":
        s3_server.make_bucket(bucket)
        keys = ["a/b/2", "a/b/1", "a/.hidden/1", "a/_also/1", "a/b/_not", "a.b/1", "a/é ü", "empty/", "single"]
        for size, key in enumerate(keys):
            client.put_object(Bucket=bucket, Key=key, Body=b"x" * (0 if key.endswith("/") else size))
    through = raycache.connect().filesystem()
    locator, path_of = raycache.connect().client.locator, through.handler.path_of
    locator.announce(f"s3://{bucket}", s3_server.options())
    if base == "/trees":
        raycache.connect().mount(base, f"s3://{bucket}", options=s3_server.options())
    paths = [f"{base}/{name}" for name in ("single", "a", "a/b", "a.b/", "a/b/1", "a")]
    stock = list(file_meta_provider._get_file_infos_serial(paths, through))  # type: ignore[attr-defined]
    assert stock == list(file_listing.files_of(locator, paths, path_of))
    assert len(stock) > len(paths)
    missing = [paths[0], f"{base}/nowhere"]
    assert list(file_listing.files_of(locator, missing, path_of, ignore_missing=True)) == stock[:1]
    with pytest.raises(NotFoundError, match="nowhere does not exist"):
        list(file_listing.files_of(locator, missing, path_of))


def test_finding_files_takes_two_calls_of_the_master_and_one_per_directory(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, and although Ray Data looks at paths one by one; no task, no listing of a parent."""
    asked: list[str] = []
    master = cache.client.calls.master

    def recorded(method: str, *arguments: Any, **named: Any) -> Any:
        asked.append(method)
        return master(method, *arguments, **named)

    monkeypatch.setattr(cache.client.calls, "master", recorded)
    paths = [info.path for info in cache.expand("/plans")]
    cache.client.locator.forget_all()
    asked.clear()
    assert readers.read_parquet([*paths, "/plans"], cache=cache)._logical_plan.dag is not None
    assert sorted(asked) == ["list_directory", "resolve"]
    asked.clear()
    assert Whereabouts(cache.client).place(paths) and Whereabouts(cache.client).missing(paths) == set()
    assert asked == ["holders"]


def test_only_what_is_missing_is_announced() -> None:
    """A task says which of its files and of its follower's nobody holds; one that has none to say stays as it is."""

    def task(*files: str) -> tuple[ReadTask, str]:
        about = BlockMetadata(num_rows=1, size_bytes=1, exec_stats=None, input_files=list(files))
        return ReadTask(list, about), "n"

    tasks = [task("a", "b"), task("c"), task("d"), task("e")]
    found = announcing.announce(tasks, {"n": 1}, lambda names: {name: f"/{name}" for name in names if name in "bd"})
    assert [node for _, node in found] == ["n"] * 4
    assert [(t.read_fn._own, t.read_fn._following) for t, _ in found[:3]] == [(["/b"], []), ([], ["/d"]), (["/d"], [])]
    assert found[3][0] is tasks[3][0]


# --- inputs of tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("older_reader")
def test_read_task_becomes_an_object_when_it_starts(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the first row takes does not depend on how many tasks follow; every task is read once."""
    made: list[Any] = []
    plan_inputs = inputs.inputs

    def recorded(*arguments: Any, **named: Any) -> Any:
        made.extend(plan_inputs(*arguments, **named))
        return list(made)

    monkeypatch.setattr(inputs, "inputs", recorded)
    gate = Gate.remote(6)

    def through(batch: pa.Table) -> pa.Table:
        ray.get(gate.enter.remote(), timeout=120)
        return batch

    dataset = readers.read_parquet("/plans", cache=cache, override_num_blocks=FILES)
    batches = iter(dataset.map_batches(through, batch_format="pyarrow").iter_batches(batch_size=None))
    found = next(batches)["id"].tolist()
    entries = [entry for bundle in made for entry in bundle.blocks]
    started = sum(entry.is_made for entry in entries)
    assert FILES == len(entries)
    assert 1 <= started < FILES // 2
    ray.get(gate.open.remote(), timeout=60)
    for batch in batches:
        found.extend(batch["id"].tolist())
    assert ALL_ROWS == sorted(found)
    assert FILES == len({entry.ref for entry in entries})


def test_maps_in_actors_read_every_row_once(cache: Cache) -> None:
    """What follows a placed read may run in actors, which know nothing of its inputs."""
    dataset = readers.read_parquet("/plans", cache=cache, override_num_blocks=12)
    found = dataset.map_batches(AddOne, batch_format="pyarrow", concurrency=1).take_all()
    assert [row + 1 for row in ALL_ROWS] == sorted(row["more"] for row in found)


def test_input_of_a_read_task_can_be_sent_elsewhere(cluster: LocalCluster) -> None:
    """An input says the same of itself here and in another process, and only its reference makes an object."""
    assert cluster.node_ids()
    about = BlockMetadata(num_rows=1, size_bytes=7, exec_stats=None, input_files=None)
    bundle = inputs.bundle(ReadTask(lambda: [pa.table({"x": [1]})], about), about, "a")
    assert len(bundle.block_refs) == 1
    assert hash(bundle) == hash(bundle)
    assert not bundle.blocks[0].is_made
    sent = pickle.loads(ray.cloudpickle.dumps(bundle.blocks))
    assert sent == (BlockEntry(*bundle.block_refs, *bundle.metadata),)
    assert [block["x"].to_pylist() for block in ray.get(sent[0].ref)()] == [[1]]


# --- sizes -------------------------------------------------------------------------------------------------------------


def test_read_is_planned_while_all_cpus_are_busy(cache: Cache) -> None:
    """Sizes are estimated without a task, which would have to wait."""
    blockers = [
        Occupant.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in Whereabouts(cache.client).nodes
    ]
    try:
        assert all(ray.get([blocker.is_here.remote() for blocker in blockers], timeout=60))
        planned = readers.read_parquet("/plans", cache=cache)
    finally:
        for blocker in blockers:
            ray.kill(blocker)
    assert ids(planned) == ALL_ROWS


@pytest.mark.usefixtures("older_reader")
def test_large_row_groups_are_sampled_by_tasks(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is estimated does not depend on where; only what is small is read into this process."""
    sampled: list[Any] = []
    sample_here = sampling._sample_here

    def recorded(*arguments: Any) -> Any:
        sampled.append(sample_here(*arguments))
        return sampled[-1]

    monkeypatch.setattr(sampling, "_sample_here", recorded)

    def estimated() -> int:
        dataset = readers.read_parquet("/plans", cache=cache)
        return int(dataset._logical_plan.dag.datasource.estimate_inmemory_data_size())

    here = estimated()
    monkeypatch.setattr(sampling, "ROW_GROUP_BYTES_MAX", 1)
    assert here == estimated() > 0
    assert [found is not None for found in sampled] == [True, False]
