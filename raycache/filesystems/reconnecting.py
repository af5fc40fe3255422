"""Calls that find their cache gone are made again, once, by a new connection: another process may have started it anew.

A connection that was good within the last seconds is used without asking (`connection.current`), so the first call is where
that is noticed. Nothing has been done by then.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from raycache.client import connection
from raycache.errors import NoCacheError

Filesystem = TypeVar("Filesystem", bound=type)


def reconnecting(*names: str) -> Callable[[Filesystem], Filesystem]:
    """Have these methods of a class be called again; a decorator of the class."""

    def decorated(cls: Filesystem) -> Filesystem:
        for name in names:
            setattr(cls, name, _called_again(inspect.getattr_static(cls, name)))
        return cls

    return decorated


def _called_again(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except NoCacheError:
            connection.reconnect()
        return method(*arguments, **options)

    return called
