"""What a worker sees of its own node and of the lake when the doctor asks. Bounded in time, changes nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path

from raycache import paths as names
from raycache.errors import RaycacheError
from raycache.messages import Health, MountHealth, MountInfo
from raycache.types import WorkerId
from raycache.ufs.open import open_storage

MOUNTS_MAX = 20
_MOUNT_TIMEOUT_S = 10.0
_LEFTOVERS_MAX = 20


def look_around(node: WorkerId, disk_path: Path | None, mounts: Sequence[MountInfo], clean: bool = False) -> Health:
    """Look around.

    Args:
        node: this one.
        disk_path: where the disk tiers of all caches lie; None without one.
        mounts: the first `MOUNTS_MAX` are tried.
        clean: what dead workers have left on the disk is removed.
    """
    removed = remove_leftovers(disk_path) if clean and disk_path is not None else []
    total = free = 0
    if disk_path is not None:
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(disk_path)
            total, free = usage.total, usage.free
    tried = _try_all(mounts[:MOUNTS_MAX])
    left = leftovers(disk_path) if disk_path is not None else []
    return Health(node, time.time(), str(disk_path or ""), total, free, left, tried, removed)


def leftovers(disk_path: Path) -> list[tuple[str, int]]:
    """(directory, bytes) of slots that no living process has locked, largest first."""
    found: list[tuple[str, int]] = []
    for slot in sorted(disk_path.glob("raycache-*/slot-*")):
        with contextlib.suppress(OSError):
            if not _is_locked(slot):
                size = sum(file.stat().st_size for file in slot.iterdir() if file.is_file())
                found.append((str(slot), size))
    return sorted(found, key=lambda item: -item[1])[:_LEFTOVERS_MAX]


def remove_leftovers(disk_path: Path) -> list[tuple[str, int]]:
    """Remove the slots that no living process has locked, each while it is locked here; (directory, bytes) of those removed."""
    removed: list[tuple[str, int]] = []
    for slot in sorted(disk_path.glob("raycache-*/slot-*")):
        with contextlib.suppress(OSError):
            descriptor = os.open(slot, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = sum(file.stat().st_size for file in slot.iterdir() if file.is_file())
                shutil.rmtree(slot)
                removed.append((str(slot), size))
                slot.parent.rmdir()
            finally:
                os.close(descriptor)
    return removed


def _is_locked(slot: Path) -> bool:
    descriptor = os.open(slot, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try_all(mounts: Sequence[MountInfo]) -> list[MountHealth]:
    pool = ThreadPoolExecutor(max(1, len(mounts)), thread_name_prefix="raycache-health")
    tries = [pool.submit(_try, mount) for mount in mounts]
    deadline = time.monotonic() + _MOUNT_TIMEOUT_S
    found: list[MountHealth] = []
    for mount, attempt in zip(mounts, tries, strict=True):
        try:
            found.append(attempt.result(max(0.0, deadline - time.monotonic())))
        except TooLate:
            found.append(MountHealth(mount.path, _MOUNT_TIMEOUT_S, f"no answer within {_MOUNT_TIMEOUT_S:g} s"))
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def _try(mount: MountInfo) -> MountHealth:
    started_s = time.monotonic()
    error = ""
    try:
        root_uri, key = names.split_uri(mount.uri)
        open_storage(root_uri, mount.options).list(key.rstrip("/") + "/" if key else "", limit=1)
    except RaycacheError as failure:
        error = " ".join(str(failure).split())
    except Exception as failure:
        # A store that breaks is a finding, too; what it says may hold secrets.
        error = f"unexpected {type(failure).__name__}"
    return MountHealth(mount.path, time.monotonic() - started_s, error)
