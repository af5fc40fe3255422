"""A local or shared disk, `file://`: keys are paths below "/".

A version is size and mtime; there are no etags. A read that is bound to a version looks at both before and after, on
the same open file, so a file replaced by rename gives the old bytes or a ConflictError, never a mixture. A file written
in place within the clock's granularity and without a change of size goes unseen: lakes should replace, not overwrite.

Writes go to a hidden temporary file beside the target, are synced, and renamed over it. Symbolic links are followed,
also by writes; links in a circle end a walk. Sockets, pipes and devices are not files and are never opened.
"""

# pathlib drops slashes that keys have, and costs more than the system calls.
# ruff: noqa: PTH103, PTH105, PTH106, PTH108, PTH112, PTH114, PTH116, PTH120, PTH123
from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError, IsADirectoryRequestError, NotFoundError, RaycacheError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import as_bytes_view, check_file_key, check_range, check_version, is_path_key, past_end
from raycache.ufs.errors import cause_of, map_os_error, shown
from raycache.ufs.walk import TEMPORARY_PREFIX, Children, Pager, WalkEntry


class LocalStorage:
    """All files of this machine, or those below one directory.

    Args:
        root_uri: `file://`.
        root: keys are relative to it.
    """

    has_directories = True

    def __init__(self, root_uri: str = "file://", *, root: str | os.PathLike[str] = "/") -> None:
        self.root_uri = root_uri
        self.root = os.path.join(os.fspath(root), "")  # noqa: PTH118  # pathlib drops the "/" that joins keys
        self._pager = Pager(_LocalTree(self))

    def __repr__(self) -> str:
        return f"LocalStorage({self.root_uri!r})"

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`. A directory that may not be read raises DeniedError."""
        return self._pager.page(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        with _mapped("read", self.uri(key)):
            status = os.stat(self._existing_path(key))
            if not stat.S_ISREG(status.st_mode):
                raise self._no_file(key)
            return _info(key, status)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        uri = self.uri(key)
        check_range(uri, offset, length)
        with _mapped("read", self.uri(key)):
            path = self._existing_path(key)
            # A pipe would block the open until somebody writes.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise self._no_file(key)
                check_version(uri, before.st_size, "", before.st_mtime_ns, version)
                data = _pread(descriptor, offset, length)
                after = os.fstat(descriptor)
                check_version(uri, after.st_size, "", after.st_mtime_ns, version)
                if len(data) < length:
                    raise past_end(uri, offset, length, after.st_size)
                return data
            finally:
                os.close(descriptor)

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`. A key that ends in "/" makes that directory, and must have no data."""
        view = as_bytes_view(data)
        if key.endswith("/") and not view:
            self.make_directory(key)
            return ObjectInfo(key, 0, "", 0)
        writer = self.open_writer(key)
        writer.write(view)
        return writer.close()

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        check_file_key(self.root_uri, key)
        path = os.path.realpath(self.path(key))
        with _mapped("write", self.uri(key)):
            if os.path.isdir(path):
                raise IsADirectoryRequestError(f"{shown(self.uri(key))} is a directory; name a file", uri=self.uri(key))
            self._make_parents(path)
            return _LocalWriter(self, key, path)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`."""
        source = self.head(source_key)
        if os.path.realpath(self.path(source_key)) == os.path.realpath(self.path(target_key)):
            return source
        writer = self.open_writer(target_key)
        try:
            with _mapped("copy", self.uri(source_key)), open(self.path(source_key), "rb") as stream:
                shutil.copyfileobj(stream, writer, 1 << 20)
        except BaseException:
            writer.abort()
            raise
        return writer.close()

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`. A key that ends in "/" removes that directory if it is empty."""
        for key in keys:
            with _mapped("delete", self.uri(key)):
                if key.endswith("/"):
                    with contextlib.suppress(InvalidRequestError):
                        self.remove_directory(key)
                    continue
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path = self.path(key)
                    if os.path.islink(path) or not os.path.isdir(path):
                        os.unlink(path)

    def make_directory(self, key: str) -> None:
        """See `UnderStorage.make_directory`."""
        with _mapped("make", self.uri(key)):
            self._make_parents(self.path(key.rstrip("/")) + "/")

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`. A missing one is no error."""
        check_file_key(self.root_uri, key)
        with _mapped("remove", self.uri(key)), contextlib.suppress(FileNotFoundError):
            os.rmdir(self.path(key.rstrip("/")))

    def close(self) -> None:
        """See `UnderStorage.close`."""
        self._pager.close()

    def uri(self, key: str) -> str:
        """The URI of a key."""
        return f"{self.root_uri}/{key}"

    def path(self, key: str) -> str:
        """The path of a key.

        Raises:
            InvalidRequestError: a key no path can say: with empty parts, "." or "..", or a NUL.
        """
        if not is_path_key(key):
            raise InvalidRequestError(f"{shown(self.uri(key))} is no path of a disk; use another", uri=self.uri(key))
        return self.root + key

    def _existing_path(self, key: str) -> str:
        """As `path`, for keys that are looked up: what no path can say is not there."""
        try:
            return self.path(key)
        except InvalidRequestError as error:
            raise self._no_file(key) from error

    def _no_file(self, key: str) -> NotFoundError:
        return NotFoundError(f"{shown(self.uri(key))} is not a file; check the path", uri=self.uri(key))

    def _make_parents(self, path: str) -> None:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except FileExistsError as error:  # a file stands where a directory is wanted
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", path) from error


class _LocalWriter:
    """The `UfsWriter` of a disk."""

    def __init__(self, storage: LocalStorage, key: str, path: str) -> None:
        self._uri = storage.uri(key)
        self._key = key
        self._path = path
        self._temporary = f"{os.path.dirname(path)}/{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        self._stream = open(self._temporary, "xb")  # noqa: SIM115  # lives as long as the writer
        self._info: ObjectInfo | None = None

    def write(self, data: Buffer) -> int:
        """See `UfsWriter.write`."""
        view = as_bytes_view(data)
        if self._stream.closed:
            raise InvalidRequestError(f"the writer of {shown(self._uri)} is closed; open another")
        with _mapped("write", self._uri):
            self._stream.write(view)
        return len(view)

    def close(self) -> ObjectInfo:
        """See `UfsWriter.close`. The bytes are on the disk before the name is."""
        if self._info is None:
            if self._stream.closed:
                raise InvalidRequestError(f"the writer of {shown(self._uri)} was given up; open another")
            try:
                with _mapped("write", self._uri):
                    self._stream.flush()
                    os.fsync(self._stream.fileno())
                    info = _info(self._key, os.fstat(self._stream.fileno()))
                    os.replace(self._temporary, self._path)
            except BaseException:
                self.abort()
                raise
            self._stream.close()
            self._info = info
        return self._info

    def abort(self) -> None:
        """See `UfsWriter.abort`."""
        if self._info is None:
            with contextlib.suppress(OSError):  # closing flushes, which may fail for what was the reason to give up
                self._stream.close()
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)


class _LocalTree:
    """What `walk.py` sees of a disk."""

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage

    def children(self, directory: str) -> Children | None:
        """See `Tree.children`."""
        key = directory.removesuffix("/")
        if directory and not is_path_key(key):
            return None
        path = self._storage.path(key) if directory else self._storage.root
        try:
            with _mapped("list", self._storage.uri(directory)):
                status = os.stat(path)
                with os.scandir(path) as found:
                    entries = [entry for item in found if (entry := _entry(item)) is not None]
        except NotFoundError:
            return None
        return Children(entries, (status.st_dev, status.st_ino))

    def describe(self, key: str, entry: WalkEntry) -> ObjectInfo | None:
        """See `Tree.describe`."""
        try:
            return _info(key, entry.detail.stat())
        except OSError:
            return None


def _entry(item: os.DirEntry[str]) -> WalkEntry | None:
    """None for what is never listed: files being written, dead links, and what is neither file nor directory."""
    try:
        if item.is_dir():
            return WalkEntry(item.name + "/")
        if item.is_file() and not item.name.startswith(TEMPORARY_PREFIX):
            return WalkEntry(item.name, item)
    except OSError:
        # Links in a circle lead to nothing.
        return None
    return None


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, "", status.st_mtime_ns)


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    """Read `length` bytes, or to the end of the file; one system call may give fewer."""
    parts: list[bytes] = []
    while length:
        data = os.pread(descriptor, length, offset)
        if not data:
            break
        parts.append(data)
        offset += len(data)
        length -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextlib.contextmanager
def _mapped(action: str, uri: str) -> Iterator[None]:
    """OSErrors leave as errors of ours."""
    try:
        yield
    except RaycacheError:
        raise
    except OSError as error:
        raise map_os_error(error, action, uri) from cause_of(error)
