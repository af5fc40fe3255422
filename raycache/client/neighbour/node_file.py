"""The file by which the processes of a node find its endpoint.

It stands in a folder of the user's own (mode 0700) in shared memory, holds the endpoint's keys (mode 0600), and is locked by
the endpoint's process for as long as that lives: a file without its lock is a leftover, and is passed over. One machine may
have several, of several caches, or of several Ray nodes in tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import stat
from pathlib import Path

from raycache.errors import DeniedError
from raycache.invalidations import log_folder


@dataclasses.dataclass(frozen=True)
class NodeEndpoint:
    """What the file says."""

    cache_id: str
    #: Ray's node id, hex.
    node: str
    url: str
    access_key: str
    secret_key: str
    anonymous: bool
    #: Where processes without Ray are served, a Unix socket; empty: they are not.
    socket: str

    def __repr__(self) -> str:
        return f"NodeEndpoint(cache_id={self.cache_id!r}, node={self.node!r}, url={self.url!r})"


def folder() -> Path:
    """Where this user's files are."""
    return log_folder() / f"raycache-{os.getuid()}"


def own_folder() -> Path:
    """The same, made if need be.

    Raises:
        DeniedError: somebody else has made it.
    """
    path = folder()
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise DeniedError(f"{path} is not a folder of this user alone; remove it")
    return path


def file_name(cache_id: str, node: str) -> str:
    """Of a node's file."""
    return f"{cache_id}-{node[:32]}.json"


class Announcement:
    """The file of an endpoint, for as long as its process lives or until `withdraw`."""

    def __init__(self, endpoint: NodeEndpoint) -> None:
        place = own_folder()
        self._path = place / file_name(endpoint.cache_id, endpoint.node)
        temporary = place / f"{self._path.name}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        self._file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, json.dumps(dataclasses.asdict(endpoint)).encode())
        temporary.rename(self._path)

    def withdraw(self) -> None:
        """Remove it."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def find(cache_id: str = "", node: str = "") -> NodeEndpoint | None:
    """The endpoint of this machine.

    Args:
        cache_id: of a certain cache; empty: of any.
        node: of a certain Ray node; empty: of any.

    Returns:
        Of several, the one that was started last; None when none runs.
    """
    try:
        paths = [path for path in own_folder().iterdir() if path.suffix == ".json"]
    except (OSError, DeniedError):
        return None
    best: tuple[int, NodeEndpoint] | None = None
    for path in paths:
        found = _read(path)
        if found is None or (cache_id and found[1].cache_id != cache_id) or (node and found[1].node != node):
            continue
        if best is None or found[0] > best[0]:
            best = found
    return None if best is None else best[1]


def _read(path: Path) -> tuple[int, NodeEndpoint] | None:
    """(when it was written, what it says), if its endpoint lives; else it is removed."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        if found.st_uid != os.getuid():
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return found.st_mtime_ns, NodeEndpoint(**json.loads(os.read(file, 1 << 16)))
        path.unlink(missing_ok=True)
    except (OSError, ValueError, TypeError):
        return None
    finally:
        os.close(file)
    return None
