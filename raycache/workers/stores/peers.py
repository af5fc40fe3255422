"""Another worker as a source of blocks: how replicas and passive copies are made without asking the lake again."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
from typing_extensions import Buffer

from raycache.errors import UnavailableError
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


class PeerStorage:
    """Reads blocks of a file version from a peer; from the lake when the peer does not serve them.

    Only what the loader calls is here: `read` of ranges that start at a block. For one read.

    Args:
        lake: where to read what the peer does not serve; None: nowhere, it is not needed.
    """

    def __init__(
        self, actor_name: str, node: WorkerId, root_uri: str, lake: BlockSource | None, settings: Settings
    ) -> None:
        self._actor_name = actor_name
        self._node = node
        self._root_uri = root_uri
        self._lake = lake
        self._block_size_bytes = settings.block_size_bytes
        #: Whether the read went to the lake after all; see `loader.BlockSource`.
        self.is_lake = False

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """Read exactly `length` bytes of a version; see `UnderStorage.read`."""
        if version is not None:
            try:
                found = self._ask(version, offset, length)
            except Exception:
                # The peer is gone, or slow: the lake has it too.
                found = None
            if found is not None:
                return found
        if self._lake is None:
            raise UnavailableError(f"{self._actor_name} does not hold {key} any more; ask it, or read the lake")
        self.is_lake = True
        return self._lake.read(key, offset, length, version)

    def _ask(self, version: FileVersion, offset: int, length: int) -> Buffer | None:
        block_size = self._block_size_bytes
        first = offset // block_size
        lengths = [min(block_size, length - start) for start in range(0, length, block_size)]
        wanted = dict(enumerate(lengths, first))
        request = BlockRequest.held(self._node, version, wanted, block_size)
        peer: Any = ray.get_actor(self._actor_name, namespace=RAY_NAMESPACE)
        blob, payloads = wait_for(peer.read.remote(encode(request)), _TIMEOUT_S)
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
