"""A server of Azure Blob Storage on this machine: Azurite, Microsoft's own, from npm (`npm install azurite`).

It keeps blobs in memory, checks signatures, and heeds conditions. It has no hierarchical accounts and no Entra ID.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
from pathlib import Path

from raycache.errors import NotFoundError, UnavailableError
from raycache.testing.stores.store_server import StoreServer
from raycache.ufs.clouds.azure_credentials import AzureCredentials
from raycache.ufs.clouds.azure_options import AzureOptions
from raycache.ufs.http.http_client import HttpClient

_ACCOUNT = "raycache"
_KEY = base64.b64encode(b"a key for tests").decode()
#: Where `make test-stores` installs it.
_INSTALLED = Path("build/stores/node_modules/.bin/azurite-blob")


class AzuriteServer(StoreServer):
    """The server as a context manager; its URLs are without the account."""

    name = "Azurite"

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

    def _commands(self, directory: Path) -> list[list[str]]:
        del directory  # all is in memory
        return [[
            str(_program()), "--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--inMemoryPersistence",
            "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        ]]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"}

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
