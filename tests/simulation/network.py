"""Calls between processes: delayed, reordered, duplicated and lost, and always with a timeout at the caller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from raycache.errors import RaycacheError, UnavailableError

from .engine import Engine

#: Takes a result, or a RaycacheError in its place.
Then: TypeAlias = Callable[[Any], None]


class Process(Protocol):
    """Something that takes calls while it lives."""

    name: str
    alive: bool
    #: Stopped, or busy with one long event: until then it does nothing, and calls to it wait.
    paused_until_s: float

    def receive(self, method: str, arguments: tuple[Any, ...], reply: Then) -> None:
        """Carry a call out; `reply` once, now or later."""
        ...


@dataclass(slots=True)
class Weather:
    """How bad the network is."""

    delay_s: float = 0.005
    #: Shares of messages.
    lost: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0
    #: Of a slow message.
    slow_s: float = 3.0


class Network:
    """Carries calls."""

    def __init__(self, engine: Engine, weather: Weather) -> None:
        self.engine = engine
        self.weather = dataclasses.replace(weather)
        #: Calls whose caller still waits: must be none in the end.
        self.open_calls = 0

    def delay_s(self) -> float:
        """How long one message takes."""
        draw = self.engine.random.random
        if self.weather.slow and draw() < self.weather.slow:
            return draw() * self.weather.slow_s
        return self.weather.delay_s * (0.2 + 2 * draw())

    def call(
        self,
        find: Callable[[], Process | None],
        method: str,
        arguments: tuple[Any, ...],
        timeout_s: float,
        then: Then,
        late: Then | None = None,
    ) -> None:
        """Call a process.

        Args:
            find: gives the process when the message arrives.
            method, arguments: what to call.
            timeout_s: after it the caller gets an UnavailableError.
            then: gets the first answer, exactly once.
            late: gets further ones: after the timeout, or repeated.
        """
        self.open_calls += 1
        waiting = True

        def finish(result: Any) -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                self.open_calls -= 1
                then(result)
            elif late is not None:
                late(result)

        def expire() -> None:
            if waiting:
                finish(UnavailableError(f"{method} was not answered in time"))

        def answer(result: Any) -> None:
            for _ in range(self._copies()):
                self.engine.after(self.delay_s(), f"answer {method}", lambda: finish(result))

        def deliver() -> None:
            process = find()
            if process is None or not process.alive:
                gone: RaycacheError = UnavailableError(f"nobody is there for {method}")
                answer(gone)
            elif process.paused_until_s > self.engine.now_s:
                self.engine.after(process.paused_until_s - self.engine.now_s, f"call {method} waits", deliver)
            else:
                process.receive(method, arguments, answer)

        self.engine.after(timeout_s, "", expire)
        for _ in range(self._copies()):
            self.engine.after(self.delay_s(), f"call {method}", deliver)

    def _copies(self) -> int:
        weather = self.weather
        if not (weather.lost or weather.doubled):
            return 1
        drawn = self.engine.random.random()
        if drawn < weather.lost:
            return 0
        return 2 if drawn < weather.lost + weather.doubled else 1
