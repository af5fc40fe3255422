"""Kept results, as a process that makes or reads them sees them: the calls to the master and to its node's worker."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import xxhash

from raycache.client.client import Client
from raycache.client.file_meta import FileMeta
from raycache.client.ports import WorkerCall
from raycache.client.reading.reader import Request
from raycache.errors import ConflictError, NotFoundError, RaycacheError, UnavailableError
from raycache.messages import MountInfo, decode, encode
from raycache.messages.keeping import (
    CLAIM_S,
    MOUNT_PATH,
    MOUNT_URI,
    ClaimReply,
    ClaimState,
    FindReply,
    KeepRequest,
    KeptResult,
    etag_of,
)
from raycache.types import FileKind

#: How long to wait before a result is asked for again that somebody else makes: from, to.
_PAUSES_S = (0.05, 0.5)
#: How long somebody else may take; then it is made here, too, and not kept.
_PATIENCE_S = 3600.0
_KEEP_TIMEOUT_S = 60.0
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.=-]+")
_NAME_MAX = 60


def result_name(name: str) -> str:
    """The first part of the name of a directory of results."""
    return _NOT_IN_NAMES.sub("-", name).strip("-.")[:_NAME_MAX]


class Shelf:
    """Of one process.

    Args:
        client: its connection.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def mount(self) -> None:
        """Have `/cached` in the namespace; to be called before the first result is kept."""
        if any(mount.path == MOUNT_PATH for mount in self._client.locator.mounts.mounts):
            return
        # Listed anew each time: the master only looks at what it knows.
        info = MountInfo(MOUNT_PATH, MOUNT_URI, {}, 0.0, readonly=True)
        table = self._client.calls.master("mount", uuid.uuid4().hex, encode(info))
        self._client.locator.learn(None, table)

    def ask(self, verb: str, *arguments: Any) -> Any:
        """See `ResultDesk`."""
        return self._client.calls.master("results", verb, encode(arguments))

    def find(self, keys: Sequence[str]) -> FindReply:
        """Which of these results are there, and where."""
        found: FindReply = self.ask("find", list(keys))
        return found

    def read(self, wanted: Sequence[tuple[KeptResult, Any]]) -> list[pa.Buffer | None]:
        """Whole results.

        Args:
            wanted: shape (R,): each with its holders.

        Returns:
            Shape (R,); None of one that is not there any more.
        """
        requests = [
            Request(FileMeta(result.path, FileKind.FILE, result.file, holders, float("inf")), 0, result.size_bytes)
            for result, holders in wanted
        ]
        found = self._read(requests)
        used = [result.key for (result, _), buffer in zip(wanted, found, strict=True) if buffer is not None]
        if used:
            with contextlib.suppress(RaycacheError):
                self._client.calls.tell_master("results", "used", encode((used,)))
        return found

    def _read(self, requests: list[Request]) -> list[pa.Buffer | None]:
        try:
            return list(self._client.read_resolved(requests))
        except (NotFoundError, ConflictError, UnavailableError):
            # One that is gone is no reason to do without the others.
            return [None] if len(requests) == 1 else [self._read([request])[0] for request in requests]

    def claim(self, key: str, claimant: str, gone: str) -> ClaimReply:
        """Wait until a result is there, or is to be made here."""
        started_s, pause_s = time.monotonic(), _PAUSES_S[0]
        while True:
            reply: ClaimReply = self.ask("claim", key, claimant, gone)
            if reply.state != ClaimState.TAKEN or time.monotonic() - started_s > _PATIENCE_S:
                return reply
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _PAUSES_S[1])

    @contextlib.contextmanager
    def claimed(self, key: str, claimant: str) -> Iterator[Callable[[], None]]:
        """Renew a claim meanwhile, and release it in the end; nothing is left of it once the result was kept."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(CLAIM_S / 4):
                with contextlib.suppress(RaycacheError):
                    self.ask("renew", [key], claimant)

        threading.Thread(target=renew, name="raycache-claim", daemon=True).start()
        kept: list[bool] = []
        try:
            yield lambda: kept.append(True)
        finally:
            ended.set()
            if not kept:
                with contextlib.suppress(RaycacheError):
                    self.ask("release", key, claimant)

    def keep(self, key: str, content: Any, rows: int, cpu_s: float, origin: str = "") -> KeptResult | None:
        """Keep a result.

        Args:
            key: what it was made of.
            content: shape (B,), uint8.
            rows: for whoever wants to count.
            cpu_s: what it took to make it.
            origin: see `KeptResult.origin`.

        Returns:
            None when there is no room, or nobody to keep it: then it is made again next time.
        """
        client = self._client
        result = KeptResult(key, len(content), etag_of(rows, cpu_s, xxhash.xxh3_128_hexdigest(content), origin))
        worker = next((w for w in client.locator.view.workers if w.worker == client.node), None)
        if worker is None:
            worker = next((w for w in client.refresh_view().workers if w.worker == client.node), None)
        if worker is None:
            return None
        try:
            reference = ray.put(np.asarray(content))
        except Exception:  # the object store is full
            return None
        request = encode(KeepRequest(result, client.locator.mounts.version, _KEEP_TIMEOUT_S))
        call = WorkerCall(worker.actor_name, "keep", (request, [reference]))
        (answer,) = client.calls.workers([call])
        if isinstance(answer, RaycacheError) or not decode(answer):
            return None
        self.ask("keep", result)
        return result
