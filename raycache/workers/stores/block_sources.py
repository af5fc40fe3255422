"""Where a worker's blocks come from: the lake as it is mounted, another worker, or nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from raycache.errors import UnavailableError
from raycache.messages import MountTable
from raycache.messages.keeping import MOUNT_URI
from raycache.paths import split_uri
from raycache.ufs.kept_files.kept_storage import kept_storage
from raycache.ufs.open import open_storage
from raycache.workers.effects import LoadItem
from raycache.workers.figures.lake_meter import LakeMeter
from raycache.workers.stores.loader import BlockSource
from raycache.workers.stores.mounted import MountedSource
from raycache.workers.stores.peers import Peers


class BlockSources:
    """Finds the source of each block. Safe to call from several threads.

    Args:
        peers: the other workers.
        meter: counts what the lake is asked for.
        mounts: as they are known now.
    """

    def __init__(self, peers: Peers, meter: LakeMeter, mounts: Callable[[], MountTable]) -> None:
        self._peers = peers
        self._meter = meter
        self._mounts = mounts

    def of(self, item: LoadItem) -> tuple[BlockSource, str]:
        """Where to load a block from, and the object's key there.

        Raises:
            UnavailableError: it is under no mount that is known here.
        """
        uri = item.version.uri
        root_uri, key = split_uri(uri)
        if root_uri == MOUNT_URI and not item.source_actor:
            return kept_storage(), key
        if item.passive:
            return self._peers.source(item.source_actor, None), key
        mount = self._mounts().of_uri(uri)
        if mount is None:
            # This worker's ignorance says nothing of the file.
            raise UnavailableError(
                f"{uri} is under no mount that this worker knows; mount it again, or try again", uri=uri
            )
        storage: BlockSource = MountedSource(open_storage(root_uri, mount.options), mount)
        if item.source_actor:
            storage = self._peers.source(item.source_actor, storage)
        return self._meter.metered(storage, mount), key
