"""A store's server that is one program: started, waited for, and ended with its data."""

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
    """The server as a context manager, on a port of its own.

    Raises:
        NotFoundError: at entering: it is not installed here.
        UnavailableError: at entering: it does not come up.
    """

    #: For messages, and how long a start may take.
    name: str
    start_timeout_s: float = 120.0

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        self._port = free_port_run(1)
        #: Where clients find it; set it, before the start, to that of a proxy before it.
        self.public_url = self.endpoint_url

    def __enter__(self) -> Self:
        command = self._command()
        self._directory = Path(tempfile.mkdtemp(prefix="raycache-store-"))
        self._child = ChildProcess(command, self._directory / "server.log", environment=self._environment())
        deadline_s = time.monotonic() + self.start_timeout_s
        while not self._answers():
            if not self._child.alive or time.monotonic() > deadline_s:
                log = self._child.log_tail()
                self.stop()
                raise UnavailableError(f"{self.name} did not come up; its log ends:\n{log}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """Without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End it. Twice is harmless."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments."""

    def _environment(self) -> Mapping[str, str] | None:
        """Of its process; None: that of this one."""
        return None

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it has come up."""
