"""What a worker says it holds, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator

from raycache.client.ports import ActorCalls, WorkerCall
from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import InventoryReply, InventoryRequest, decode, encode
from raycache.rules import Pattern

_PAGE_FILES = 20_000
_TIMEOUT_S = 60.0


def inventory_pages(calls: ActorCalls, actor_name: str) -> Iterator[InventoryReply]:
    """All files of which a worker holds blocks, by URI and version.

    Raises:
        UnavailableError: the worker does not answer.
    """
    request = InventoryRequest([Pattern("")], None, _PAGE_FILES)
    while True:
        (answer,) = calls.workers([WorkerCall(actor_name, "inventory", (encode(request),))], _TIMEOUT_S)
        if isinstance(answer, RaycacheError):
            raise UnavailableError(f"worker {actor_name} did not say what it holds: {answer}; try again")
        page: InventoryReply = decode(answer)
        yield page
        if page.after is None:
            return
        request = request._replace(after=page.after)
