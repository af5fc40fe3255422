"""The turns of an event loop: how long each kind of work holds it, which may not be long, since everything else waits.

Theory of operation. What runs on a loop is driven through `timed`, which measures the time from each resumption to the next
suspension. A turn above `SLOW_TURN_S` is counted by kind, with the longest. Long work is cut into steps; between two of them
it waits (`over`) for about as long as the step took, so that others get their turns.

A `Pulse` is a thread that says that this process lives, whatever its loop is doing. It falls silent when the loop has not
come round for so long that it counts as hung.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

#: Turns above this are counted.
SLOW_TURN_S = 0.05
#: Between two steps of long work, at most.
_PAUSE_MAX_S = 0.004
#: A loop that has not come round for this long hangs.
HUNG_S = 300.0

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class KindOfTurns(NamedTuple):
    """The turns of one kind."""

    kind: str
    #: How many were slow.
    slow: int
    longest_s: float


class Turns:
    """Counts the slow turns of one loop."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, float]] = {}
        self._began_s = time.monotonic()

    def timed(self, kind: str, work: Coroutine[Any, Any, _Result]) -> Coroutine[Any, Any, _Result]:
        """The same work, measured."""
        return _drive(self, kind, work)

    def note(self, kind: str, took_s: float) -> None:
        """A turn has ended."""
        slow, longest_s = self._kinds.get(kind, (0, 0.0))
        self._kinds[kind] = slow + (took_s > SLOW_TURN_S), max(longest_s, took_s)

    def began(self) -> None:
        """A turn of `timed` work begins."""
        self._began_s = time.monotonic()

    async def over(self) -> None:
        """End a step of long work: others first."""
        await asyncio.sleep(min(_PAUSE_MAX_S, time.monotonic() - self._began_s))
        self._began_s = time.monotonic()

    def kinds(self) -> list[KindOfTurns]:
        """Since this process started."""
        return [KindOfTurns(kind, *counted) for kind, counted in sorted(self._kinds.items())]

    @property
    def slow(self) -> int:
        """Slow turns of all kinds."""
        return sum(slow for slow, _ in self._kinds.values())


@types.coroutine
def _drive(turns: Turns, kind: str, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    send: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        turns.began()
        started_s = time.monotonic()
        try:
            waits_for = send(value)
        except StopIteration as ended:
            return ended.value
        finally:
            turns.note(kind, time.monotonic() - started_s)
        try:
            value, send = (yield waits_for), work.send
        except BaseException as error:  # whatever is thrown in, a cancellation too, is for the work to see
            value, send = error, work.throw


def timed(
    method: Callable[Concatenate[Any, _P], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _Result]]:
    """A method of an actor with `turns`: its own turns are measured under its name."""
    kind = method.__name__.strip("_")

    async def wrapped(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        turns: Turns = self.turns
        return await turns.timed(kind, method(self, *args, **kwargs))

    functools.update_wrapper(wrapped, method)
    return wrapped


class Pulse:
    """Calls `beat` from a thread every `period_s`, as long as the loop comes round.

    Args:
        beat: must not block for long; what it raises is ignored, the next one may be heard.
        period_s: between two.
        hung_s: without `came_round` for so long there is no more pulse.
    """

    def __init__(self, beat: Callable[[], None], period_s: float, hung_s: float = HUNG_S) -> None:
        self._beat = beat
        self._period_s = period_s
        self._hung_s = hung_s
        self._round_s = time.monotonic()
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="raycache-pulse", daemon=True).start()

    def came_round(self) -> None:
        """Called from the loop, every second or so."""
        self._round_s = time.monotonic()

    def stop(self) -> None:
        """No more of it."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._period_s):
            if time.monotonic() - self._round_s < self._hung_s:
                try:
                    self._beat()
                except Exception:  # see `beat`
                    continue
