"""Errors, few and sorted by remedy: a class says what the caller should do, the message says to what.

Every error survives an actor call: `__reduce__` is defined once, at the root. Third-party errors are mapped in one
place per third party (`ufs/errors.py`, `client/calls.py`), always with `raise ... from`.
"""

from __future__ import annotations

import errno
from typing import Any


class RaycacheError(Exception):
    """The root of all errors of this package.

    Args:
        message: what happened, to which id, and what to do; one line.
        fields: facts for programs (`path=`, `uri=`, ...). Never secrets.
    """

    #: What `OSError` subclasses carry as `errno`; unused elsewhere.
    errno_code: int | None = None

    def __init__(self, message: str, /, **fields: Any) -> None:
        super().__init__(message)
        self.fields = fields
        if self.errno_code is not None:
            setattr(self, "errno", self.errno_code)  # noqa: B010  # a member of OSError, which only some subclasses are

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), str(self.args[0]), self.fields))

    def __str__(self) -> str:
        return str(self.args[0])


def _rebuild(kind: type[RaycacheError], message: str, fields: dict[str, Any]) -> RaycacheError:
    return kind(message, **fields)


class InvalidRequestError(RaycacheError, ValueError):
    """Fix the call."""


class NotFoundError(RaycacheError, FileNotFoundError):
    """Check the path."""

    errno_code = errno.ENOENT


class IsADirectoryRequestError(InvalidRequestError, IsADirectoryError):
    """Name a file: the path is a directory."""

    errno_code = errno.EISDIR


class NotADirectoryRequestError(InvalidRequestError, NotADirectoryError):
    """Name a directory: the path is a file."""

    errno_code = errno.ENOTDIR


class DeniedError(RaycacheError, PermissionError):
    """Give other credentials, or mount with `readonly=False`."""

    errno_code = errno.EACCES


class AlreadyExistsError(RaycacheError, FileExistsError):
    """Choose another name, or overwrite."""

    errno_code = errno.EEXIST


class ConflictError(RaycacheError):
    """Read again, then retry: a stale file version, or a stale epoch."""


class UnavailableError(RaycacheError, ConnectionError):
    """Retry with back-off: the master, a worker or the under storage does not answer."""


class SilentPeerError(UnavailableError):
    """Ask another, and leave this one alone for a while: a worker shows no sign of life. Handled inside."""


class NoCacheError(UnavailableError):
    """Start the cache, or connect again: this process has no cache to speak to. It says nothing of any path."""


class NoCacheToConnectError(NoCacheError, NotFoundError):
    """What `raycache.connect()` raises where no cache runs: a `NotFoundError`, too, as it has been from the start."""


class NoSpaceError(RaycacheError, OSError):
    """Read through instead: nothing could make room."""

    errno_code = errno.ENOSPC


class CorruptBlockError(RaycacheError):
    """Handled inside; public only when every copy failed its check."""
