"""The `UnderStorage` protocol: what the cache asks of a lake.

One instance speaks for one authority (`s3://bucket`, `file://`, `hdfs://host:port`); keys are relative to it, without
a leading slash, and are never percent-encoded. All methods block, are safe to call from several threads, and finish
within bounded time: retries (full jitter) are inside. Errors are those of `raycache.errors` only: NotFoundError,
DeniedError, ConflictError (another version), UnavailableError (retries used up), NoSpaceError, InvalidRequestError.
Never does a message or `repr` hold a secret.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from typing_extensions import Buffer

from raycache.errors import ConflictError, InvalidRequestError, NotFoundError, RaycacheError
from raycache.types import FileVersion
from raycache.ufs.identity import Way

logger = logging.getLogger("raycache")


class ObjectInfo(NamedTuple):
    """One object as the store describes it."""

    key: str
    size_bytes: int
    #: Quotes included; empty when the store has no etags.
    etag: str
    #: Nanoseconds since the epoch, within 64 bits (`types.clamp_ns`); None when the store does not say.
    mtime_ns: int | None


class ListPage(NamedTuple):
    """One page of a listing, in the store's order (UTF-8 byte order for S3)."""

    objects: list[ObjectInfo]
    #: Common prefixes, each ending in "/"; only with a delimiter.
    prefixes: list[str]
    #: Pass it back for the next page; None at the end. A page with one holds something.
    next_token: str | None


class UfsWriter(Protocol):
    """An object being written. It appears in the store whole, at `close`, replacing an older one atomically."""

    def write(self, data: Buffer) -> int:
        """Append; returns the number of bytes taken (all of them)."""
        ...

    def close(self) -> ObjectInfo:
        """Make the object visible. Twice is harmless."""
        ...

    def abort(self) -> None:
        """Give up: nothing appears, uploaded parts are removed. After `close` it does nothing."""
        ...


@contextlib.contextmanager
def given_up_on_error(writer: UfsWriter) -> Iterator[None]:
    """Give a writer up when something fails meanwhile; that error is the one that is seen."""
    try:
        yield
    except BaseException:
        # What remains of it is for the lake's own rule for unfinished uploads.
        with contextlib.suppress(RaycacheError):
            writer.abort()
        raise


@runtime_checkable
class UnderStorage(Protocol):
    """A lake, or a part of it. See the module's text for what all methods promise."""

    #: The authority: `s3://bucket`, `file://`, `hdfs://host:port`.
    root_uri: str
    #: Whether an empty directory can exist (local disks, HDFS), or is only a key prefix (S3).
    has_directories: bool

    def list(
        self,
        prefix: str,
        *,
        delimiter: bool = False,
        start_after: str = "",
        token: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """List keys that start with `prefix`, a page at a time.

        Args:
            prefix: "" for all; not only at a "/" boundary. Stores with directories list what lies in the prefix's
                directory.
            delimiter: roll keys up at the next "/" after the prefix into `prefixes`.
            start_after: only keys greater than this; ignored with a token.
            token: of the previous page.
            limit: at most so many objects and prefixes, 1..1000.

        Returns:
            An empty page when nothing is there; a missing prefix is not an error. Directory marker objects
            ("dir/") are listed as objects whose key ends in "/".

        Raises:
            NotFoundError: the bucket itself is missing.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Describe one object. NotFoundError when it is missing, or a directory."""
        ...

    def read(self, key: str, offset: int, length: int, version: FileVersion | None = None) -> Buffer:
        """Read exactly `length` bytes.

        Args:
            key: the object.
            offset: >= 0.
            length: >= 1, with offset + length <= the object's size.
            version: bind the read to it: sends `If-Match` where the store has etags, else compares size and mtime
                before and after.

        Returns:
            A bytes-like object of exactly `length` bytes; a short body is retried, never returned.

        Raises:
            ConflictError: the object is another version.
            NotFoundError: it is gone.
        """
        ...

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """Write a whole object, atomically; large ones go in parts. Makes directories above it where those exist."""
        ...

    def open_writer(self, key: str) -> UfsWriter:
        """Write an object piece by piece."""
        ...

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """Copy inside the store (server-side where it can)."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, in batches; missing ones are not an error."""
        ...

    def make_directory(self, key: str) -> None:
        """Make a directory and those above it. Nothing to do where directories are only prefixes."""
        ...

    def remove_directory(self, key: str) -> None:
        """Remove an empty directory; InvalidRequestError when it is not empty. Marker objects count as nothing."""
        ...

    def remove_tree(self, key: str, *, contents_only: bool = False) -> None:
        """Remove a directory with all that stands in it, and nothing that stands elsewhere.

        Links are removed, never what they lead to; so is what listings do not show (dead links, files being written). What
        is missing, or vanishes meanwhile, is no error.

        Args:
            key: the directory, without a slash; a link to one is itself all that is removed. With a slash at its end it is
                the directory that a link leads to. "" is the root, which stays.
            contents_only: an empty directory stays in its place.
        """
        ...

    def way(self, key: str) -> Way:
        """The way to a key, all links followed, whether or not something stands there; see `identity.py`."""
        ...

    def close(self) -> None:
        """Let go of connections. Twice is harmless."""
        ...


@runtime_checkable
class CreatingStorage(Protocol):
    """A store that can make an object only where there is none."""

    def create(self, key: str, data: Buffer) -> ObjectInfo:
        """Write a whole object where there is none; ConflictError where there is one."""
        ...


def create(storage: UnderStorage, key: str, data: Buffer) -> ObjectInfo:
    """Write a whole object where there is none: of two writers one gets the name, and the other hears of it.

    S3 and its kin do so by `If-None-Match`. Where a store has no such thing, it is looked first: two at the same moment may
    then both have the name, and the later one's bytes stand there.

    Raises:
        ConflictError: there is one.
    """
    if isinstance(storage, CreatingStorage):
        try:
            return storage.create(key, data)
        except InvalidRequestError as error:
            logger.debug("%s does not know the condition, so it is looked first: %s", storage.root_uri, error)
    try:
        storage.head(key)
    except NotFoundError:
        return storage.put(key, data)
    raise ConflictError(f"{storage.root_uri}/{key} is there already")
