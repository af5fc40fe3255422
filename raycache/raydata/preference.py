"""What a process wishes of placement: the mode, how long tasks wait for their node, and whether what is cached goes first."""

from __future__ import annotations

import enum
import os

from raycache.errors import InvalidRequestError

_VARIABLE = "RAYCACHE_PLACEMENT"
_WAIT_VARIABLE = "RAYCACHE_PLACEMENT_WAIT_S"
_WAIT_S = 5.0
_ORDER_VARIABLE = "RAYCACHE_PLACEMENT_ORDER"
_CACHED_FIRST, _PLANNED = "cached-first", "planned"


class PlacementMode(enum.Enum):
    """How read tasks are placed; see `modes`."""

    HOOK = "hook"
    LABELS = "labels"
    PLAIN = "plain"


def preferred_mode() -> PlacementMode | None:
    """The mode asked for; None: none.

    Raises:
        InvalidRequestError: the variable names no mode.
    """
    given = os.environ.get(_VARIABLE, "").strip().lower()
    if not given:
        return None
    try:
        return PlacementMode(given)
    except ValueError:
        raise InvalidRequestError(f"{_VARIABLE}={given!r} is unknown; use hook, labels or plain") from None


def hook_is_allowed() -> bool:
    """Whether nobody asks for another mode than HOOK. Nonsense counts as another: `raycache.read_*` says so, others go on."""
    return os.environ.get(_VARIABLE, "").strip().lower() in ("", PlacementMode.HOOK.value)


def placement_wait_s() -> float:
    """How long a read task waits for a node that is starting or busy, before another one takes it over.

    Raises:
        InvalidRequestError: the variable is no number of seconds.
    """
    given = os.environ.get(_WAIT_VARIABLE, "").strip()
    try:
        wait_s = float(given or _WAIT_S)
    except ValueError:
        wait_s = -1.0
    if not wait_s >= 0:
        raise InvalidRequestError(f"{_WAIT_VARIABLE}={given!r} is not a number of seconds, 0 or more")
    return wait_s


def cached_goes_first() -> bool:
    """Whether read tasks whose files are cached start before others (`RAYCACHE_PLACEMENT_ORDER`).

    Raises:
        InvalidRequestError: the variable names no order.
    """
    given = os.environ.get(_ORDER_VARIABLE, "").strip().lower() or _CACHED_FIRST
    if given not in (_CACHED_FIRST, _PLANNED):
        raise InvalidRequestError(f"{_ORDER_VARIABLE}={given!r} is unknown; use {_CACHED_FIRST} or {_PLANNED}")
    return given == _CACHED_FIRST
