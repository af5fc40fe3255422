"""Results that were made on this node, on their way into the tiers.

A result comes as an object of the object store. For a moment it is offered as if it stood in a lake; so it is loaded like
anything else, within the quotas and into the tier that has room.
"""

from __future__ import annotations

from typing import Any

from raycache.messages import BlockRequest, Purpose, Selector
from raycache.messages.keeping import KeepRequest
from raycache.types import WorkerId
from raycache.ufs.kept_files.kept_storage import kept_storage
from raycache.workers.stores.plasma import wait_for
from raycache.workers.threads import ThreadPorts


async def take_in(
    request: KeepRequest, reference: Any, ports: ThreadPorts, node: WorkerId, block_size_bytes: int
) -> bool:
    """Load a result.

    Args:
        request: says which.
        reference: of its bytes.
        ports: of the worker.
        node: the worker's.
        block_size_bytes: of the cache.

    Returns:
        False when there is no room for all of it; then nothing of it stays.
    """
    file = request.result.file
    try:
        content = await ports.in_thread(wait_for, reference, request.timeout_s)
    except Exception:  # whoever made it has ended, or the object store is full
        return False
    storage = kept_storage()
    storage.offer(request.result.key, file.etag, content)
    try:
        states = (await ports.ask(BlockRequest.whole(node, file, block_size_bytes, Purpose.PREFETCH))).states
    finally:
        storage.withdraw(request.result.key, file.etag)
    if all(state.served for state in states):
        return True
    _, effects = ports.service.free(Selector([], [file.id()]), True, ports.now_s())
    ports.run(effects)
    return False
