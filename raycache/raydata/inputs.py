"""The inputs of placed read tasks, as Ray Data takes them: what to read, on which node.

Theory of operation. Ray Data hands a read task its work as an object of the object store, and makes the objects of all
tasks before it starts the first. Each costs a millisecond or more, so that many tasks wait long for the first row. Here
a task becomes an object when its reference is first asked for; what is looked at before that (sizes, counts) is known
without it. Who asks earlier gets the reference earlier, and nothing else changes. The operator asks when the task before
it on the same node has started.

Once made, the objects stay as long as the inputs do: they are the roots that lost blocks are made from again.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.data._internal.execution.interfaces import BlockEntry, RefBundle
from ray.data._internal.planner import plan_read_op as stock
from ray.data.block import BlockMetadata
from ray.data.datasource.datasource import ReadTask

from raycache.errors import RaycacheError
from raycache.raydata.queueing.cached_now import CachedNow
from raycache.raydata.queueing.dispatch import DispatchQueue

logger = logging.getLogger("raycache")

_making = threading.Lock()


@dataclasses.dataclass(frozen=True)
class LocatedMetadata(BlockMetadata):  # type: ignore[misc]
    """Metadata of a read task's input, with the node that should run it (hex id)."""

    node: str | None = None
    #: All inputs of this execution, where their order is free. Stays in the process that executes.
    queue: DispatchQueue[RefBundle] | None = dataclasses.field(default=None, compare=False, repr=False)
    #: Names of the files it reads, where the queue is to know. Stays in that process, too.
    files: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)
    #: Has what the task reads loaded, before it starts. As that.
    announce: Callable[[], None] | None = dataclasses.field(default=None, compare=False, repr=False)
    #: Gives the task's blocks where it is executed, without a task; see `cached.at_once`. As that.
    at_once: Callable[[], list[Any] | None] | None = dataclasses.field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "queue": None, "announce": None, "at_once": None, "files": ()}


class TaskEntry(BlockEntry):  # type: ignore[misc]
    """What one task is told, which `ref` makes an object. Pickles as an entry with that reference."""

    __slots__ = ("_ref", "_task")
    # Each is one of its kind; comparing by reference would make it.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, task: Any, metadata: LocatedMetadata, ref: Any = None) -> None:
        # The base class is frozen.
        for name, value in (("_task", task), ("_ref", ref), ("metadata", metadata)):
            object.__setattr__(self, name, value)

    @property
    def ref(self) -> Any:
        """The reference, the same each time."""
        with _making:
            if self._ref is None:
                object.__setattr__(self, "_ref", ray.put(self._task))
                object.__setattr__(self, "_task", None)
            return self._ref

    @property
    def is_made(self) -> bool:
        """Whether there is an object yet."""
        return self._ref is not None

    def __reduce__(self) -> tuple[Any, ...]:
        return BlockEntry, (self.ref, self.metadata)


class _References(Sequence[Any]):
    """The references of some entries; counting them makes none."""

    def __init__(self, entries: Sequence[BlockEntry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        found = self._entries[index]
        return [entry.ref for entry in found] if isinstance(index, slice) else found.ref

    def __iter__(self) -> Iterator[Any]:
        return (entry.ref for entry in self._entries)


@dataclasses.dataclass(frozen=True, eq=False)
class TaskBundle(RefBundle):  # type: ignore[misc]
    """A bundle of `TaskEntry`s."""

    @property
    def block_refs(self) -> Sequence[Any]:
        return _References(self.blocks)

    def __hash__(self) -> int:
        return hash((self.blocks, self.slices, self.output_split_idx))


def inputs(
    tasks: Sequence[tuple[ReadTask, str | None]],
    cpus: Mapping[str, float],
    *,
    ordered: bool,
    patience_s: float = 0.0,
    announce: Callable[[ReadTask], Callable[[], None] | None] = lambda _: None,
) -> list[RefBundle]:
    """One bundle per read task.

    Args:
        tasks: shape (T,), in the order they should start, each with its node.
        cpus: per node.
        ordered: they have to start in that order.
        patience_s: see `DispatchQueue`.
        announce: makes what has a task's files loaded; None: nothing is to be.

    Returns:
        Shape (T,). Only the first is an object by now; its size stands for the others', which differ in a few paths.
    """
    bundles: list[RefBundle] = []
    about: Any = None
    for task, node in tasks:
        reference = None
        if about is None:
            reference = ray.put(task)
            about = stock._derive_metadata(task, reference)  # noqa: SLF001
        bundles.append(bundle(task, about, node, reference, announce=announce(task)))
    nodes = [node for _, node in tasks if node is not None]
    if len(nodes) == len(tasks) and not ordered:
        queue = DispatchQueue(list(zip(bundles, nodes, strict=True)), cpus, patience_s)
        for each in bundles:
            object.__setattr__(located_metadata(each), "queue", queue)
    return bundles


def keep_cached_first(bundles: Sequence[RefBundle], files: Sequence[Sequence[str]], cached: CachedNow) -> None:
    """Let what is cached go first, as long as there is something to start.

    Args:
        bundles: shape (T,), of `inputs`.
        files: shape (T,): the names of those that each reads.
        cached: asked again and again, in a thread.
    """
    located = located_metadata(bundles[0]) if bundles else None
    if located is not None and located.queue is not None:
        located.queue.on_start = cached.started
        cached.begin(located.queue, list(enumerate(files)))
        cached.is_open = False
        cached.watch(located.queue)


def bundle(
    task: Any,
    about: BlockMetadata,
    node: str | None,
    reference: Any = None,
    queue: DispatchQueue[RefBundle] | None = None,
    announce: Callable[[], None] | None = None,
    files: Sequence[str] = (),
) -> RefBundle:
    """One task's bundle; `about` describes the input, not what it reads. With a reference the task is an object."""
    fields = {field.name: getattr(about, field.name) for field in dataclasses.fields(about) if field.init}
    entry = TaskEntry(
        None if reference is not None else task,
        LocatedMetadata(**fields, node=node, queue=queue, announce=announce, files=tuple(files)),
        reference,
    )
    # Not owned by the operator, which would free what lost blocks are made from again.
    return TaskBundle((entry,), owns_blocks=False, schema=None)


def make(bundle: RefBundle) -> None:
    """Make the tasks of a bundle objects, those that are none yet."""
    for entry in bundle.blocks:
        entry.ref  # noqa: B018  # asking makes it


def announce_files(bundle: RefBundle) -> None:
    """Have what a bundle's task reads loaded, where that is to be done here; once."""
    located = located_metadata(bundle)
    if located is not None and located.announce is not None:
        call = located.announce
        object.__setattr__(located, "announce", None)
        try:
            call()
        except RaycacheError as error:
            # The task goes on, and says what is wrong if it concerns it.
            logger.debug("files could not be announced: %s", error)


def located_metadata(bundle: RefBundle) -> LocatedMetadata | None:
    """What a bundle says of its node; None of a bundle that is not of a placed read."""
    return next((metadata for metadata in bundle.metadata if isinstance(metadata, LocatedMetadata)), None)
