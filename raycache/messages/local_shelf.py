"""Whole files of the cache on a node's own disk, for programs that want a path. Both sides share it through the file system.

    <id>/lock        locked: shared by whoever uses the files, exclusively by whoever makes or removes them
    <id>/about.json  what they are: {"uri", "size_bytes"}
    <id>/kept        stands while they are to stay until they are freed
    <id>/data/       the files, read-only; it appears whole, by a rename

An id is the version of one file, or stands for a tree: a directory of hard links to the files of others. Locks end with the
process that holds them, so nothing that was begun or used by a dead process is in anybody's way. A file that is linked in a
tree stays as long as the tree.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from raycache.invalidations import log_folder

_ATTEMPTS_MAX = 100


class Shelved(NamedTuple):
    """One file or tree that is there."""

    id: str
    uri: str
    #: Of a tree 0: its files are counted by themselves.
    size_bytes: int
    used_at_s: float
    kept: bool


def memory_folder(cache_id: str) -> Path:
    """Where the files of a cache are that are wanted in memory."""
    return log_folder() / f"raycache-{os.getuid()}-{cache_id}-local"


class LocalShelf:
    """The files in one folder. Safe to use from several processes.

    Args:
        folder: made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def using(self, name: str, make: Callable[[Path], tuple[str, int]]) -> Iterator[Path]:
        """Use what is there, or make it first; it stays meanwhile.

        Args:
            name: the id.
            make: fills an empty directory, and says (URI, bytes). Called while no other process makes the same.

        Yields:
            The directory with the files.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self.folder / name
        with contextlib.ExitStack() as stack:
            for _ in range(_ATTEMPTS_MAX):
                lock = _open_lock(place)
                if lock is None:
                    continue
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_SH)
                if not (place / "data").is_dir():
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    if _is_there(place, lock) and not (place / "data").is_dir():
                        _fill(place, make)
                    fcntl.flock(lock, fcntl.LOCK_SH)
                # Between two locks it may have been removed.
                if _is_there(place, lock) and (place / "data").is_dir():
                    break
            else:
                raise FileNotFoundError(f"{place} is removed again and again")
            yield place / "data"
            with contextlib.suppress(OSError):
                os.utime(place / "lock")

    def keep(self, name: str) -> None:
        """Let something stay until it is freed. To be called while it is in use."""
        (self.folder / name / "kept").touch(mode=0o600)

    def drop(self, name: str, *, kept: bool = False) -> bool:
        """Remove what nobody uses; whether it is gone.

        Args:
            name: the id.
            kept: also what is to stay until it is freed.
        """
        place = self.folder / name
        lock = _open_lock(place, make=False)
        if lock is None:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not kept and (place / "kept").exists():
                return False
            data = place / "data"
            is_tree = _about(place)[1] < 0
            if not is_tree and data.is_dir() and any(file.stat().st_nlink > 1 for file in data.iterdir()):
                return False
            shutil.rmtree(place, ignore_errors=True)
        except OSError:
            return False
        finally:
            os.close(lock)
        return True

    def all(self) -> list[Shelved]:
        """What is there, trees first, then by their last use, the oldest first."""
        found: list[tuple[bool, float, Shelved]] = []
        with contextlib.suppress(OSError):
            for place in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    uri, size_bytes = _about(place)
                    if size_bytes >= 0:
                        # Also of what is being made.
                        data = place / "data"
                        files = (data if data.is_dir() else place / "partial").iterdir()
                        size_bytes = max(size_bytes, sum(file.stat().st_size for file in files))
                    used_at_s = (place / "lock").stat().st_mtime
                    kept = (place / "kept").exists()
                    entry = Shelved(place.name, uri, max(0, size_bytes), used_at_s, kept)
                    found.append((size_bytes >= 0, used_at_s, entry))
        return [entry for *_, entry in sorted(found)]

    def clear(self) -> None:
        """Remove everything; who has a file open goes on reading it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _open_lock(place: Path, *, make: bool = True) -> int | None:
    try:
        if make:
            place.mkdir(mode=0o700, exist_ok=True)
        return os.open(place / "lock", os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    except OSError:
        return None


def _is_there(place: Path, lock: int) -> bool:
    """Whether a lock is still the one of the place."""
    try:
        return os.path.samestat((place / "lock").stat(), os.fstat(lock))
    except OSError:
        return False


def _fill(place: Path, make: Callable[[Path], tuple[str, int]]) -> None:
    partial = place / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        uri, size_bytes = make(partial)
        (place / "about.json").write_text(json.dumps({"uri": uri, "size_bytes": size_bytes}))
        partial.rename(place / "data")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _about(place: Path) -> tuple[str, int]:
    """(URI, bytes); bytes are -1 for a tree."""
    try:
        about = json.loads((place / "about.json").read_text())
    except (FileNotFoundError, ValueError):
        return "", 0
    return about["uri"], about["size_bytes"]
