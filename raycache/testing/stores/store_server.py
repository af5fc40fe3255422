"""A store's server on this machine, of one program or several: started, waited for, and ended with its data."""

from __future__ import annotations

import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from raycache.errors import UnavailableError
from raycache.testing.processes import ChildProcess, free_port_run


class StoreServer(ABC):
    """The server as a context manager, on ports of its own.

    Raises:
        NotFoundError: at entering: it is not installed here.
        UnavailableError: at entering: it does not come up.
    """

    #: For messages; how long a start may take; and how many ports it takes, the first being `_port`.
    name: str
    start_timeout_s: float = 120.0
    ports: int = 1

    def __init__(self) -> None:
        self._children: list[ChildProcess] = []
        self._directory: Path | None = None
        self._port = free_port_run(self.ports)
        #: Where clients find it; set it, before the start, to that of a proxy before it.
        self.public_url = self.endpoint_url

    def __enter__(self) -> Self:
        directory = self._directory = Path(tempfile.mkdtemp(prefix="raycache-store-"))
        try:
            for number, command in enumerate(self._commands(directory)):
                log = directory / f"{number}.log"
                self._children.append(ChildProcess(command, log, environment=self._environment()))
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        deadline_s = time.monotonic() + self.start_timeout_s
        while not self._answers():
            ended = next((child for child in self._children if not child.alive), None)
            if ended is not None or time.monotonic() > deadline_s:
                log = (ended or self._children[-1]).log_tail()
                raise UnavailableError(f"{self.name} did not come up; its log ends:\n{log}")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """Without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End it, and remove its data. Twice is harmless."""
        for child in reversed(self._children):
            child.kill()
        self._children.clear()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    @abstractmethod
    def _commands(self, directory: Path) -> list[list[str]]:
        """Its programs and their arguments, in the order in which they are started; the directory is for their data."""

    def _environment(self) -> Mapping[str, str] | None:
        """Of its process; None: that of this one."""
        return None

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it has come up."""
