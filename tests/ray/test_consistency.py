"""Close-to-open on a real cluster: whoever opens after a writer has closed sees what was written, on any node, by any name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import ray
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import raycache
from raycache.cache import Cache
from raycache.errors import NotFoundError
from raycache.testing.cluster import LocalCluster


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster) -> Iterator[Cache]:
    yield raycache.start(memory="60MiB", disk="60MiB")
    raycache.stop()


@ray.remote(num_cpus=0)
class Process:
    """Another process, with a memory of its own."""

    def do(self, method: str, *arguments: Any) -> Any:
        return do(raycache.connect(), method, *arguments)


def do(cache: Cache, method: str, *arguments: Any) -> Any:
    """One step; what it gives as a plain value."""
    match method:
        case "write":
            path, data = arguments
            with cache.open(path, "wb") as file:
                file.write(data)
        case "read":
            try:
                return cache.read(arguments[0]).to_pybytes()
            except NotFoundError:
                return None
        case "open":
            try:
                with cache.open(arguments[0]) as file:
                    return file.read()
            except NotFoundError:
                return None
        case "delete":
            cache.client.writes.delete(arguments)
        case "move":
            cache.client.writes.move([arguments])
        case "ls":
            return [path.rpartition("/")[2] for path in cache.ls(arguments[0])]
    return None


def processes(count: int) -> list[Any]:
    """One on each node, as far as there are so many."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    wishes = [
        ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(nodes[i % len(nodes)], soft=True)
        for i in range(count)
    ]
    return [Process.options(scheduling_strategy=wish).remote() for wish in wishes]


NAMES = ("a", "b")
#: Two mounts of one directory: each file has two names.
BASES = ("/c/one", "/c/two")


class CloseToOpen(RuleBasedStateMachine):
    """Three processes against a dictionary. Every step has ended before the next begins."""

    cache: ClassVar[Cache]
    actors: ClassVar[list[Any]]
    #: Answers that were what the dictionary says.
    right = 0

    @initialize()
    def begin(self) -> None:
        self.files: dict[str, bytes] = {}
        self.number = 0
        for name in NAMES:
            self.cache.client.writes.delete([f"{BASES[0]}/{name}"])

    def by(self, process: int, method: str, *arguments: Any) -> Any:
        """Process 0 is this one."""
        if process == 0:
            return do(self.cache, method, *arguments)
        return ray.get(self.actors[process - 1].do.remote(method, *arguments), timeout=60)

    @rule(process=st.integers(0, 2), name=st.sampled_from(NAMES), base=st.sampled_from(BASES))
    def write(self, process: int, name: str, base: str) -> None:
        # All of one length: only the content tells versions apart.
        self.number += 1
        data = f"{name} {self.number:06}".encode()
        self.by(process, "write", f"{base}/{name}", data)
        self.files[name] = data

    @rule(process=st.integers(0, 2), name=st.sampled_from(NAMES), base=st.sampled_from(BASES))
    def delete(self, process: int, name: str, base: str) -> None:
        self.by(process, "delete", f"{base}/{name}")
        self.files.pop(name, None)

    @rule(process=st.integers(0, 2), names=st.permutations(NAMES), base=st.sampled_from(BASES))
    def move(self, process: int, names: list[str], base: str) -> None:
        source, target = names
        if source in self.files:
            self.by(process, "move", f"{base}/{source}", f"{base}/{target}")
            self.files[target] = self.files.pop(source)

    @rule(
        process=st.integers(0, 2),
        how=st.sampled_from(["read", "open"]),
        name=st.sampled_from(NAMES),
        base=st.sampled_from(BASES),
    )
    def look(self, process: int, how: str, name: str, base: str) -> None:
        assert self.files.get(name) == self.by(process, how, f"{base}/{name}")
        CloseToOpen.right += 1

    @rule(process=st.integers(0, 2), base=st.sampled_from(BASES))
    def list_all(self, process: int, base: str) -> None:
        assert sorted(self.files) == self.by(process, "ls", base)

    def teardown(self) -> None:
        for process in range(3):
            for name in NAMES:
                for base in BASES:
                    assert self.files.get(name) == self.by(process, "open", f"{base}/{name}")


def test_processes_agree_with_a_dictionary(cache: Cache) -> None:
    """Writes, overwrites, moves, deletes and reads in three processes on several nodes, by two names of each file."""
    lake = tempfile.mkdtemp(prefix="raycache-test-")
    for base in BASES:
        cache.mount(base, f"file://{lake}", metadata_ttl_s=600, readonly=False)
    CloseToOpen.cache, CloseToOpen.actors = cache, processes(2)
    run_state_machine_as_test(
        CloseToOpen,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    assert CloseToOpen.right
    for base in BASES:
        cache.unmount(base, force=True)


def test_a_file_that_was_replaced_past_the_cache_can_be_read_again(cache: Cache) -> None:
    """The first read may find that it was replaced; the next one reads what stands there."""
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(prefix="raycache-test-"))
    size = 3 * cache.client.settings.block_size_bytes
    (folder / "x").write_bytes(b"1" * size)
    cache.mount("/replaced", f"file://{folder}", metadata_ttl_s=600)
    cache.open("/replaced/x").read(100)
    (folder / "x").write_bytes(b"2" * (size + 1))
    assert b"2" * (size + 1) == cache.open("/replaced/x").read()
    cache.unmount("/replaced", force=True)


def test_a_reader_that_stays_open_keeps_its_version_or_says_so(cache: Cache) -> None:
    """An open file never mixes; it is bound to what stood there when it was opened."""
    cache.mount("/stay", f"file://{tempfile.mkdtemp(prefix='raycache-test-')}", metadata_ttl_s=600, readonly=False)
    block = cache.client.settings.block_size_bytes
    do(cache, "write", "/stay/x", b"1" * 3 * block)
    file = cache.open("/stay/x")
    first = file.read(10)
    do(cache, "write", "/stay/x", b"2" * 3 * block)
    assert b"1" * 10 == first
    try:
        rest = file.read()
    except raycache.ConflictError:
        rest = b""
    assert set(rest) <= {ord("1")}
    assert b"2" * 3 * block == cache.open("/stay/x").read()
    cache.unmount("/stay", force=True)
