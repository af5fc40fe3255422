"""What a read task of a cached dataset does: take its group's result from the cache, or make it and keep it.

Theory of operation. The plan may say that the result is there; then it is read, and that is all. If it is not, or not any more,
the group is claimed. Whoever has the claim runs the pipeline to its end, keeps the result, and only then gives the
blocks away: so nobody holds a claim while a slow consumer keeps it waiting. Others wait for the result, and read it.

Kept is only what is certain to belong to the fingerprint: the files have the versions of the plan before and after they
were read, and the functions, as they are in this process, have the fingerprint of the plan. Otherwise the rows are given, and
nothing is kept.

Whatever the cache does, the rows come: without it, they are made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import ray
from ray import cloudpickle
from ray.data.block import BlockAccessor

from raycache.client import connection
from raycache.errors import CorruptBlockError, RaycacheError
from raycache.messages.keeping import ClaimState, KeptResult
from raycache.raydata.cached.kept_blocks import pack, unpack
from raycache.raydata.cached.pipelines import Pipeline
from raycache.raydata.cached.shelf import Shelf
from raycache.raydata.cached.sources import Group
from raycache.types import WorkerId

logger = logging.getLogger("raycache")

#: Pipelines that a process has unpickled, by fingerprint.
_PIPELINES_MAX = 4
_pipelines: dict[str, tuple[Pipeline, bool]] = {}
_lock = threading.Lock()


class Plan(NamedTuple):
    """What all tasks of an execution share."""

    fingerprint: str
    #: Of the pickled `Pipeline`, in a list, so that it is not fetched with the task.
    pipeline: list[Any]
    #: Who makes claims.
    execution: str
    compression: str | None


class GroupRead:
    """A read function over one group. Pickles.

    Args:
        plan: of the execution.
        key: of the result.
        source: gives the input of the pipeline; see `sources`.
        group: its files.
        origin: see `KeptResult.origin`.
        known: the result, and who holds it, when the plan has found it.
    """

    def __init__(
        self,
        plan: Plan,
        key: str,
        source: Any,
        group: Group,
        origin: str,
        known: tuple[KeptResult, tuple[tuple[WorkerId, int], ...]] | None,
    ) -> None:
        self._plan = plan
        self._key = key
        self._source = source
        self._paths, self._versions = list(group.paths), list(group.versions)
        self._origin = origin
        self._known = known

    @property
    def __name__(self) -> str:
        return "read_cached"

    def __call__(self) -> Iterable[Any]:
        yield from self.blocks(self.read_known([self])[0])

    def found(self) -> list[Any] | None:
        """The blocks of the result that the plan has found; None: there is none, or it is gone."""
        return self.read_known([self])[0]

    @staticmethod
    def read_known(reads: Sequence[GroupRead]) -> list[list[Any] | None]:
        """The blocks of the results that the plan has found, read together; None: there is none, or it is gone."""
        known = [read._known for read in reads]  # noqa: SLF001
        wanted = [each for each in known if each is not None]
        try:
            contents = iter(Shelf(connection.connect()).read(wanted) if wanted else ())
        except RaycacheError as error:
            logger.warning("results cannot be read: %s", error)
            return [None] * len(reads)
        return [None if each is None else _unpacked(each[0], next(contents)) for each in known]

    def blocks(self, found: list[Any] | None) -> Iterator[Any]:
        """The blocks of the group.

        Args:
            found: of the result that the plan has found, if it was there.
        """
        if found is not None:
            yield from found
            return
        try:
            yield from self._through_cache()
            return
        except RaycacheError as error:
            logger.warning("a group is made without the cache: %s", error)
        yield from self._run(_pipeline(self._plan)[0])[0]

    def _through_cache(self) -> Iterator[Any]:
        shelf = Shelf(connection.connect())
        gone = "" if self._known is None else self._known[0].etag
        while True:
            reply = shelf.claim(self._key, self._plan.execution, gone)
            if reply.state != ClaimState.KEPT or reply.result is None:
                break
            (content,) = shelf.read([(reply.result, reply.holders)])
            found = _unpacked(reply.result, content)
            if found is not None:
                yield from found
                return
            gone = reply.result.etag
        if reply.state == ClaimState.TAKEN:
            blocks, _ = self._run(_pipeline(self._plan)[0])
        else:
            blocks = self._make(shelf)
        yield from blocks

    def _make(self, shelf: Shelf) -> list[Any]:
        with shelf.claimed(self._key, self._plan.execution) as done:
            pipeline, is_same = _pipeline(self._plan)
            certain = is_same and self._has_versions(fresh=True)
            blocks, cpu_s = self._run(pipeline)
            if not certain or not self._has_versions():
                return blocks
            try:
                rows = sum(BlockAccessor.for_block(block).num_rows() for block in blocks)
                if shelf.keep(self._key, pack(blocks, self._plan.compression), rows, cpu_s, self._origin) is not None:
                    done()
            except RaycacheError as error:
                logger.warning("a result is not kept: %s", error)
        return blocks

    def _run(self, pipeline: Pipeline) -> tuple[list[Any], float]:
        """The blocks, and what it took: CPU seconds of this process."""
        started_s = time.process_time()
        blocks = pipeline.run(self._source.blocks())
        return blocks, time.process_time() - started_s

    def _has_versions(self, *, fresh: bool = False) -> bool:
        """Whether this process reads the versions that the result is named by."""
        locator = connection.connect().locator
        if [meta.version for meta in locator.resolve(self._paths)] == self._versions:
            return True
        if not fresh:
            return False
        # It may have looked at them before they were replaced.
        locator.forget_files(self._paths)
        return [meta.version for meta in locator.resolve(self._paths)] == self._versions


class PackRead:
    """A read function over several groups, which the plan has found; see `packing`. Pickles."""

    def __init__(self, reads: Sequence[GroupRead]) -> None:
        self._reads = list(reads)

    @property
    def __name__(self) -> str:
        return "read_cached"

    def found(self) -> list[Any] | None:
        """The blocks of all, if they are all there."""
        found = GroupRead.read_known(self._reads)
        return None if any(each is None for each in found) else [block for each in found for block in each or ()]

    def __call__(self) -> Iterable[Any]:
        found = GroupRead.read_known(self._reads)
        for position, read in enumerate(self._reads):
            blocks, found[position] = found[position], None
            yield from read.blocks(blocks)


def _unpacked(result: KeptResult, content: Any) -> list[Any] | None:
    try:
        return None if content is None else unpack(content)
    except CorruptBlockError as error:
        logger.warning("%s: %s", result.path, error)
        return None


def _pipeline(plan: Plan) -> tuple[Pipeline, bool]:
    """The pipeline in this process; and whether it is what the plan was made for."""
    with _lock:
        known = _pipelines.get(plan.fingerprint)
        if known is None:
            pipeline: Pipeline = cloudpickle.loads(ray.get(plan.pipeline[0]))
            is_same = pipeline.told.fingerprint() == plan.fingerprint
            if not is_same:
                logger.warning(
                    "%s is something else in this process than in the driver; nothing is kept", pipeline.name
                )
            known = pipeline, is_same
            while len(_pipelines) >= _PIPELINES_MAX:
                del _pipelines[next(iter(_pipelines))]
            _pipelines[plan.fingerprint] = known
        return known
