"""How much of the object store the memory tier may hold, and who may wait for an object: rules, no Ray."""

from __future__ import annotations

import asyncio

import pytest

from raycache.settings import OBJECT_STORE_SHARE_MAX
from raycache.workers.stores.plasma import StoreUse, room_bytes, wait_for

STORE = 1000
LIMIT = int(STORE * OBJECT_STORE_SHARE_MAX)


def test_others_take_from_the_room() -> None:
    """What is the cache's own does not count against it; there is never less than none."""
    use = StoreUse(400, 0)
    assert room_bytes(STORE, 300, use, use) == LIMIT - 100
    assert room_bytes(STORE, 500, use, use) == LIMIT
    assert room_bytes(STORE, 0, StoreUse(900, 0), use) == 0


def test_what_ray_has_spilled_is_not_held() -> None:
    """Others hold 600, Ray has spilled the cache's 300 and dropped them: it gives up what it holds in name only."""
    before = StoreUse(800, 0)
    assert room_bytes(STORE, 300, StoreUse(600, 300), before) == LIMIT - 600 < 300
    assert room_bytes(STORE, 300, StoreUse(900, 300), before) == 0
    # Nothing was spilled since: the usual sum.
    assert room_bytes(STORE, 100, StoreUse(700, 300), StoreUse(900, 300)) == LIMIT - 600


def test_an_event_loop_may_not_wait_for_an_object() -> None:
    """Everybody on the loop would wait with it: that is an error, before Ray is asked."""

    async def wait() -> None:
        wait_for(object(), 1.0)

    with pytest.raises(AssertionError, match="in a thread"):
        asyncio.run(wait())
