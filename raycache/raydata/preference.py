"""The mode of placement that `RAYCACHE_PLACEMENT` asks for, if any."""

from __future__ import annotations

import enum
import os

from raycache.errors import InvalidRequestError

_VARIABLE = "RAYCACHE_PLACEMENT"


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
