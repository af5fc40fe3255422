"""A Python process on a host, such as a driver of the Ray cluster there, and calls of functions in it from outside.

A program is on one host for good, so whoever wants to read on another host needs a process there. Functions are named
"package.module:function"; what they take and return is JSON. A function may say things before it returns
(`interpreter_loop.tell`), which whoever waits can act on.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from raycache.errors import UnavailableError
from raycache.testing.hosts.machines import Machine

_PROGRAM = "from raycache.testing.hosts.interpreter_loop import main; main()"


class Interpreter:
    """One process; one call at a time.

    Args:
        machine: where.
        name: of its log, in the machine's directory.
        environment: added to this process's.
    """

    def __init__(self, machine: Machine, name: str, environment: Mapping[str, str] | None = None) -> None:
        self._machine = machine
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.log_path = machine.directory / f"{name}.log"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                machine.entering([sys.executable, "-c", _PROGRAM]),
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        threading.Thread(target=self._listen, name=f"interpreter-{name}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def call(self, function: str, timeout_s: float = 120.0, **arguments: Any) -> Any:
        """Call a function and wait for what it returns; what it tells meanwhile is dropped.

        Raises:
            UnavailableError: it raised, the process ended, or it took too long.
        """
        self.begin(function, **arguments)
        return self.result(timeout_s)

    def begin(self, function: str, **arguments: Any) -> None:
        """Call a function; `event` and `result` wait."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"function": function, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def event(self, timeout_s: float = 120.0) -> Any:
        """The next thing that the function tells.

        Raises:
            UnavailableError: it returned or raised instead, the process ended, or it took too long.
        """
        message = self._next(timeout_s)
        if "event" not in message:
            raise UnavailableError(f"the function ended without a word: {message}")
        return message["event"]

    def result(self, timeout_s: float = 120.0) -> Any:
        """What the function returns; see `call`. The time starts again with whatever it tells."""
        while "event" in (message := self._next(timeout_s)):
            pass
        return message["result"]

    def stop(self) -> None:
        """End the process. Twice is harmless."""
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _next(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise UnavailableError(
                f"no answer within {timeout_s:g} s from {self._machine.name}; see {self.log_path}"
            ) from None
        if line is None:
            raise self._ended()
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise UnavailableError(f"on {self._machine.name}: {message['error']}")
        return message

    def _ended(self) -> UnavailableError:
        tail = self.log_path.read_text("utf-8", "replace")[-2000:] if self.log_path.exists() else ""
        return UnavailableError(f"the interpreter on {self._machine.name} has ended; its log ends:\n{tail}")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        # `stop` closes the pipe below this thread, which then has nothing more to bring.
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)
