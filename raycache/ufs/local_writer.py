"""Writing to a disk: files that appear whole and stay, whatever fails afterwards.

Bytes go to a hidden temporary file beside the target. At `close` they are on the disk before the name is, and the name is on
the disk before the write is acknowledged: the file is synced, renamed over the target, and the directory is synced, as is
every directory that was made for it. What is replaced leaves its mode, and where this user may give it away its owner, to
what replaces it; a new file has what the process's umask leaves.

While a file is being written, its temporary one is locked. What a killed writer has left is not, so it is told from what
somebody writes, and keeps no directory from being removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError, RaycacheError
from raycache.ufs.base import ObjectInfo
from raycache.ufs.checks import as_bytes_view
from raycache.ufs.errors import cause_of, map_os_error, shown
from raycache.ufs.walk import TEMPORARY_PREFIX

#: What filesystems say that cannot sync a directory, or lock a file.
_CANNOT = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EBADF})


class LocalWriter:
    """The `UfsWriter` of a disk.

    Args:
        path: of the file, links followed; its directory is there.
        uri: for messages.
        describe: makes what `close` returns of the finished file's status.
    """

    def __init__(self, path: str, uri: str, describe: Callable[[os.stat_result], ObjectInfo]) -> None:
        self._uri = uri
        self._path = path
        self._describe = describe
        self._temporary = os.path.join(os.path.dirname(path), TEMPORARY_PREFIX + secrets.token_hex(8))
        self._stream = open(self._temporary, "xb")  # noqa: SIM115  # lives as long as the writer
        _lock(self._stream.fileno())
        _take_mode(self._stream.fileno(), path)
        self._info: ObjectInfo | None = None

    def write(self, data: Buffer) -> int:
        """See `UfsWriter.write`."""
        view = as_bytes_view(data)
        if self._stream.closed:
            raise InvalidRequestError(f"the writer of {shown(self._uri)} is closed; open another")
        with mapped_os_errors("write", self._uri):
            self._stream.write(view)
        return len(view)

    def close(self) -> ObjectInfo:
        """See `UfsWriter.close`."""
        if self._info is None:
            if self._stream.closed:
                raise InvalidRequestError(f"the writer of {shown(self._uri)} was given up; open another")
            try:
                with mapped_os_errors("write", self._uri):
                    self._stream.flush()
                    os.fsync(self._stream.fileno())
                    os.replace(self._temporary, self._path)
                    # Looked at behind the rename, which changes the inode's ctime.
                    info = self._describe(os.fstat(self._stream.fileno()))
                    _sync_directory(os.path.dirname(self._path))
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


@contextlib.contextmanager
def mapped_os_errors(action: str, uri: str) -> Iterator[None]:
    """OSErrors leave as errors of ours."""
    try:
        yield
    except RaycacheError:
        raise
    except OSError as error:
        raise map_os_error(error, action, uri) from cause_of(error)


def make_directories(path: str) -> None:
    """Make a directory and those above it, so that they stay; one that is there is no error."""
    missing: list[str] = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError as error:
            if not os.path.isdir(directory):  # a file stands where a directory is wanted
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", directory) from error
        _sync_directory(os.path.dirname(directory))


def remove_leftovers(directory: str) -> None:
    """Remove what killed writers have left in a directory; what is being written stays."""
    with os.scandir(directory) as found:
        leftovers = [item.path for item in found if item.name.startswith(TEMPORARY_PREFIX)]
    for path in leftovers:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if _lock(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed; False when somebody else has, or the filesystem cannot."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {*_CANNOT, errno.EWOULDBLOCK}:
            raise
        return False
    return True


def _take_mode(descriptor: int, path: str) -> None:
    """Give a new file mode and owner of what stands at a path, as far as this user may and the filesystem can."""
    try:
        old, new = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(old.st_mode)
    try:
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    except OSError:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)  # they are not for another owner's file
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, mode)


def _sync_directory(path: str) -> None:
    try:
        descriptor = os.open(path or ".", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except PermissionError:  # may be written, not read: nothing more can be done
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(descriptor)
