"""A store of every kind, for what must hold on all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from raycache.types import FileVersion
from raycache.ufs.base import ListPage, ObjectInfo, UnderStorage

#: Those of `make test-stores`: real servers of other stores.
STORE_KINDS = ["gcs", "azure", "hdfs"]
KINDS = ["memory", "local", "arrow-local", "arrow-mock", "faulty-idle", "s3-exact", "s3-seaweed"]


@dataclasses.dataclass
class StoreOfAKind:
    """A storage, and what its kind is excused from."""

    kind: str
    storage: UnderStorage

    @property
    def literal(self) -> bool:
        """Any text is a key."""
        return self.kind in ("memory", "faulty-idle", "s3-exact")

    @property
    def names_content(self) -> bool:
        """The same content has the same etag; elsewhere each write has its own."""
        return self.kind.startswith(("s3", "memory", "faulty"))

    @property
    def pages_prefixes(self) -> bool:
        """Prefixes count for the limit of a page; fake-gcs-server gives all of them with each page, as GCS does not."""
        return self.kind != "gcs"

    def has_name(self, key: str) -> bool:
        """HDFS refuses colons, and libhdfs misspells what Unicode has added since it had 65,536 letters."""
        return self.kind != "hdfs" or (":" not in key and max(key) <= "\uffff")

    @property
    def ordered(self) -> bool:
        """Keys come in byte order; SeaweedFS sorts directories before it appends the slash."""
        return self.kind != "s3-seaweed"


def version_of(storage: UnderStorage, info: ObjectInfo) -> FileVersion:
    return FileVersion(f"{storage.root_uri}/{info.key}", info.size_bytes, info.etag, info.mtime_ns)


def pages(list_page: Callable[[str | None], ListPage]) -> list[ListPage]:
    found = [list_page(None)]
    while found[-1].next_token is not None:
        assert len(found) < 1000, "the listing does not end"
        found.append(list_page(found[-1].next_token))
    return found


def keys_of(storage: UnderStorage, prefix: str = "", **arguments: object) -> list[str]:
    found = pages(lambda token: storage.list(prefix, token=token, **arguments))
    return [info.key for page in found for info in page.objects]


def files_of(storage: UnderStorage) -> list[ObjectInfo]:
    """All objects; without the empty directories that disks keep when what was in them is gone."""
    return [info for info in storage.list("").objects if info.size_bytes or not storage.has_directories]


def fill(storage: UnderStorage, *keys: str) -> None:
    for key in keys:
        storage.put(key, key.encode())
