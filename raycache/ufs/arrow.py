"""Any pyarrow filesystem as a lake: HDFS, GCS, Azure, and whatever else pyarrow resolves.

A version is size and mtime; a read that is bound to one asks for both before and after. HDFS's times, as libhdfs tells them, are
whole seconds: what is written here takes care to be another version than what it replaces, and what others write within a
second and of the same size cannot be told apart. Writes go to a hidden temporary
file and are moved over the target, which is as atomic as the filesystem's own move. pyarrow gives no way to bound a
single call: HDFS's and GCS's own time-outs (in their configuration) apply, and failures are retried as everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Buffer

from raycache.errors import (
    InvalidRequestError,
    IsADirectoryRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UfsWriter
from raycache.ufs.checks import as_bytes_view, check_file_key, check_range, check_version, is_path_key, past_end
from raycache.ufs.errors import cause_of, map_arrow_error, shown
from raycache.ufs.identity import Way, key_way
from raycache.ufs.retry import Retrier
from raycache.ufs.trees import delete_keys
from raycache.ufs.walk import TEMPORARY_PREFIX, Children, Pager, WalkEntry

if TYPE_CHECKING:
    import pyarrow.fs

T = TypeVar("T")

#: Somewhat more, since a clock may be set.
_SECOND_S = 1.05
_PIECE_BYTES = 1 << 20


class ArrowStorage:
    """One pyarrow filesystem, or the part of it below `base`.

    Args:
        filesystem: any `pyarrow.fs.FileSystem`.
        root_uri: the authority it stands for.
        base: goes before every key: "" or something that ends in "/".
        store: what all authorities of this store have in common, see `open.store_of`; "": it has one.
        has_directories: whether an empty directory can exist there.
        whole_seconds: its times of modification are.
        retrier: for requests that may be repeated.
        secrets: texts that messages must not hold.
    """

    def __init__(
        self,
        filesystem: pyarrow.fs.FileSystem,
        root_uri: str,
        *,
        base: str = "",
        store: str = "",
        has_directories: bool = True,
        whole_seconds: bool = False,
        retrier: Retrier | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.root_uri = root_uri
        self.has_directories = has_directories
        self.filesystem: Any = filesystem
        self._whole_seconds = whole_seconds
        self._base = base
        self._store = store or root_uri
        self._retrier = retrier or Retrier()
        self._secrets = tuple(secrets)
        self._pager = Pager(_ArrowTree(self))

    def __repr__(self) -> str:
        return f"ArrowStorage({self.root_uri!r}, {type(self.filesystem).__name__})"

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """See `UnderStorage.list`."""
        return self._pager.page(prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)

    def head(self, key: str) -> ObjectInfo:
        """See `UnderStorage.head`."""
        if not is_path_key(key):
            raise self._no_file(key)
        return self.run("read", key, lambda: self._head_once(key))

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """See `UnderStorage.read`."""
        check_range(self.uri(key), offset, length)
        if not is_path_key(key):
            raise self._no_file(key)
        return self.run("read", key, lambda: self._read_once(key, offset, length, version))

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `UnderStorage.put`. A key that ends in "/" makes that directory, and must have no data."""
        view = as_bytes_view(data)
        if key.endswith("/") and not view:
            self.make_directory(key)
            return ObjectInfo(key, 0, "", None)
        writer = self.open_writer(key)
        try:
            writer.write(view)
        except BaseException:
            writer.abort()
            raise
        return writer.close()

    def open_writer(self, key: str) -> UfsWriter:
        """See `UnderStorage.open_writer`."""
        self.prepare_target(key)
        return _ArrowWriter(self, key)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `UnderStorage.copy`."""
        source = self.head(source_key)
        if source_key == target_key:
            return source
        self.prepare_target(target_key)
        temporary = temporary_key(target_key)
        try:
            self.run("copy", source_key, lambda: self.filesystem.copy_file(self.path(source_key), self.path(temporary)))
            self.move_into_place(temporary, target_key)
        except BaseException:
            with contextlib.suppress(RaycacheError):
                self.delete([temporary])
            raise
        return self.head(target_key)

    def delete(self, keys: Sequence[str]) -> None:
        """See `UnderStorage.delete`. A key that ends in "/" removes that directory if it is empty."""
        for key in keys:
            if key.endswith("/"):
                with contextlib.suppress(InvalidRequestError):
                    self.remove_directory(key)
            elif is_path_key(key):
                self.run("delete", key, functools.partial(self._delete_once, key))

    def make_directory(self, key: str) -> None:
        """See `UnderStorage.make_directory`."""
        key = key.rstrip("/")
        self._check_path(key)
        self.run("make", key, lambda: self.filesystem.create_dir(self.path(key), recursive=True))

    def remove_directory(self, key: str) -> None:
        """See `UnderStorage.remove_directory`. What appears in it between look and removal is lost: pyarrow can only
        remove a directory whole.
        """
        key = key.rstrip("/")
        self._check_path(key)
        found = self.children(key + "/", hidden=True)
        if found is None:
            return
        if found.entries:
            uri = self.uri(key)
            raise InvalidRequestError(f"directory {shown(uri)} is not empty; remove what is in it first", uri=uri)
        self.run("remove", key, lambda: self.filesystem.delete_dir(self.path(key)))

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """See `UnderStorage.remove_tree`."""
        if not self.has_directories:
            delete_keys(self, key, contents_only=contents_only)
            return
        directory = key.rstrip("/")
        if directory:
            self._check_path(directory)
        self.run("remove", key, lambda: self._remove_once(directory, contents_only=contents_only or not directory))

    def way(self, key: str) -> Way:
        """See `UnderStorage.way`. Links inside are unknown here: pyarrow tells of none."""
        return key_way(self._store, key)

    def close(self) -> None:
        """See `UnderStorage.close`."""
        self._pager.close()

    def uri(self, key: str) -> str:
        """The URI of a key."""
        return f"{self.root_uri}/{key}"

    def path(self, key: str) -> str:
        """What pyarrow calls the key."""
        return self._base + key

    def run(self, action: str, key: str, function: Callable[[], T]) -> T:
        """Call with retries; all errors leave as ours."""
        from pyarrow import ArrowException

        def once() -> T:
            try:
                return function()
            except RaycacheError:
                raise
            except (OSError, ArrowException, NotImplementedError) as error:
                raise map_arrow_error(error, action, self.uri(key)) from cause_of(error, self._secrets)

        return self._retrier.call(once)

    def children(self, directory: str, *, hidden: bool = False) -> Children | None:
        """What is in a directory (see `Tree.children`), the files being written too if `hidden`."""
        if directory and not is_path_key(directory.removesuffix("/")):
            return None
        try:
            return self.run("list", directory, lambda: self._children_once(directory, hidden=hidden))
        except NotFoundError:
            return None

    def prepare_target(self, key: str) -> None:
        """Check that a file may be written here, and make the directories above it."""
        self._check_path(key)
        self.run("write", key, lambda: self._prepare_once(key))

    def move_into_place(self, temporary: str, key: str) -> None:
        """Let a finished temporary file become the object: as another version than the one that it replaces."""
        if self._whole_seconds:
            temporary = self.run("write", key, lambda: self._in_another_second(temporary, key))
        self.run("write", key, lambda: self.filesystem.move(self.path(temporary), self.path(key)))

    def _in_another_second(self, temporary: str, key: str) -> str:
        """The temporary file, or a later copy of it where the object has its size and its second."""
        files = self.filesystem
        stands, made = files.get_file_info([self.path(key), self.path(temporary)])
        if (stands.type, stands.size, stands.mtime_ns) != (made.type, made.size, made.mtime_ns):
            return temporary
        time.sleep(_SECOND_S)
        later = temporary_key(key)
        with (
            files.open_input_stream(self.path(temporary)) as source,
            files.open_output_stream(self.path(later)) as target,
        ):
            while piece := source.read(_PIECE_BYTES):
                target.write(piece)
        files.delete_file(self.path(temporary))
        return later

    def _head_once(self, key: str) -> ObjectInfo:
        from pyarrow.fs import FileType

        found = self.filesystem.get_file_info(self.path(key))
        if found.type != FileType.File:
            raise self._no_file(key)
        return describe(key, found)

    def _read_once(self, key: str, offset: int, length: int, version: FileVersion | None) -> Buffer:
        found = self._head_once(key)  # also because some filesystems open directories
        check_version(self.uri(key), found, version)
        if offset + length > found.size_bytes:
            raise past_end(self.uri(key), offset, length, found.size_bytes)
        with self.filesystem.open_input_file(self.path(key)) as stream:
            stream.seek(offset)
            data: Buffer = stream.read_buffer(length)
        if version is not None:
            check_version(self.uri(key), self._head_once(key), version)
        if memoryview(data).nbytes < length:
            raise UnavailableError(f"{shown(self.uri(key))} gave too few bytes; try later", uri=self.uri(key))
        return data

    def _delete_once(self, key: str) -> None:
        from pyarrow.fs import FileType

        if self.filesystem.get_file_info(self.path(key)).type == FileType.File:
            with contextlib.suppress(FileNotFoundError):
                self.filesystem.delete_file(self.path(key))

    def _remove_once(self, directory: str, *, contents_only: bool) -> None:
        path = self.path(directory).rstrip("/")
        if not path:  # HDFS's own root, which pyarrow cannot empty at once
            for entry in (self._children_once("", hidden=True) or Children(())).entries:
                if entry.name.endswith("/"):
                    self._remove_once(entry.name[:-1], contents_only=False)
                else:
                    self._delete_once(entry.name)
            return
        with contextlib.suppress(FileNotFoundError):
            if contents_only:
                self.filesystem.delete_dir_contents(path, accept_root_dir=True)
            else:
                self.filesystem.delete_dir(path)

    def _children_once(self, directory: str, *, hidden: bool) -> Children | None:
        from pyarrow.fs import FileSelector, FileType

        path = self.path(directory).rstrip("/") or self._base
        selector = FileSelector(path, allow_not_found=True, recursive=False)
        try:
            found = self.filesystem.get_file_info(selector)
        except OSError:  # HDFS has no kind of its own for a file where a directory was looked for
            if self.filesystem.get_file_info(path).type == FileType.Directory:
                raise
            return None
        if not found and directory and self.filesystem.get_file_info(path).type != FileType.Directory:
            return None
        entries = []
        for item in found:
            if item.type == FileType.Directory:
                entries.append(WalkEntry(item.base_name + "/"))
            elif item.type == FileType.File and (hidden or not item.base_name.startswith(TEMPORARY_PREFIX)):
                entries.append(WalkEntry(item.base_name, item))
        return Children(entries)

    def _prepare_once(self, key: str) -> None:
        from pyarrow.fs import FileType

        if self.filesystem.get_file_info(self.path(key)).type == FileType.Directory:
            raise IsADirectoryRequestError(f"{shown(self.uri(key))} is a directory; name a file", uri=self.uri(key))
        parent = key.rpartition("/")[0]
        if parent and self.has_directories:
            self.filesystem.create_dir(self.path(parent), recursive=True)

    def _check_path(self, key: str) -> None:
        check_file_key(self.root_uri, key)
        if not is_path_key(key):
            uri = self.uri(key)
            raise InvalidRequestError(f"{shown(uri)} is no path of this filesystem; use another", uri=uri)

    def _no_file(self, key: str) -> NotFoundError:
        return NotFoundError(f"{shown(self.uri(key))} is not a file; check the path", uri=self.uri(key))


class _ArrowWriter:
    """The `UfsWriter` of pyarrow filesystems."""

    def __init__(self, storage: ArrowStorage, key: str) -> None:
        self._storage = storage
        self._key = key
        self._temporary = temporary_key(key)
        self._info: ObjectInfo | None = None
        self._ended = False
        self._stream: Any = storage.run(
            "write", key, lambda: storage.filesystem.open_output_stream(storage.path(self._temporary))
        )

    def write(self, data: Buffer) -> int:
        """See `UfsWriter.write`."""
        if self._ended:
            raise InvalidRequestError(f"the writer of {self._key!r} is closed; open another")
        view = as_bytes_view(data)
        self._map(lambda: self._stream.write(view))
        return len(view)

    def close(self) -> ObjectInfo:
        """See `UfsWriter.close`."""
        if self._info is None:
            if self._ended:
                raise InvalidRequestError(f"the writer of {self._key!r} was given up; open another")
            try:
                self._map(self._stream.close)
                self._storage.move_into_place(self._temporary, self._key)
            except BaseException:
                self.abort()
                raise
            self._ended = True
            self._info = self._storage.head(self._key)
        return self._info

    def abort(self) -> None:
        """See `UfsWriter.abort`."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(RaycacheError):
            self._map(self._stream.close)
        with contextlib.suppress(RaycacheError):
            self._storage.delete([self._temporary])

    def _map(self, function: Callable[[], Any]) -> None:
        """Call once: a stream that failed cannot be written again."""
        from pyarrow import ArrowException

        try:
            function()
        except (OSError, ArrowException, ValueError) as error:
            raise map_arrow_error(error, "write", self._storage.uri(self._key)) from cause_of(error)


class _ArrowTree:
    """What `walk.py` sees of a pyarrow filesystem."""

    def __init__(self, storage: ArrowStorage) -> None:
        self._storage = storage

    def children(self, directory: str) -> Children | None:
        """See `Tree.children`."""
        return self._storage.children(directory)

    def describe(self, key: str, entry: WalkEntry) -> ObjectInfo | None:
        """See `Tree.describe`: the listing has told everything."""
        return describe(key, entry.detail)


def describe(key: str, found: Any) -> ObjectInfo:
    """A pyarrow FileInfo as ours."""
    return ObjectInfo(key, found.size or 0, "", found.mtime_ns)


def temporary_key(key: str) -> str:
    """A hidden name beside the target."""
    parent, separator, _ = key.rpartition("/")
    return f"{parent}{separator}{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
