"""What is announced: the missing blocks, to whom they belong, and nothing where all are held."""

from __future__ import annotations

from raycache.client.file_meta import FileMeta
from raycache.client.reading.prefetch import prefetch_calls
from raycache.client.topology import Topology
from raycache.messages import BlockRequest, decode
from raycache.ranges import Grid
from raycache.types import FileKind, FileVersion, MembershipView, WorkerView

BLOCK_BYTES = 8
VIEW = MembershipView(1, (WorkerView("n", 1, 100, "worker-n"),))


def meta(name: str, held: dict[str, int]) -> FileMeta:
    """A file of two blocks, and which of them (a bit mask) each worker is known to hold."""
    file = FileVersion(f"s3://b/{name}", 2 * BLOCK_BYTES, "e", 0)
    return FileMeta(f"/b/{name}", FileKind.FILE, file, tuple(held.items()), 60.0)


def announced(*metas: FileMeta, bytes_max: int = 1000) -> list[BlockRequest]:
    """What workers are asked for, all blocks being wanted."""
    topology = Topology(VIEW, "n", 1, Grid(BLOCK_BYTES, BLOCK_BYTES), BLOCK_BYTES, 1)
    calls = prefetch_calls([(found, range(2)) for found in metas], bytes_max, topology)
    return [decode(call.arguments[0]) for call in calls]


def test_what_is_held_is_not_announced() -> None:
    """A task over cached files asks nobody for anything."""
    assert announced(meta("a", {"n": 3}), meta("b", {"n": 3})) == []


def test_what_is_missing_is_announced_beside_what_is_held() -> None:
    """Only the missing blocks travel, of the right files; what only a lost worker held is missing."""
    (request,) = announced(meta("a", {"n": 3}), meta("b", {"n": 1}), meta("c", {"gone": 3}))
    files = request.files.versions()
    wanted = {(files[index].uri, block) for index, block in zip(request.file_index, request.block_index, strict=True)}
    assert wanted == {("s3://b/b", 1), ("s3://b/c", 0), ("s3://b/c", 1)}


def test_no_more_is_announced_than_wanted() -> None:
    """The block that reaches the bound is the last."""
    (request,) = announced(meta("a", {}), meta("b", {}), bytes_max=BLOCK_BYTES + 1)
    assert len(request.block_index) == 2
