"""Whole files on this node, for programs that want a path: made of the cache's blocks, kept while they are in use.

Every file is one version, read as every read of the cache: what is cached is not asked of the lake, and what is not leaves it once,
however many nodes ask. Nodes begin at different files, so that each loads a part of a directory, and has the rest from the others.
Of one node's processes one makes a file, and the others wait for it (`messages/local_shelf.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import xxhash

from raycache import paths as names
from raycache.client.client import READ_ATTEMPTS_MAX, Client
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.ports import WorkerCall
from raycache.client.reading.reader import Request
from raycache.errors import ConflictError, InvalidRequestError, NoSpaceError, RaycacheError, UnavailableError
from raycache.messages import decode
from raycache.messages.local_shelf import LocalShelf, memory_folder
from raycache.types import FileKind

#: Pieces of a file that are read at a time, all files of a call together.
_THREADS = 8
#: Of /dev/shm, what is left to others.
_MEMORY_SHARE_MIN = 0.1
_ROOM_TIMEOUT_S = 60.0


@contextlib.contextmanager
def local(client: Client, path: str, *, memory: bool = False) -> Iterator[Path]:
    """Files that stay while the block lasts; see `Cache.local`."""
    with contextlib.ExitStack() as stack:
        yield _used(client, path, memory, stack, keep=False)


def local_path(client: Client, path: str, *, memory: bool = False) -> Path:
    """Files that stay until they are freed; see `Cache.local_path`."""
    with contextlib.ExitStack() as stack:
        return _used(client, path, memory, stack, keep=True)


def _used(client: Client, path: str, memory: bool, stack: contextlib.ExitStack, *, keep: bool) -> Path:
    """A file or a directory in use until the stack is closed."""
    for attempt in range(1, READ_ATTEMPTS_MAX + 1):
        try:
            return _used_once(client, path, memory, stack, keep=keep)
        except ConflictError:
            # Replaced meanwhile: what was made of the old version stays for others.
            if attempt == READ_ATTEMPTS_MAX:
                raise
    raise AssertionError("unreachable")


def _used_once(client: Client, path: str, memory: bool, stack: contextlib.ExitStack, *, keep: bool) -> Path:
    meta = client.locator.resolve([path])[0]
    if meta.kind is FileKind.DIRECTORY:
        return _tree(client, meta, memory, stack, keep=keep)
    require_file(meta, path)
    shelf = LocalShelf(_folder(client, 0, "", memory=memory))
    return _files(client, shelf, [meta], memory, stack, keep=keep)[0]


def _tree(client: Client, directory: FileMeta, memory: bool, stack: contextlib.ExitStack, *, keep: bool) -> Path:
    reply = client.locator.listing(directory.path, recursive=True)
    rows = [row for row in reply.rows() if row.kind == FileKind.FILE]
    inside = [row.name for row in rows]
    for name in inside:
        if not names.has_path(name) or name.startswith("/") or "" in name.split("/"):
            raise InvalidRequestError(f"{names.join(directory.path, name)} cannot be a local file; name single files")
    metas = client.locator.resolve([names.join(directory.path, name) for name in inside])
    for name, meta in zip(inside, metas, strict=True):
        require_file(meta, name)
    digest = xxhash.xxh3_128()
    for name, meta in zip(inside, metas, strict=True):
        digest.update(f"{name}\0{meta.version.hex()}\0".encode("utf-8", "surrogatepass"))
    shelf = LocalShelf(_folder(client, 0, "", memory=memory))
    base = directory.path.rstrip("/").rpartition("/")[2] or "root"

    def make(partial: Path) -> tuple[str, int]:
        with contextlib.ExitStack() as meanwhile:
            found = _files(client, shelf, metas, memory, meanwhile, keep=False)
            top = partial / base
            top.mkdir()
            for name, file in zip(inside, found, strict=True):
                target = top / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, target)
        return directory.file.uri, -1

    name = f"tree-{digest.hexdigest()}"
    data = stack.enter_context(shelf.using(name, make))
    if keep:
        shelf.keep(name)
    return data / base


def _files(
    client: Client,
    shelf: LocalShelf,
    metas: Sequence[FileMeta],
    memory: bool,
    stack: contextlib.ExitStack,
    *,
    keep: bool,
) -> list[Path]:
    """Files in use, in the order of `metas`. Each node begins with another one."""
    found: dict[int, Path] = {}
    start = xxhash.xxh3_64_intdigest(client.node.encode()) % len(metas) if metas else 0
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="raycache-local") as threads:
        for index in [*range(start, len(metas)), *range(start)]:
            meta = metas[index]

            def make(partial: Path, meta: FileMeta = meta) -> tuple[str, int]:
                return _copy(client, meta, partial / _base(meta), threads, memory=memory)

            data = stack.enter_context(shelf.using(meta.version.hex(), make))
            if keep:
                shelf.keep(meta.version.hex())
            found[index] = data / _base(meta)
    return [found[index] for index in range(len(metas))]


def _copy(
    client: Client, meta: FileMeta, target: Path, threads: ThreadPoolExecutor, *, memory: bool
) -> tuple[str, int]:
    """Write a whole version to a file, read-only, its room set aside first."""
    size = meta.file.size_bytes
    _folder(client, size, meta.version.hex(), memory=memory)
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.truncate(file, size)
        step = client.settings.block_size_bytes

        def piece(offset: int) -> None:
            length = min(step, size - offset)
            view = memoryview(client.read_resolved([Request(meta, offset, length, in_order=True)])[0])
            written = 0
            while written < length:
                written += os.pwrite(file, view[written:], offset + written)

        list(threads.map(piece, range(0, size, step)))
        if os.fstat(file).st_size != size:
            raise UnavailableError(f"{target} has not the size of {meta.path}; try again")
        os.fchmod(file, 0o444)
    except OSError as error:
        if isinstance(error, RaycacheError):
            raise
        raise NoSpaceError(f"cannot write {target}: {error.strerror}") from error
    finally:
        os.close(file)
    return meta.file.uri, size


def _folder(client: Client, size_bytes: int, name: str, *, memory: bool) -> Path:
    """Where files go, with room for one of so many bytes more, by its id.

    Raises:
        NoSpaceError: there is none.
        UnavailableError: this node has no worker.
    """
    if memory:
        folder = memory_folder(client.id)
        usage = shutil.disk_usage(folder.parent)
        if usage.free - size_bytes < _MEMORY_SHARE_MIN * usage.total:
            raise NoSpaceError(f"{size_bytes} bytes do not fit {folder.parent}, of which {usage.free} are free")
        return folder
    view = client.locator.view if client.locator.view.workers else client.refresh_view()
    own = next((worker for worker in view.workers if worker.worker == client.node), None)
    if own is None:
        raise UnavailableError("this node has no worker of the cache, so no disk tier; use memory=True")
    (answer,) = client.calls.workers([WorkerCall(own.actor_name, "local_room", (size_bytes, name))], _ROOM_TIMEOUT_S)
    if isinstance(answer, RaycacheError):
        raise answer
    good, found = decode(answer)
    if not good:
        raise found
    return Path(found)


def _base(meta: FileMeta) -> str:
    return meta.path.rpartition("/")[2]
