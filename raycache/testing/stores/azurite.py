"""A server of Azure Blob Storage on this machine: Azurite, Microsoft's own, from npm (`npm install azurite`).

It keeps blobs in memory, checks signatures, and heeds conditions. It has no hierarchical accounts and no Entra ID.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from raycache.errors import NotFoundError, UnavailableError
from raycache.testing.processes import ChildProcess, free_port_run
from raycache.ufs.clouds.azure_credentials import AzureCredentials
from raycache.ufs.clouds.azure_options import AzureOptions
from raycache.ufs.http.http_client import HttpClient

_START_TIMEOUT_S = 120.0
_ACCOUNT = "raycache"
_KEY = base64.b64encode(b"a key for tests").decode()
#: Where `make test-stores` installs it.
_INSTALLED = Path("build/stores/node_modules/.bin/azurite-blob")


class AzuriteServer:
    """The server as a context manager."""

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        self._port = free_port_run(1)
        #: Where clients find it; set it to that of a proxy before it.
        self.public_url = self.endpoint_url

    def __enter__(self) -> Self:
        program = _program()
        self._directory = Path(tempfile.mkdtemp(prefix="raycache-azure-"))
        self._child = ChildProcess(
            [
                str(program), "--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--inMemoryPersistence",
                "--silent", "--disableTelemetry", "--skipApiVersionCheck",
            ],
            self._directory / "server.log",
            environment={**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"},
        )  # fmt: skip
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if not self._child.alive or time.monotonic() > deadline_s:
                log = self._child.log_tail()
                self.stop()
                raise UnavailableError(f"Azurite did not come up; its log ends:\n{log}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """Without the account, and without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    def options(self, **more: object) -> dict[str, object]:
        """Of a mount."""
        where = {"endpoint_url": f"{self.public_url}/{_ACCOUNT}", "account_name": _ACCOUNT}
        return {**where, "account_key": _KEY, **more}

    def make_container(self, name: str) -> str:
        """Make a container, and return its name."""
        options = AzureOptions.parse("", self.options())
        url, headers = AzureCredentials(options, f"abfs://{name}").signed(
            "PUT", f"{options.endpoint_url}/{name}?restype=container", {"Content-Length": "0"}
        )
        answer = HttpClient(options.reach).send("PUT", url, headers, b"")
        if answer.status not in (201, 409):
            raise UnavailableError(f"Azurite made no container {name}: {answer.status}")
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
            with socket.create_connection(("127.0.0.1", self._port), timeout=5):
                return True
        except OSError:
            return False


def _program() -> Path:
    found = shutil.which(_INSTALLED) or shutil.which("azurite-blob")
    if found is None:
        raise NotFoundError("Azurite is missing; install it by npm: npm install --prefix build/stores azurite")
    return Path(found).absolute()
