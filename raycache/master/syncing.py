"""Carries a sync out: lists the lake in threads, takes every part in on the event loop, asks workers what they hold.

Parts wait for the loop one per thread, so a listing of any length is never ahead by more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any

from raycache.errors import UnavailableError
from raycache.master.namespace.bulkheads import unless_stalled
from raycache.master.namespace.comparison import ListKeys, ReadInventories, Sync
from raycache.master.namespace.lister import DisorderError, KeyRange, Lister
from raycache.master.service import MasterService
from raycache.messages import (
    FileColumns,
    InventoryReply,
    InventoryRequest,
    MountInfo,
    SyncReply,
    SyncRequest,
    Tally,
    decode,
    encode,
)
from raycache.rules import Pattern
from raycache.types import FileVersion

_PAGE_FILES = 20_000
_INVENTORY_TIMEOUT_S = 30.0
#: A part is taken in within milliseconds, unless the actor is ending.
_TAKE_TIMEOUT_S = 60.0

Inventory = Callable[[bytes], Coroutine[Any, Any, bytes]]
Pages = Callable[[MountInfo, str, Callable[[KeyRange], None]], None]


async def run_sync(
    request: SyncRequest,
    service: MasterService,
    lister_of: Callable[[MountInfo], Lister],
    threads_of: Callable[[MountInfo], Executor],
    inventories: Sequence[Inventory],
    now_s: Callable[[], float],
) -> SyncReply:
    """Compare each pattern with the lake.

    Args:
        request: what to compare.
        service: where the parts go.
        lister_of: lists the store of a mount; not the one of look-ups that readers wait for.
        threads_of: where listings of a mount's store wait.
        inventories: asks one live worker each.
        now_s: the time.

    Raises:
        NotFoundError: a pattern is under no mount, or nothing is there.
        DeniedError, UnavailableError: the lake cannot be listed. What was found out before is known, no version that
            the lake has is dropped.
    """

    def in_order(mount: MountInfo, prefix: str, take: Callable[[KeyRange], None]) -> None:
        lister_of(mount).pages(mount, prefix, take, ordered=True)

    def at_once(mount: MountInfo, prefix: str, take: Callable[[KeyRange], None]) -> None:
        lister_of(mount).whole(mount, prefix, take)

    total = SyncReply(Tally(), Tally(), Tally(), Tally(), FileColumns([], [], [], []), [])
    for pattern in request.patterns:
        left = request._replace(files_max=request.files_max - len(total.files.uris))
        try:
            sync = await _compare(pattern, left, service, in_order, threads_of, inventories, now_s())
        except DisorderError:
            sync = await _compare(pattern, left, service, at_once, threads_of, inventories, now_s())
        total = _plus(total, sync.result())
    return total


async def _compare(
    pattern: Pattern,
    request: SyncRequest,
    service: MasterService,
    pages: Pages,
    threads_of: Callable[[MountInfo], Executor],
    inventories: Sequence[Inventory],
    now_s: float,
) -> Sync:
    sync = service.catalog.begin_sync(pattern, request, now_s)
    for step in sync.steps(service.invalidate):
        match step:
            case ReadInventories(take):
                await asyncio.gather(*(_page_through(pattern, ask, take) for ask in inventories))
            case ListKeys():
                await _list(sync.mount, step, pages, threads_of(sync.mount))
    return sync


async def _list(mount: MountInfo, step: ListKeys, pages: Pages, threads: Executor) -> None:
    loop = asyncio.get_running_loop()
    moved = 0

    async def on_loop(part: KeyRange) -> None:
        nonlocal moved
        moved += 1
        step.take(part)

    def take(part: KeyRange) -> None:
        try:
            asyncio.run_coroutine_threadsafe(on_loop(part), loop).result(_TAKE_TIMEOUT_S)
        except TimeoutError:
            raise UnavailableError("the master is too busy to take a listing in; sync again") from None

    await unless_stalled(loop.run_in_executor(threads, pages, mount, step.prefix, take), lambda: moved)


async def _page_through(pattern: Pattern, ask: Inventory, take: Callable[[list[FileVersion]], object]) -> None:
    """Hand over what one worker holds, page by page; nothing more of one that does not answer."""
    request = InventoryRequest([pattern], None, _PAGE_FILES)
    while True:
        try:
            reply: InventoryReply = decode(await asyncio.wait_for(ask(encode(request)), _INVENTORY_TIMEOUT_S))
        except Exception:
            # It has died, or hangs: what it holds is looked at by the next sync.
            return
        take(reply.files.versions())
        if reply.after is None:
            return
        request = request._replace(after=reply.after)


def _plus(one: SyncReply, other: SyncReply) -> SyncReply:
    return SyncReply(
        one.added.plus(other.added),
        one.changed.plus(other.changed),
        one.removed.plus(other.removed),
        one.unchanged.plus(other.unchanged),
        FileColumns.of(one.files.versions() + other.files.versions()),
        one.removed_uris + other.removed_uris,
    )
