"""What `CloudStorage` needs of a store: each request of its protocol, and nothing of ours around it.

All methods send one request, or as many as the protocol makes of one thing, and neither repeat nor check anything:
`CloudStorage` does both, once for all stores.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from typing_extensions import Buffer

from raycache.ufs.base import ListPage, ObjectInfo


class RangeRead(NamedTuple):
    """An answer to a GET."""

    #: What names the version that was read.
    etag: str
    #: Of the whole object.
    size_bytes: int
    #: Whole seconds; None when the store did not say.
    mtime_ns: int | None
    #: What it sent of the range; shorter where the object ends.
    body: Buffer


class Upload(Protocol):
    """An object on its way in parts. Nothing of it is seen before `complete`."""

    #: How many parts may be sent at a time.
    inflight_max: int

    def send_part(self, number: int, data: Buffer) -> None:
        """Send a part, from 0. May be repeated. All parts but the last have the size that the storage was given."""
        ...

    def complete(self, last: Buffer, size_bytes: int) -> ObjectInfo:
        """Send what is left and make the object visible. May be repeated.

        Args:
            last: behind all parts; may be empty.
            size_bytes: of the whole.
        """
        ...

    def abort(self) -> None:
        """Let the store forget the parts."""
        ...


class CloudBucket(Protocol):
    """One bucket or container, thread-safe. Errors are whatever its clients raise; `CloudErrors` maps them."""

    #: obstore's.
    store: Any
    #: Whether another version than asked for is answered as missing (a generation) rather than as a conflict (an etag).
    misses_replaced: bool

    def list(self, prefix: str, *, delimiter: bool, start_after: str, token: str | None, limit: int) -> ListPage:
        """One page as the store gives it; it may be empty and have a token, or begin with keys up to `start_after`."""
        ...

    def head(self, key: str) -> ObjectInfo: ...

    def get_options(self, etag: str) -> dict[str, Any]:
        """What obstore's `get` is told so that only this version is read; "": any."""
        ...

    def etag_of(self, meta: Any) -> str:
        """What obstore says of an object, as an etag of ours."""
        ...

    def get(self, key: str, offset: int, length: int, etag: str) -> RangeRead:
        """Read a range without obstore."""
        ...

    def put(self, key: str, data: Buffer) -> ObjectInfo: ...

    def begin(self, key: str) -> Upload: ...

    def copy(self, source: ObjectInfo, target_key: str) -> ObjectInfo:
        """Copy this version of the source, server-side."""
        ...

    def delete(self, key: str) -> None: ...

    def close(self) -> None: ...
