"""The reading half of the fsspec filesystem, and how its paths are spelled.

Calls are batched as fsspec allows: `cat` of many, `cat_ranges`, `find`, `glob` and `rm` cost one call to the master and
one per worker. There is no listing cache here; the locator's and the master's are one for the whole process and cluster.
An instance holds no connection: it uses the process's own, so it pickles, survives `raycache.stop()`, and costs nothing.

How paths are spelled: `fsspec_paths`. Which file goes where in `copy`, `get` and `put`: fsspec's rules, `fsspec_plan`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from glob import has_magic
from typing import Any

from fsspec.implementations.chained import ChainedFileSystem
from fsspec.utils import stringify_path

from raycache import paths as names
from raycache.client import connection
from raycache.client.client import Client
from raycache.client.file_meta import FileMeta, require_file
from raycache.client.mount_options import with_environment
from raycache.client.reading.to_bytes import bytes_of
from raycache.errors import (
    InvalidRequestError,
    NotADirectoryRequestError,
    NotFoundError,
    RaycacheError,
)
from raycache.filesystems import fsspec_paths as spelling
from raycache.filesystems.fsspec_files import ReadFile
from raycache.filesystems.fsspec_infos import directory_info, file_info, row_info
from raycache.filesystems.fsspec_walks import walked
from raycache.filesystems.reconnecting import reconnecting
from raycache.messages import ListReply
from raycache.types import FileKind


@reconnecting("_meta", "_resolve", "_kind", "ls", "find", "cat_file", "_contents", "_open", "invalidate_cache")
class ReadingFileSystem(ChainedFileSystem):  # type: ignore[misc]  # fsspec has no types
    """What looks and reads; `fsspec.RaycacheFileSystem` adds what writes.

    Args:
        target_protocol, target_options, fo: of the chain's next link, as fsspec hands them over; the options become
            those of the store's own mount when it has none yet.
        address: of the Ray cluster, for processes that are not connected to one.
        storage_options: of fsspec's base class.
    """

    protocol: str | tuple[str, ...] = "raycache"
    root_marker = "/"
    blocksize = 8 << 20

    def __init__(
        self,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        fo: str | None = None,  # noqa: ARG002  # names are full paths in the store, with or without it
        address: str | None = None,
        **storage_options: Any,
    ) -> None:
        if self._cached:
            return
        super().__init__(**storage_options)
        self._address = address
        self._target_options = dict(target_options or {})
        #: (cache id, store): whose mounts were made sure of.
        self._announced: set[tuple[str, str]] = set()
        #: How names are spelled, where they are those of one store.
        self.chain = spelling.Chain(target_protocol, self._target_options) if target_protocol else None
        if self.chain is not None:
            # As fsspec's own caching filesystems do: in a chain, names are those of one store.
            self._strip_protocol = _each(self.chain.strip)  # type: ignore[method-assign, assignment]
            self._parent = self.chain.parent  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ReadingFileSystem)
            and type(other) is type(self)
            and (other.storage_args, other.storage_options) == (self.storage_args, self.storage_options)
        )

    def __hash__(self) -> int:
        return hash(type(self))

    @property
    def fsid(self) -> str:
        return "raycache"

    # --- paths --------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return _each(spelling.strip)(path)

    @classmethod
    def _parent(cls, path: str) -> str:
        return spelling.parent(stringify_path(path))

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a name."""
        full = self.chain.full(name) if self.chain is not None else spelling.strip(name)
        return f"raycache://{full}" if full.startswith("/") else f"raycache::{full}"

    @property
    def client(self) -> Client:
        """The connection of this process."""
        return connection.current() or connection.connect(self._address)

    def cache_path(self, path: Any) -> str:
        """The cache's path of a name; in a chain, its store is mounted on first use with the chain's options."""
        name = stringify_path(path)
        if self.chain is None:
            return spelling.strip(name) or "/"
        full = self.chain.full(name)
        if self._target_options:
            root_uri, _ = names.split_uri(names.normalise(full))
            client = self.client
            if (client.id, root_uri) not in self._announced:
                options = spelling.mount_options(root_uri, self._target_options)
                client.locator.announce(root_uri, with_environment(root_uri, options))
                self._announced.add((client.id, root_uri))
        return full

    def _name(self, full: str) -> str:
        return full if self.chain is None else self.chain.strip(full)

    # --- looking ------------------------------------------------------------------------------------------------------

    def info(self, path: str, refresh: bool = False, **_options: Any) -> dict[str, Any]:
        """Describe what stands at a path: name, size, type, mtime, LastModified, ETag.

        Raises:
            NotFoundError (a FileNotFoundError): nothing does.
        """
        return self._info(self._meta(path, fresh=refresh))

    def exists(self, path: str, **_options: Any) -> bool:
        """Whether something stands at a path. Raises when that cannot be told: UnavailableError, DeniedError."""
        return self._kind(path) is not FileKind.MISSING

    def isdir(self, path: str) -> bool:
        return self._kind(path) is FileKind.DIRECTORY

    def isfile(self, path: str) -> bool:
        return self._kind(path) is FileKind.FILE

    def ls(self, path: str, detail: bool = True, refresh: bool = False, **options: Any) -> list[Any]:
        """List a directory, or describe a file.

        Args:
            path: of either.
            detail: give what `info` gives, instead of names.
            refresh: ask the lake even where the metadata TTL has not passed.
            options: `nameless` adds the directory without a name, see `fsspec_walks`.
        """
        full = self.cache_path(path)
        try:
            reply = self.client.locator.listing(full, recursive=False, fresh=refresh)
        except NotADirectoryRequestError:
            infos = [self._info(self._meta(path))]
        else:
            # A key of an object store may be both a file and a directory: then it is here twice.
            base = self._name(names.normalise(full))
            rows = reply.rows(nameless=options.get("nameless", False))
            infos = [row_info(names.below(base) + row.name, row) for row in rows]
        return infos if detail else list(dict.fromkeys(info["name"] for info in infos))

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        refresh: bool = False,
        **_options: Any,
    ) -> Any:
        """All files below a path, by one listing; nothing when nothing is there."""
        if maxdepth is not None and maxdepth < 1:
            raise InvalidRequestError(f"maxdepth {maxdepth} is too small; give 1 or more")
        full = self.cache_path(path)
        found: dict[str, dict[str, Any]]
        try:
            reply = self.client.locator.listing(full, recursive=maxdepth != 1, fresh=refresh)
        except NotADirectoryRequestError:
            info = self._info(self._meta(path))
            found = {info["name"]: info}
        except NotFoundError:
            # fsspec's contract: nothing found, no error.
            found = {}
        else:
            found = self._infos(full, reply, maxdepth=maxdepth, withdirs=withdirs)
            if withdirs:
                found[self._name(full)] = directory_info(self._name(full))
        ordered = sorted(found)
        return {name: found[name] for name in ordered} if detail else ordered

    def walk(self, path: str, maxdepth: int | None = None, **options: Any) -> Iterator[Any]:
        """As fsspec's, which leaves out what cannot be listed: so whether there is a cache is asked before."""
        _ = self.client
        yield from walked(self, self._name(names.normalise(self.cache_path(path))), maxdepth, **options)

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **options: Any,
    ) -> list[str]:
        """What paths, globs and directories mean; fsspec's rules, but what stands there by its letters is meant by them.

        So a key with brackets is found, and not another one that they would match.
        """
        wanted = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        stripped = [self._strip_protocol(item) for item in wanted]
        globs = [] if assume_literal else [name for name in stripped if has_magic(name)]
        metas = self._resolve(globs) if globs else []
        literal = [name for name, meta in zip(globs, metas, strict=True) if meta.kind is not FileKind.MISSING]
        rest = [name for name in stripped if name not in literal]
        found: list[str] = super().expand_path(literal, recursive, maxdepth, True, **options) if literal else []
        if rest or not literal:
            with contextlib.suppress(*([FileNotFoundError] if found else [])):
                found += super().expand_path(rest, recursive, maxdepth, assume_literal, **options)
        return sorted(set(found))

    def du(
        self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **_options: Any
    ) -> Any:
        """Bytes below a path, or by file when not `total`."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    def created(self, path: str) -> dt.datetime | None:
        """When this version was made; versions never change, so also when it was last modified."""
        return self.modified(path)

    def modified(self, path: str) -> dt.datetime | None:
        mtime: dt.datetime | None = self.info(path)["mtime"]
        return mtime

    def ukey(self, path: str) -> str:
        """Another one for every version of the file; hex."""
        return require_file(self._meta(path), path).version.hex()

    def checksum(self, path: str) -> int:
        return int(self.ukey(path), 16)

    def sign(self, path: str, expiration: int = 100, **_options: Any) -> str:  # noqa: ARG002  # fsspec's signature
        raise InvalidRequestError(f"{path} has no URL to sign; sign the object in its own store")

    def invalidate_cache(self, path: str | None = None) -> None:
        """Ask the lake when next asked: for one path at once; else this process forgets what it knows of all paths."""
        super().invalidate_cache(path)
        locator = self.client.locator
        if path is None:
            locator.forget_all()
            return
        full = self.cache_path(path)
        locator.forget([full])
        if locator.resolve([full], fresh=True)[0].kind is FileKind.DIRECTORY:
            locator.listing(full, recursive=False, fresh=True)

    # --- reading ------------------------------------------------------------------------------------------------------

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_options: Any) -> bytes:
        """The bytes of a file, or `[start:end]` of them; negative counts from the end, as in Python."""
        full = self.cache_path(path)
        if start is None and end is None:
            return bytes_of(self.client.read(full))
        if (start or 0) >= 0 and (end is None or end >= 0):
            offset = start or 0
            size = None if end is None else max(0, end - offset)
            return bytes_of(self.client.read(full, offset, size))
        client = self.client
        file = client.open_meta(client.locator.file(full))
        return bytes_of(file.read_at(*_span(start, end, file.size)))

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **_options: Any) -> Any:
        """The bytes of a file; or of several files, directories or globs as {name: bytes}, in one round trip per worker.

        Args:
            path: one or a list.
            recursive: a directory means all files below it.
            on_error: "raise", "omit" the file, or "return" the error in its place.
        """
        one = not isinstance(path, (list, tuple, set))
        wanted = self.expand_path(path if one else list(path), recursive=recursive)
        if one and wanted == [self._strip_protocol(path)]:
            return self.cat_file(wanted[0])
        expanded = recursive or any(has_magic(str(item)) for item in ([path] if one else path))
        metas = self._resolve(wanted)
        if expanded:
            keep = [meta.kind is not FileKind.DIRECTORY for meta in metas]
            wanted = [name for name, kept in zip(wanted, keep, strict=True) if kept]
            metas = [meta for meta, kept in zip(metas, keep, strict=True) if kept]
        contents = self._contents(wanted, metas, [(None, None)] * len(wanted), on_error)
        return {
            name: content
            for name, content in zip(wanted, contents, strict=True)
            if on_error != "omit" or isinstance(content, bytes)
        }

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,  # noqa: ARG002  # fsspec's signature
        on_error: str = "return",
        **_options: Any,
    ) -> list[Any]:
        """Byte ranges of files, all in one round trip per worker.

        Args:
            paths: shape (R,), a file may come more than once.
            starts, ends: shape (R,), or one for all; as in `cat_file`.
            max_gap: not needed here; ranges are of blocks that are fetched whole.
            on_error: "return" the error in the range's place, or "raise".
        """
        starts, ends = (
            list(given) if isinstance(given, (list, tuple)) else [given] * len(paths) for given in (starts, ends)
        )
        if not len(paths) == len(starts) == len(ends):
            raise InvalidRequestError(f"{len(paths)} paths, {len(starts)} starts and {len(ends)} ends do not match")
        return self._contents(paths, self._resolve(paths), list(zip(starts, ends, strict=True)), on_error)

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **options: Any,
    ) -> Any:
        """Open a file."""
        if mode == "rb" and compression is None:
            return self._open(self._strip_protocol(path))
        return super().open(path, mode, block_size, cache_options, compression, **options)

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> Any:
        if mode != "rb":
            raise InvalidRequestError(
                f"mode {mode!r} is not supported: files are written whole; use 'rb', 'wb' or 'xb'"
            )
        client = self.client
        return ReadFile(self, path, client.open_meta(client.locator.opened(self.cache_path(path)), read_ahead=True))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _meta(self, path: str, *, fresh: bool = False) -> FileMeta:
        return self.client.locator.resolve([self.cache_path(path)], fresh=fresh)[0]

    def _resolve(self, paths: Sequence[str]) -> list[FileMeta]:
        return self.client.locator.resolve([self.cache_path(path) for path in paths])

    def _kind(self, path: str) -> FileKind:
        return self.client.locator.kind(self.cache_path(path))

    def _info(self, meta: FileMeta) -> dict[str, Any]:
        name = self._name(meta.path)
        if meta.kind is FileKind.DIRECTORY:
            return directory_info(name)
        file = require_file(meta, name).file
        return file_info(name, file.size_bytes, file.mtime_ns, file.etag)

    def _infos(
        self, full: str, reply: ListReply, maxdepth: int | None = None, withdirs: bool = True
    ) -> dict[str, dict[str, Any]]:
        """A listing as fsspec has it; `withdirs` adds the directories that names only imply."""
        base = self._name(names.normalise(full))
        found: dict[str, dict[str, Any]] = {}
        for row in reply.rows(implied=withdirs):
            too_deep = maxdepth is not None and row.name.count("/") >= maxdepth
            if not too_deep and (withdirs or row.kind == FileKind.FILE):
                path = names.join(base, row.name)
                found[path] = row_info(path, row)
        return found

    def _contents(
        self,
        paths: Sequence[str],
        metas: Sequence[FileMeta],
        spans: Sequence[tuple[int | None, int | None]],
        on_error: str,
    ) -> list[Any]:
        """Bytes, or where allowed errors, of `[start:end]` of each file."""
        wanted = [
            (meta.path, _span(start, end, meta.file.size_bytes))
            for meta, (start, end) in zip(metas, spans, strict=True)
            if meta.kind is FileKind.FILE
        ]
        if len(wanted) == len(metas) or on_error != "raise":
            with contextlib.suppress(RaycacheError):
                buffers = iter(self.client.read_ranges([path for path, _ in wanted], [span for _, span in wanted]))
                return [
                    bytes_of(next(buffers)) if meta.kind is FileKind.FILE else _error_of(meta, path)
                    for meta, path in zip(metas, paths, strict=True)
                ]
        contents: list[Any] = []
        for path, (start, end) in zip(paths, spans, strict=True):
            try:
                contents.append(self.cat_file(path, start, end))
            except RaycacheError as error:
                if on_error == "raise":
                    raise
                contents.append(error)
        return contents


def _each(strip: Callable[[str], str]) -> Callable[[Any], Any]:
    """Apply to one path or a list, as fsspec's `_strip_protocol` does."""

    def stripped(path: Any) -> Any:
        if isinstance(path, list):
            return [strip(stringify_path(item)) for item in path]
        return strip(stringify_path(path))

    return stripped


def _span(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    """(offset, length) of `[start:end]`."""
    first, last, _ = slice(start, end).indices(size)
    return first, max(0, last - first)


def _error_of(meta: FileMeta, path: str) -> RaycacheError:
    try:
        require_file(meta, path)
    except RaycacheError as error:
        return error
    raise AssertionError("unreachable")
