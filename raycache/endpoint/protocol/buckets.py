"""Where the keys of a bucket lie: what is mounted of `s3://bucket` under its own name, and every mount under its path's."""

from __future__ import annotations

from typing import NamedTuple

from raycache import paths as names
from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.messages import MountTable

_S3 = "s3://"


class Bucket(NamedTuple):
    """A bucket of the endpoint."""

    name: str
    #: A URI (`s3://bucket`), or the path of a mount.
    base: str


class Buckets:
    """The buckets of one table of mounts."""

    def __init__(self, table: MountTable) -> None:
        self.version = table.version
        self._table = table
        self._found: dict[str, Bucket] = {}
        for mount in table.mounts:
            root, _ = names.split_uri(mount.uri)
            if root.startswith(_S3):
                name = root[len(_S3) :]
                self._found.setdefault(name, Bucket(name, root))
        for mount in sorted(table.mounts):
            if mount.path.startswith("/") and mount.path != "/":
                name = bucket_name(mount.path)
                self._found.setdefault(name, Bucket(name, mount.path))

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def all(self) -> list[Bucket]:
        """Sorted by name."""
        return [self._found[name] for name in sorted(self._found)]

    def of(self, name: str) -> Bucket:
        """A bucket by its name.

        Raises:
            S3Error: there is none.
        """
        bucket = self._found.get(name)
        if bucket is None:
            raise S3Error("NoSuchBucket")
        return bucket

    def path(self, name: str, key: str) -> str:
        """The path of a key.

        Raises:
            S3Error: there is no such bucket, or nothing of it is mounted where the key would be.
        """
        path = names.join(self.of(name).base, key)
        if not path.startswith("/") and self._table.of_uri(path) is None:
            raise S3Error("NoSuchKey")
        return path

    def mounted_below(self, bucket: Bucket, prefix: str) -> list[str]:
        """Where a listing of a bucket begins.

        Args:
            bucket: of the endpoint.
            prefix: a directory of it, with its slash, or "".

        Returns:
            The directory itself if it is mounted; else the mounts below it, outermost ones only.
        """
        directory = names.join(bucket.base, prefix.removesuffix("/"))
        if directory.startswith("/") or self._table.of_uri(directory) is not None:
            return [directory]
        uris = sorted({m.uri for m in self._table.mounts if m.uri.startswith(names.below(directory))})
        return [uri for uri in uris if not any(uri.startswith(names.below(other)) for other in uris)]


def bucket_name(path: str) -> str:
    """What the bucket of a mount is called: its path, with `-` for the slashes inside it."""
    return path.strip("/").replace("/", "-")
