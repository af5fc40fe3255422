"""Tasks beside the calls of an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


async def watched(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; a defect is said, and the loop goes on."""
    try:
        await work
    except Exception:  # a defect: said, and the loops go on
        _log.exception("%s broke off", work)


async def until(settled: Callable[[], bool], looks_max: int, period_s: float) -> None:
    """Wait for something to settle, for `looks_max` looks at most."""
    for _ in range(looks_max):
        if settled():
            break
        await asyncio.sleep(period_s)
