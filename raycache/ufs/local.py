"""A local or shared disk, `file://`: keys are paths below "/".

A version is size and etag, which is made of times and inode (`local_version.py`). A read that is bound to a version looks at
both before and after, on the same open file, so a file replaced by rename gives the old bytes or a ConflictError, never a
mixture. A file written in place within the clock's granularity and without a change of size goes unseen: lakes should
replace, not overwrite.

Writes replace (`local_writer.py`). Symbolic links are followed for reading, listing and writing; what deletes removes
the link itself. Links in a circle end a walk. Sockets, pipes and devices are not files and are never opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError, IsADirectoryRequestError, NotFoundError
from raycache.types import FileVersion, clamp_ns
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import (
    as_bytes_view,
    changed,
    check_file_key,
    check_range,
    check_version,
    is_path_key,
    past_end,
)
from raycache.ufs.errors import shown
from raycache.ufs.identity import Step, Way
from raycache.ufs.local_version import etag_of
from raycache.ufs.local_writer import LocalWriter, make_directories, mapped_os_errors, remove_leftovers
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
        self.root = os.path.join(os.fspath(root), "")  # pathlib drops the "/" that joins keys
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
        with mapped_os_errors("read", self.uri(key)):
            status = os.stat(self._existing_path(key))
            if not stat.S_ISREG(status.st_mode):
                raise self._no_file(key)
            return _info(key, status)

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        uri = self.uri(key)
        check_range(uri, offset, length)
        with mapped_os_errors("read", self.uri(key)):
            path = self._existing_path(key)
            # A pipe would block the open until somebody writes.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise self._no_file(key)
                check_version(uri, _info(key, before), version)
                data = _pread(descriptor, offset, length)
                after = os.fstat(descriptor)
                check_version(uri, _info(key, after), version)
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
            return ObjectInfo(key, 0, "", None)
        writer = self.open_writer(key)
        writer.write(view)
        return writer.close()

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        check_file_key(self.root_uri, key)
        path = os.path.realpath(self.path(key))
        with mapped_os_errors("write", self.uri(key)):
            if os.path.isdir(path):
                raise IsADirectoryRequestError(f"{shown(self.uri(key))} is a directory; name a file", uri=self.uri(key))
            make_directories(os.path.dirname(path))
            return LocalWriter(path, self.uri(key), lambda status: _info(key, status))

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`. ConflictError when the source is written meanwhile."""
        source = self.head(source_key)
        with contextlib.suppress(OSError):
            if os.path.samefile(self.path(source_key), self.path(target_key)):
                return source._replace(key=target_key)
        writer = self.open_writer(target_key)
        try:
            with mapped_os_errors("copy", self.uri(source_key)), open(self.path(source_key), "rb") as stream:
                before = _info(source_key, os.fstat(stream.fileno()))
                shutil.copyfileobj(stream, writer, 1 << 20)
                if before != _info(source_key, os.fstat(stream.fileno())):
                    raise changed(self.uri(source_key))
        except BaseException:
            writer.abort()
            raise
        return writer.close()

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`. A key that ends in "/" removes that directory if it is empty."""
        for key in keys:
            with mapped_os_errors("delete", self.uri(key)):
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
        with mapped_os_errors("make", self.uri(key)):
            make_directories(self.path(key.rstrip("/")))

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`. A missing one is no error; of a link to an empty one, the link goes."""
        check_file_key(self.root_uri, key)
        path = self.path(key.rstrip("/"))
        with mapped_os_errors("remove", self.uri(key)), contextlib.suppress(FileNotFoundError):
            remove_leftovers(path)
            if not os.path.islink(path):
                os.rmdir(path)
            elif os.listdir(path):
                raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
            else:
                os.unlink(path)

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """See `UnderStorage.remove_tree`."""
        path = self.path(key.removesuffix("/")) if key else self.root
        with mapped_os_errors("remove", self.uri(key)), contextlib.suppress(FileNotFoundError):
            if key.endswith("/"):
                path = os.path.realpath(path)
            elif os.path.islink(path):
                os.unlink(path)
                if contents_only:
                    make_directories(path)
                return
            _remove_below(path)
            if key and not contents_only:
                os.rmdir(path)

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`. What is missing has no inode: it is told by its name, and where it would be."""
        steps = [Step("", _inode("/"))]
        above = ""
        for name in os.path.realpath(self.path(key) if key else self.root).split("/"):
            if name:
                above = f"{above}/{name}"
                steps.append(Step(name, _inode(above) or (steps[-1].identity, name)))
        return steps

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
            with mapped_os_errors("list", self._storage.uri(directory)):
                status = os.stat(path)
                with os.scandir(path) as found:
                    entries = [entry for item in found if (entry := _entry(item)) is not None]
        except (NotFoundError, InvalidRequestError):  # the latter behind more links than the system follows
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


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_below(path: str) -> None:
    """Remove all that stands in a directory, and follow no link."""
    for _, directories, files, descriptor in os.fwalk(path, topdown=False, onerror=_raise_unless_missing):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=descriptor)
        for name in directories:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rmdir(name, dir_fd=descriptor)
                except NotADirectoryError:  # a link to one
                    os.unlink(name, dir_fd=descriptor)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, etag_of(status), clamp_ns(status.st_mtime_ns))


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
