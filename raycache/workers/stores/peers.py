"""Other workers as sources of blocks: how replicas and passive copies are made without asking the lake again.

A peer that shows no sign of life is given up after `hop_timeout_s`, and left alone for a while: what was to come from it comes
from the lake, or not at all where it was only a copy; the reader then asks the next holder.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import ray
from typing_extensions import Buffer

from raycache.errors import SilentPeerError, UnavailableError
from raycache.hops.breaker import Breaker, Resting
from raycache.hops.patience import Hop, Limits, in_thread, outwait
from raycache.messages import (
    RAY_NAMESPACE,
    BlockReply,
    BlockRequest,
    BlockState,
    GrantKind,
    decode,
    encode,
)
from raycache.settings import Settings
from raycache.types import FileVersion, WorkerId
from raycache.workers.stores.loader import BlockSource
from raycache.workers.stores.plasma import wait_for

_TIMEOUT_S = 60.0
_HANDLES_MAX = 4_096


class Peers:
    """The other workers, as one worker knows them. Safe to use from several threads.

    Args:
        node: of this worker.
        settings: of the cache.
    """

    def __init__(self, node: WorkerId, settings: Settings) -> None:
        self._node = node
        self._block_size_bytes = settings.block_size_bytes
        self._hop_timeout_s = settings.hop_timeout_s
        self.breaker = Breaker(settings.hop_timeout_s)
        self._handles: dict[str, Any] = {}
        self._lock = threading.Lock()

    def source(self, actor_name: str, lake: BlockSource | None) -> PeerStorage:
        """A peer to read blocks from; see `PeerStorage`."""
        return PeerStorage(self, actor_name, lake)

    def read(self, actor_name: str, version: FileVersion, offset: int, length: int) -> Buffer | None:
        """Read blocks of a version that a peer holds; None when it does not.

        Raises:
            SilentPeerError: it shows no sign of life, or showed none a moment ago.
            Exception: whatever else keeps it from answering.
        """
        if not self.breaker.admits(actor_name, time.monotonic()):
            raise SilentPeerError(f"{actor_name} was silent, and is left alone for a while")
        answer = in_thread(lambda: self._ask(actor_name, version, offset, length))
        hop = Hop(actor_name, answer, lambda: in_thread(lambda: self._live(actor_name)))
        (result,) = outwait([hop], Limits(self._hop_timeout_s, _TIMEOUT_S), self.breaker.answered)
        if isinstance(result, SilentPeerError):
            self.breaker.silent(actor_name, time.monotonic())
        if isinstance(result, Exception):
            raise result
        self.breaker.answered(actor_name)
        found: Buffer | None = result
        return found

    def heed_silent(self, actor_name: str) -> None:
        """A reader on this node found it silent."""
        self.breaker.silent(actor_name, time.monotonic())

    def resting(self) -> list[Resting]:
        """The peers that are left alone."""
        return self.breaker.resting(time.monotonic())

    def _handle(self, actor_name: str) -> Any:
        handle = self._handles.get(actor_name)
        if handle is None:
            handle = ray.get_actor(actor_name, namespace=RAY_NAMESPACE)
            with self._lock:
                if len(self._handles) > _HANDLES_MAX:
                    self._handles.clear()
                self._handles[actor_name] = handle
        return handle

    def _live(self, actor_name: str) -> bool:
        return bool(wait_for(self._handle(actor_name).is_loading.remote(), _TIMEOUT_S))

    def _ask(self, actor_name: str, version: FileVersion, offset: int, length: int) -> Buffer | None:
        block_size = self._block_size_bytes
        first = offset // block_size
        lengths = [min(block_size, length - start) for start in range(0, length, block_size)]
        wanted = dict(enumerate(lengths, first))
        request = BlockRequest.held(self._node, version, wanted, block_size)
        blob, payloads = wait_for(self._handle(actor_name).read.remote(encode(request)), _TIMEOUT_S)
        reply: BlockReply = decode(blob)
        if any(not BlockState(state).served for state in reply.states):
            return None
        arrays = [
            wait_for(payload, _TIMEOUT_S) if grant.kind is GrantKind.PLASMA else payload
            for grant, payload in zip(reply.grants, payloads, strict=True)
        ]
        pieces = [
            arrays[grant][start : start + size]
            for grant, start, size in zip(reply.grant_index, reply.grant_offsets, lengths, strict=True)
        ]
        joined: Any = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return memoryview(joined)


class PeerStorage:
    """Reads blocks of a file version from a peer; from the lake when the peer does not serve them.

    Only what the loader calls is here: `read` of ranges that start at a block. For one read.

    Args:
        peers: the way there.
        actor_name: of the peer.
        lake: where to read what the peer does not serve; None: nowhere, it is not needed.
    """

    def __init__(self, peers: Peers, actor_name: str, lake: BlockSource | None) -> None:
        self._peers = peers
        self._actor_name = actor_name
        self._lake = lake
        #: Whether the read went to the lake after all; see `loader.BlockSource`.
        self.is_lake = False

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """Read exactly `length` bytes of a version; see `UnderStorage.read`.

        Raises:
            SilentPeerError: the peer shows no sign of life, and there is no lake to read.
            UnavailableError: the peer does not hold it, and there is none.
        """
        silent: SilentPeerError | None = None
        if version is not None:
            try:
                found = self._peers.read(self._actor_name, version, offset, length)
            except SilentPeerError as error:
                found, silent = None, error
            except Exception:
                # The peer is gone, or slow: the lake has it too.
                found = None
            if found is not None:
                return found
        if self._lake is None:
            raise silent or UnavailableError(
                f"{self._actor_name} does not hold {key} any more; ask it, or read the lake"
            )
        self.is_lake = True
        return self._lake.read(key, offset, length, version)
