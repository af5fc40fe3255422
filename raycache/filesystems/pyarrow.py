"""The cache as a pyarrow filesystem, for pyarrow, Ray Data, pandas and all that takes `filesystem=`.

Ray Data strips schemes off paths, and before that asks whether the filesystem given fits a path's scheme: of filesystems
in Python it knows only pyarrow's `FSSpecHandler` and looks at `.fs.protocol`. With a scheme missing there it would go
to `s3://` by pyarrow's own client, past the cache, without a word. So the handler is a subclass, and its `.fs` owns to
every scheme the cache can mount. What a name without a scheme stands for is known from `normalize_path`, which both ask
first; see `arrow_names`. All methods take URIs, too, and answer in the spelling they were asked in.

Where users give the cache's fsspec filesystem, both wrap it in an `FSSpecHandler` themselves. After `adopt`, that one is a
`CacheHandler`, too.

A file that lies on this node in one piece is handed over as that piece, a native file: pyarrow reads memory then, without
the GIL, and keeps it alive for as long as anything refers to it, whatever becomes of the lease. Nobody sees what it reads,
so the file counts as read, whole, when it is opened. Any other file is read by `ArrowSource`, whose `read_buffer` gives the
cache's buffers in place, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as pafs
from fsspec.spec import AbstractFileSystem

from raycache import paths as names
from raycache.client.file_meta import FileMeta, require_file
from raycache.errors import InvalidRequestError, NotFoundError, UnavailableError
from raycache.filesystems.arrow_names import ArrowNames, name_below
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.filesystems.fsspec_paths import Chain
from raycache.filesystems.reconnecting import reconnecting
from raycache.messages import MountTable
from raycache.types import FileKind

if TYPE_CHECKING:
    from raycache.client.reading.file import CacheFile

#: What Ray Data may find before "://" of a path that is meant for the cache.
SCHEMES = (
    "raycache",
    "fsspec+raycache",
    "s3",
    "s3a",
    "s3n",
    "gs",
    "gcs",
    "hdfs",
    "viewfs",
    "abfs",
    "abfss",
    "file",
    "local",
)


class AnySchemeFileSystem(RaycacheFileSystem):
    """The fsspec filesystem that Ray Data is shown; see the module's text."""

    protocol = SCHEMES


