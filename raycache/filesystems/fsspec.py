"""The cache as an fsspec filesystem: `raycache:///lake/x`, and chained, `raycache::s3://bucket/key`.

Here is what changes the lake, and what moves between it and local disks; `fsspec_reads` looks and reads. How paths are
spelled: `fsspec_paths`. Which file goes where in `copy`, `get` and `put`: fsspec's rules, `fsspec_transfers`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import has_magic
from pathlib import Path
from typing import Any, TypeVar

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.core import get_compression
from fsspec.utils import isfilelike, stringify_path

from raycache import paths as names
from raycache.client.file_meta import require_file
from raycache.errors import (
    InvalidRequestError,
    IsADirectoryRequestError,
    NotFoundError,
)
from raycache.filesystems.fsspec_files import CompressedWriteFile, TextWriteFile, WriteFile
from raycache.filesystems.fsspec_reads import ReadingFileSystem
from raycache.filesystems.fsspec_transfers import planned, refuse_meeting
from raycache.filesystems.reconnecting import reconnecting
from raycache.types import FileKind

Item = TypeVar("Item")

_TRANSFERS_INFLIGHT = 16
#: Files are copied to and from local disks in pieces of this size.
_TRANSFER_BYTES = 16 << 20


@reconnecting("_open", "pipe_file", "mkdir", "makedirs", "rmdir", "rm", "copy", "mv", "put_file")
class RaycacheFileSystem(ReadingFileSystem):
    """See the module's text; arguments as `ReadingFileSystem` takes them."""

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **options: Any,
    ) -> Any:
        """Open a file; modes r, w, x, with or without b. What is written appears whole at `close`, or not at all."""
        writes_text = "b" not in mode and mode[:1] in ("w", "x")
        if not writes_text and (compression is None or "r" in mode):
            return super().open(path, mode, block_size, cache_options, compression, **options)
        compression = get_compression(stringify_path(path), compression)
        text = {key: options.pop(key) for key in ("encoding", "errors", "newline") if writes_text and key in options}
        file = super().open(path, f"{mode[0]}b", block_size, cache_options, **options)
        if compression is not None:
            file = CompressedWriteFile(file, compression)
        return TextWriteFile(file, **text) if writes_text else file

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> Any:
        if mode in ("wb", "xb"):
            writer = self.client.writes.open(self.cache_path(path), exclusive=mode == "xb")
            return WriteFile(self, path, writer, autocommit=autocommit)
        return super()._open(path, mode, **options)

    # --- writing ------------------------------------------------------------------------------------------------------

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_options: Any) -> None:
        """Write a whole file; mode "create" refuses one that exists."""
        self.client.writes.put(self.cache_path(path), value, exclusive=mode == "create")

    def pipe(self, path: str | dict[str, bytes], value: bytes | None = None, **options: Any) -> None:
        """Write one file, or {path: bytes}, many at once."""
        items = path.items() if isinstance(path, dict) else [(path, value or b"")]
        _parallel(lambda item: self.pipe_file(item[0], item[1], **options), list(items))

    def touch(self, path: str, truncate: bool = True, **_options: Any) -> None:
        """Make an empty file, also in the place of one that exists unless not `truncate`."""
        if not truncate and self.exists(path):
            raise InvalidRequestError(f"{path} exists, and the time of an object cannot be changed; give truncate=True")
        self.pipe_file(path, b"")

    def mkdir(self, path: str, create_parents: bool = True, **_options: Any) -> None:
        """Make a directory, where the store has them; one that exists is an error there."""
        self.client.writes.make_directory(self.cache_path(path), parents=create_parents, exist_ok=False)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.client.writes.make_directory(self.cache_path(path), exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        self.client.writes.remove_directory(self.cache_path(path))

    def rm_file(self, path: str) -> None:
        self.rm(path)

    def _rm(self, path: str) -> None:
        self.rm(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files, and with `recursive` directories, in batches. One missing path, and nothing is deleted.

        Links on disks are deleted, not what they lead to.
        """
        expanded = self.expand_path(path, recursive=recursive and maxdepth is not None, maxdepth=maxdepth)
        writes = self.client.writes
        files: list[str] = []
        directories: list[str] = []
        elsewhere = self._elsewhere(path, expanded)
        for name, meta in zip(expanded, self._resolve(expanded), strict=True):
            if meta.path in elsewhere:
                continue
            if meta.kind is FileKind.DIRECTORY and recursive:
                directories.append(meta.path)
            elif meta.kind is FileKind.DIRECTORY:
                raise IsADirectoryRequestError(f"{name} is a directory; give recursive=True", path=name)
            else:
                files.append(require_file(meta, name).path)
        if files:
            writes.delete(files)
        if maxdepth is None:
            for directory in _tops(directories):
                writes.delete_directory(directory)
            return
        links = self._elsewhere(path, [f"{directory}/any" for directory in directories])
        for directory in sorted(directories, reverse=True):
            if f"{directory}/any" in links:
                writes.delete_directory(directory)
                continue
            with contextlib.suppress(InvalidRequestError, NotFoundError):  # what lies too deep keeps it
                writes.remove_directory(directory)

    def _elsewhere(self, given: Any, found: Sequence[str]) -> frozenset[str]:
        """Of what given paths were expanded to, what lies behind links that the expansion has followed; full paths."""
        full = [names.normalise(self.cache_path(name)) for name in found]
        elsewhere: frozenset[str] = frozenset()
        for path in given if isinstance(given, (list, tuple, set)) else [given]:
            fixed = self._strip_protocol(path)
            while has_magic(fixed):
                fixed = fixed.rpartition("/")[0]
            if not has_magic(self._strip_protocol(path)):
                fixed = self._parent(fixed)
            above = names.normalise(self.cache_path(fixed or "/"))
            below = [name for name in full if name.startswith(names.below(above))]
            with contextlib.suppress(NotFoundError):  # above all mounts
                elsewhere |= self.client.writes.behind_links(above, below)
        return elsewhere

    # --- copying ------------------------------------------------------------------------------------------------------

    def cp_file(self, path1: str, path2: str, **_options: Any) -> None:
        """Copy a file, server-side inside one store; of a directory only itself."""
        self._copy([(path1, path2)], "raise")

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **_options: Any,
    ) -> None:
        """Copy files, many at once; see fsspec for what goes where."""
        pairs = planned(self, "copy", path1, path2, recursive=recursive, maxdepth=maxdepth)
        self._copy(pairs, on_error or ("ignore" if recursive else "raise"))

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **_options: Any) -> None:
        """Move files: copied first, deleted when every copy stands. Onto itself: nothing happens."""
        pairs = planned(self, "copy", path1, path2, recursive=recursive, maxdepth=maxdepth)
        files, directories = self._sorted_out(pairs, "raise")
        writes = self.client.writes
        if maxdepth is None:
            targets = dict(directories)
            tops = _tops(targets)
            for source in tops:
                writes.move_directory(source, targets[source])
            inside = tuple(f"{source.rstrip('/')}/" for source in tops)
            writes.move([pair for pair in files if not pair[0].startswith(inside)])
            return
        for _, target in directories:
            writes.make_directory(target)
        elsewhere = self._elsewhere(path1, [source for source, _ in files])
        writes.copy([pair for pair in files if pair[0] in elsewhere])
        writes.move([pair for pair in files if pair[0] not in elsewhere])

    def get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_options: Any
    ) -> None:
        """Copy a file to a local path or an open file; of a directory only itself."""
        outfile = lpath if outfile is None and isfilelike(lpath) else outfile
        meta = self._meta(rpath)
        if meta.kind is FileKind.DIRECTORY and outfile is None:
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        file = self.client.open_meta(require_file(meta, rpath))
        callback.set_size(file.size)
        if outfile is not None:
            _drain(file, outfile, callback)
            return
        target = Path(lpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as stream:
                _drain(file, stream, callback)
        except BaseException:
            target.unlink(missing_ok=True)  # a part of a file must not pass for a file
            raise

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Copy files to local paths, many at once; see fsspec for what goes where.

        Raises:
            InvalidRequestError: two would be one local file, as keys `a/b` and `a//b`. Nothing is copied.
        """
        pairs = planned(self, "get", rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        metas = self._resolve([source for source, _ in pairs])  # one call instead of one a file
        refuse_meeting(pair for pair, meta in zip(pairs, metas, strict=True) if meta.kind is FileKind.FILE)
        self._transfer(self.get_file, pairs, callback, options)

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_options: Any
    ) -> None:
        """Copy a local file, large ones in parts; of a directory only itself. Mode "create" refuses an existing one."""
        source = Path(lpath)
        if source.is_dir():
            self.makedirs(rpath, exist_ok=True)
            return
        with source.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            callback.set_size(size)
            if size <= _TRANSFER_BYTES:
                self.pipe_file(rpath, stream.read(), mode=mode)
                callback.relative_update(size)
                return
            with self.client.writes.open(self.cache_path(rpath), exclusive=mode == "create") as writer:
                while data := stream.read(_TRANSFER_BYTES):
                    writer.write(data)
                    callback.relative_update(len(data))

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Copy local files here, many at once; see fsspec for what goes where."""
        pairs = planned(self, "put", lpath, rpath, recursive=recursive, maxdepth=maxdepth)
        self._transfer(self.put_file, pairs, callback, options)

    def _sorted_out(
        self, pairs: Sequence[tuple[str, str]], on_error: str
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """(files, directories) of a plan as the cache's paths; what stays where it is is left out."""
        files: list[tuple[str, str]] = []
        directories: list[tuple[str, str]] = []
        uri_of = self.client.locator.uri_of
        for (source, target), meta in zip(pairs, self._resolve([source for source, _ in pairs]), strict=True):
            if meta.kind is FileKind.MISSING and on_error == "ignore" and meta.error is None:
                continue
            kind_of = directories if meta.kind is FileKind.DIRECTORY else files
            path = meta.path if meta.kind is FileKind.DIRECTORY else require_file(meta, source).path
            full = names.normalise(self.cache_path(target))
            if uri_of(path) != uri_of(full):
                kind_of.append((path, full))
        return files, directories

    def _copy(self, pairs: Sequence[tuple[str, str]], on_error: str) -> None:
        files, directories = self._sorted_out(pairs, on_error)
        writes = self.client.writes
        for _, target in directories:
            writes.make_directory(target)
        try:
            writes.copy(files)
        except NotFoundError:
            if on_error == "raise":
                raise
            for pair in files:  # one vanished meanwhile: the others still go
                with contextlib.suppress(NotFoundError):
                    writes.copy([pair])

    def _transfer(
        self, one: Callable[..., None], pairs: Sequence[tuple[Any, Any]], callback: Any, options: dict[str, Any]
    ) -> None:
        callback.set_size(len(pairs))

        def transfer(pair: tuple[Any, Any]) -> None:
            with callback.branched(*pair) as child:
                one(*pair, callback=child, **options)
            callback.relative_update(1)

        _parallel(transfer, pairs)


def _tops(directories: Iterable[str]) -> list[str]:
    """Those that lie in no other."""
    tops: list[str] = []
    for directory in sorted(directories, key=names.below):
        if not tops or not directory.startswith(names.below(tops[-1])):
            tops.append(directory)
    return tops


def _drain(file: Any, stream: Any, callback: Any) -> None:
    offset = 0
    while offset < file.size:
        buffer = file.read_at(offset, _TRANSFER_BYTES)
        stream.write(memoryview(buffer))
        callback.relative_update(buffer.size)
        offset += buffer.size


def _parallel(one: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Do it for each, many at once; the first error is raised, what has not begun then is left."""
    if len(items) == 1:
        one(items[0])
    elif items:
        with ThreadPoolExecutor(_TRANSFERS_INFLIGHT, thread_name_prefix="raycache-transfer") as pool:
            list(pool.map(one, items))
