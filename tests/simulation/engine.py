"""Time, chance and the order of events: what makes a simulation the same each time it is run.

Theory of operation. Everything that happens is an event in one queue, ordered by simulated time and then by the order
it was put there. There are no threads. Code that waits (the client's API is synchronous) calls `wait`, which runs other
events until what it waits for is there; so events may be nested in a waiting reader, a few deep, and a reader goes on
only when those that started later in its wait have ended, as if the machine had been busy elsewhere. All chance comes
from one random source, drawn in the order of events. The digest is a hash over all events and what was noted of them.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeAlias

import xxhash

from raycache.clock import ManualClock

#: Events shown with a failure.
TRAIL_MAX = 60
#: More in one simulation means that something goes round in circles.
STEPS_MAX = 200_000
_FRAMES_MAX = 20_000


#: Starts something that ends later, and gets what is to be called with its result.
Start: TypeAlias = Callable[[Callable[[Any], None]], None]


class ViolationError(AssertionError):
    """An invariant does not hold. `checker` names it."""

    def __init__(self, checker: str, what: str) -> None:
        super().__init__(f"{checker}: {what}")
        self.checker = checker
        self.what = what


class Answer:
    """Something that is waited for."""

    __slots__ = ("done", "done_at_s", "value")

    def __init__(self) -> None:
        self.done = False
        self.done_at_s = 0.0
        self.value: Any = None


class Engine:
    """One simulation's clock, random source and event queue."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.steps = 0
        self.trail: deque[str] = deque(maxlen=TRAIL_MAX)
        #: Called after every event.
        self.after_event: Callable[[], None] = lambda: None
        self._queue: list[tuple[float, int, str, Callable[[], None]]] = []
        self._numbers = itertools.count()
        # Waits within waits, about ten frames each: where answers are slow and much is asked, hundreds.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES_MAX))
        self._digest = xxhash.xxh3_64()

    @property
    def now_s(self) -> float:
        """Simulated seconds."""
        return self.clock.now_s()

    @property
    def digest(self) -> str:
        """Of everything that has happened."""
        return self._digest.hexdigest()

    def after(self, delay_s: float, what: str, action: Callable[[], None]) -> None:
        """Let something happen later. An empty `what` is not worth a line in the log."""
        heapq.heappush(self._queue, (self.now_s + delay_s, next(self._numbers), what, action))

    def note(self, what: str) -> None:
        """Put a line in the log and in the digest."""
        line = f"{self.now_s:.6f} {what}"
        self.trail.append(line)
        self._digest.update(line.encode())

    def step(self) -> None:
        """Let the next event happen."""
        time_s, _, what, action = heapq.heappop(self._queue)
        self.clock.advance(max(0.0, time_s - self.now_s))
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise ViolationError("EverythingIsBounded", f"more than {STEPS_MAX} events")
        if what:
            self.note(what)
        action()
        self.after_event()

    def run_until(self, time_s: float) -> None:
        """Let everything happen that is due by then."""
        while self._queue and self._queue[0][0] <= time_s:
            self.step()
        self.clock.advance(max(0.0, time_s - self.now_s))

    def wait(self, answer: Answer) -> Any:
        """Let other things happen until the answer is there; every answer has a timeout in the queue."""
        while not answer.done:
            if not self._queue:
                raise ViolationError("EverythingIsBounded", "somebody waits for what will never come")
            self.step()
        return answer.value

    def resolve(self, answer: Answer, value: Any) -> bool:
        """Give an answer; False when there is one already."""
        if answer.done:
            return False
        answer.done, answer.value, answer.done_at_s = True, value, self.now_s
        return True


@types.coroutine
def ending(start: Start) -> Generator[Start, Any, Any]:
    """Await something of the simulation: the coroutine goes on with its result when it has ended."""
    return (yield start)


def spawn(work: Coroutine[Start, Any, Any], result: Any = None) -> None:
    """Run a coroutine up to what it awaits, see `ending`; from there on it is events, without threads or a loop."""
    try:
        start = work.send(result)
    except StopIteration:
        return
    start(lambda result: spawn(work, result))