class ArrowSource:
    """A file as `pa.PythonFile` reads it: by position it keeps itself, into buffers."""

    mode = "rb"

    def __init__(self, file: CacheFile) -> None:
        self._file = file

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read_buffer(self, size: int = -1) -> pa.Buffer:
        """The next bytes, in place."""
        return self._file.read_buffer(size)

    #: pyarrow calls `read` where it copies into memory of its own; a buffer saves it one copy.
    read = read_buffer

    def readline(self, size: int | None = -1) -> bytes:
        return self._file.readline(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def size(self) -> int:
        """Bytes of the whole file."""
        return self._file.size

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        self._file.close()


@reconnecting(
    "normalize_path",
    "get_file_info",
    "get_file_info_selector",
    "open_input_file",
    "open_output_stream",
    "create_dir",
    "delete_dir",
    "delete_dir_contents",
    "delete_file",
    "move",
    "copy_file",
)
class CacheHandler(pafs.FSSpecHandler):  # type: ignore[misc]  # pyarrow has no types
    """The Python side of `pa.fs.PyFileSystem`. Pickles, and is equal to every other one of the same options.

    Args:
        fs: the cache, as fsspec sees it.
        on_path: called whenever somebody asks what a path means; pickles. Ray Data asks this before it makes a dataset, and
            calls nothing of ours earlier.
        names: the names given so far.
        keeps_uris: of a URI the name is itself, unless it comes back without its scheme. So it is where the filesystem is the
            user's: dask opens by that one what pyarrow has listed by this.
    """

    fs: RaycacheFileSystem

    def __init__(
        self,
        fs: AbstractFileSystem | None = None,
        on_path: Callable[[], None] | None = None,
        names: ArrowNames | None = None,
        *,
        keeps_uris: bool = False,
    ) -> None:
        # One that its options do not make again stays what it is.
        if isinstance(fs, RaycacheFileSystem) and not isinstance(fs, AnySchemeFileSystem) and fs.cachable:
            fs, keeps_uris = AnySchemeFileSystem(*fs.storage_args, **fs.storage_options), True
        super().__init__(AnySchemeFileSystem() if fs is None else fs)
        self._keeps_uris = keeps_uris
        self._chain: Chain | None = getattr(fs, "chain", None)
        self._on_path = on_path or _adopted_on_path
        self._names = names or ArrowNames()
        #: (name, size) of the files that a reader has chosen, whatever paths it hands to Ray Data. Stays in this process.
        self.chosen: Sequence[tuple[str, int]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        made = functools.partial(CacheHandler, keeps_uris=self._keeps_uris)
        return made, (self.fs, self._on_path, self._names)

    def get_type_name(self) -> str:
        return "raycache"

    # --- names --------------------------------------------------------------------------------------------------------

    def normalize_path(self, path: str) -> str:
        """The name of a path or URI inside pyarrow, as other filesystems spell it; again gives the same."""
        if self._on_path is not None:
            self._on_path()
        chain = self._chain
        if chain is None:
            try:
                name = self._names.name_of(path, self._mounts)
                return self.path_of(name) if self._keeps_uris and _has_scheme(path) else name
            except (NotFoundError, UnavailableError):
                # No cache says what is mounted, so the name might be a mount's.
                return names.filesystem_path(names.normalise(path))
        uri = names.normalise(path) if path.startswith("/@") or _has_scheme(path) else ""
        return names.filesystem_path(uri) if uri and not chain.holds(uri) else chain.strip(uri or path)

    def path_of(self, name: str) -> str:
        """The cache's path or URI of a name.

        Raises:
            InvalidRequestError: it may be of several stores, or of none.
        """
        if self._chain is None:
            return self._names.path_of(name, self._mounts)
        return name if name.startswith("/@") else self.fs.cache_path(name)

    def _mounts(self) -> MountTable:
        return self.fs.client.locator.mounts

    # --- looking ------------------------------------------------------------------------------------------------------

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """Describe files, in one call for all that are not known."""
        metas = self.fs.client.locator.resolve([self.path_of(path) for path in paths])
        return [_info(path, meta) for path, meta in zip(paths, metas, strict=True)]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """List a directory, by one listing."""
        base = selector.base_dir
        base_path = names.normalise(self.path_of(base))
        try:
            reply = self.fs.client.locator.listing(base_path, recursive=selector.recursive)
        except NotFoundError:
            if selector.allow_not_found:
                return []
            raise
        found: dict[str, pafs.FileInfo] = {}
        for name, kind, size, _, mtime_ns in reply.rows(implied=True):
            path = name_below(base, base_path, name)
            if kind == FileKind.FILE:
                found[name] = pafs.FileInfo(path, pafs.FileType.File, size=size, mtime_ns=mtime_ns)
            else:
                found[name] = pafs.FileInfo(path, pafs.FileType.Directory)
        return [found[name] for name in sorted(found)]

    # --- reading ------------------------------------------------------------------------------------------------------

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open a file for reading in any order."""
        client = self.fs.client
        meta = client.locator.opened(self.path_of(path))
        whole = client.whole(meta)
        return pa.PythonFile(ArrowSource(client.open_meta(meta)), mode="r") if whole is None else pa.BufferReader(whole)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Open a file for reading."""
        return self.open_input_file(path)

    # --- writing ------------------------------------------------------------------------------------------------------

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002  # pyarrow's signature
        """Open a file for writing: it appears whole at `close`; dropped unclosed, or aborted, it does not."""
        return pa.PythonFile(self.fs.client.writes.open(self.path_of(path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002  # pyarrow's signature
        raise InvalidRequestError(f"{path} cannot be appended to: files are written whole; write another, or all of it")

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a directory where the store has them; one that exists is no error."""
        self.fs.client.writes.make_directory(self.path_of(path), parents=recursive, marked=True)

    def delete_dir(self, path: str) -> None:
        """Delete a directory with all it holds."""
        self.fs.client.writes.delete_directory(self.path_of(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool) -> None:
        """Delete what a directory holds."""
        try:
            self.fs.client.writes.delete_directory(self.path_of(path), contents_only=True)
        except NotFoundError:
            if not missing_dir_ok:
                raise

    def delete_root_dir_contents(self) -> None:
        raise InvalidRequestError("the root of the namespace cannot be emptied; name a mount, or a directory below one")

    def delete_file(self, path: str) -> None:
        """Delete a file.

        Raises:
            NotFoundError, IsADirectoryRequestError.
        """
        client = self.fs.client
        client.writes.delete([client.locator.file(self.path_of(path), fresh=True).path])

    def move(self, src: str, dest: str) -> None:
        """Move a file or a directory; copied first, deleted when every copy stands."""
        writes = self.fs.client.writes
        src, dest = self.path_of(src), self.path_of(dest)
        if self._is_directory(src):
            writes.move_directory(src, dest)
        else:
            writes.move([(src, dest)])

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file, server-side inside one store."""
        self.fs.client.writes.copy([(self.path_of(src), self.path_of(dest))])

    def _is_directory(self, path: str) -> bool:
        meta = self.fs.client.locator.resolve([path], fresh=True)[0]
        return meta.kind is FileKind.DIRECTORY or require_file(meta, path).kind is FileKind.DIRECTORY


def filesystem(on_path: Callable[[], None] | None = None, names: ArrowNames | None = None) -> pafs.PyFileSystem:
    """The cache of this process's Ray cluster as a pyarrow filesystem; pickles as "connect again"."""
    return pafs.PyFileSystem(CacheHandler(on_path=on_path, names=names))


def cache_handler(filesystem: Any) -> CacheHandler | None:
    """The handler of a pyarrow filesystem, or of the one that Ray Data has wrapped, if it is the cache."""
    handler = getattr(filesystem, "handler", None)
    inner = getattr(filesystem, "unwrap", getattr(handler, "unwrap", None))
    handler = getattr(inner(), "handler", None) if inner is not None else handler
    return handler if isinstance(handler, CacheHandler) else None


def adopt(on_path: Callable[[], None]) -> None:
    """From now on, what pyarrow or Ray Data make of the cache's fsspec filesystem in this process is a `CacheHandler`.

    Args:
        on_path: of all those; see there.
    """
    global _adopted_on_path  # noqa: PLW0603  # pyarrow's class is one for the process, too
    _adopted_on_path = on_path
    pafs.FSSpecHandler.__new__ = _new_handler


#: See `adopt`.
_adopted_on_path: Callable[[], None] | None = None


def _new_handler(cls: type, fs: Any = None, *_arguments: Any, **_named: Any) -> Any:
    return object.__new__(CacheHandler if cls is pafs.FSSpecHandler and isinstance(fs, RaycacheFileSystem) else cls)


def _has_scheme(path: str) -> bool:
    scheme, mark, _ = path.partition("://")
    return bool(mark) and "/" not in scheme


def _info(path: str, meta: FileMeta) -> pafs.FileInfo:
    if meta.error is not None and not isinstance(meta.error, NotFoundError):
        raise meta.error
    if meta.kind is FileKind.MISSING:
        return pafs.FileInfo(path, pafs.FileType.NotFound)
    if meta.kind is FileKind.DIRECTORY:
        return pafs.FileInfo(path, pafs.FileType.Directory)
    return pafs.FileInfo(path, pafs.FileType.File, size=meta.file.size_bytes, mtime_ns=meta.file.mtime_ns)
