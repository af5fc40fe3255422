"""The door of the master: what is asked of it before it has read its journal waits a little, and is told why.

A method's result or error becomes a reply blob here, so that errors keep their class.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from raycache.errors import RaycacheError, UnavailableError
from raycache.messages import encode

P = ParamSpec("P")

#: A journal is read in a moment, usually; callers have longer time-outs than this.
_WAIT_S = 5.0


class MasterGate:
    """Shut until the master knows what earlier ones knew."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        #: Why it is shut still; "" while nothing has gone wrong.
        self.trouble = ""

    @property
    def is_open(self) -> bool:
        """Whether questions are answered."""
        return self._opened.is_set()

    def open(self) -> None:
        """Answer from now on."""
        self.trouble = ""
        self._opened.set()

    async def passed(self) -> None:
        """Wait a little for it to open.

        Raises:
            UnavailableError: it did not.
        """
        if not self._opened.is_set():
            try:
                await asyncio.wait_for(self._opened.wait(), _WAIT_S)
            except TimeoutError:
                raise self.refusal() from None

    def refusal(self) -> UnavailableError:
        """What to tell who cannot wait."""
        return UnavailableError(
            f"the cache master is reading its journal; try again{self.trouble and ': '}{self.trouble}"
        )


class Gated(Protocol):
    """What has such a door."""

    _gate: MasterGate


S = TypeVar("S", bound=Gated)


def replies(method: Callable[Concatenate[S, P], Awaitable[Any]]) -> Callable[Concatenate[S, P], Awaitable[bytes]]:
    """Answer once the gate is open."""

    @replies_at_once
    @functools.wraps(method)
    async def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        await self._gate.passed()
        return await method(self, *args, **kwargs)

    return wrapped


def replies_at_once(
    method: Callable[Concatenate[S, P], Awaitable[Any]],
) -> Callable[Concatenate[S, P], Awaitable[bytes]]:
    """Answer whether or not the gate is open: for those who must not wait."""

    @functools.wraps(method)
    async def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> bytes:
        try:
            return encode((True, await method(self, *args, **kwargs)))
        except RaycacheError as error:
            return encode((False, error))

    return wrapped
