"""How pyarrow and Ray Data call files, and how the cache does. Pure text.

Both take the scheme off a URI: `s3://bucket/key` is `bucket/key` to them, `file:///x` and `hdfs://host/x` are `/x`. That is
what users see then: in a `path` column, in partitions, in errors, and in hashes of rows, which are made from it. So a
filesystem of the cache takes and gives the same names, and remembers which store a name belongs to from the time when it was
asked what a URI means; what it remembers travels with it to other processes.

A path of the namespace, `/lake/x`, is its own name. Where a name would mean two things (a bucket in two stores, a
file of a disk at the path of a mount), the one that comes second is spelled out: `/@gs/bucket/key`. So is what is no
valid Unicode (`paths.sayable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raycache import paths
from raycache.errors import InvalidRequestError
from raycache.messages import MountTable

#: Of these schemes the authority is no part of a name.
_ABSOLUTE = frozenset({"file", "hdfs", "viewfs"})


class ArrowNames:
    """The names that one filesystem has given, by their roots: few, since a root is as far up as it can be.

    Args:
        occupied: the paths of the namespace that mean something here; None: those of all mounts, which are handed in.
    """

    def __init__(self, occupied: Iterable[str] | None = None) -> None:
        self._occupied = None if occupied is None else tuple(occupied)
        #: First part of a name -> the URI that it stands for: `bucket` -> `s3://bucket`.
        self._stores: dict[str, str] = {}
        #: A directory -> the URI that it stands for: `/tmp` -> `file:///tmp`.
        self._directories: dict[str, str] = {}

    def name_of(self, path: str, mounts: Callable[[], MountTable]) -> str:
        """The name of a path or URI, which is remembered; of a name that was given, itself.

        Raises:
            InvalidRequestError: neither a path nor a name.
        """
        if path.partition("/")[0] in self._stores:
            return path.rstrip("/")
        path = paths.normalise(path)
        if path.startswith("/") or paths.sayable(path) is not path:
            return paths.sayable(path)
        root_uri, key = paths.split_uri(path)
        scheme, _, authority = root_uri.partition("://")
        if scheme in _ABSOLUTE:
            return f"/{key}" if self._is_learned(f"/{key}", path, mounts) else paths.filesystem_path(path)
        # Ray Data would take what is before a port for a scheme.
        if ":" in authority or self._stores.setdefault(authority, root_uri) != root_uri:
            return paths.filesystem_path(path)
        return paths.join(authority, key)

    def path_of(self, name: str, mounts: Callable[[], MountTable]) -> str:
        """The path or URI that a name stands for.

        Raises:
            InvalidRequestError: it was given for a URI, but something was mounted there since; or it may be in several
                stores, or in none.
        """
        if name.startswith("/"):
            root = self._directory_of(name) if self._directories else None
            if root is None:
                return name
            if any(f"{name}/".startswith(above) for above in self._taken(mounts)):
                raise InvalidRequestError(
                    f"{name!r} was read from {self._directories[root]}, and is below a mount now; "
                    "use another filesystem of the cache for one of them"
                )
            return self._directories[root] + name[len(root) :].rstrip("/")
        store, _, key = name.partition("/")
        if store.endswith(":"):
            return name
        return paths.join(self._stores.get(store) or _store_of(name, mounts()), key)

    def _is_learned(self, name: str, uri: str, mounts: Callable[[], MountTable]) -> bool:
        """Take `name` for `uri`, if it can mean nothing else."""
        if name == "/" or name.startswith("//"):
            return False
        root = self._directory_of(name)
        if root is None:
            taken = [*self._taken(mounts), *(f"{directory}/" for directory in self._directories)]
            root = next((above for above in _from_the_top(name) if not _meets(f"{above}/", taken)), None)
            if root is None:
                return False
            self._directories[root] = uri[: len(uri) - len(name) + len(root)]
        return self._directories[root] + name[len(root) :] == uri

    def _taken(self, mounts: Callable[[], MountTable]) -> list[str]:
        """Directories of the namespace that mean something, with a slash at the end."""
        occupied = self._occupied
        if occupied is None:
            occupied = tuple(mount.path for mount in mounts().mounts if mount.path.startswith("/"))
        return [f"{path.rstrip('/')}/" for path in occupied]

    def _directory_of(self, name: str) -> str | None:
        return next((root for root in self._directories if name == root or name.startswith(f"{root}/")), None)


def name_below(name: str, path: str, rest: str) -> str:
    """The name of what lies below a directory, of which name and path are given."""
    if name.startswith(paths.RAW_MARK) or paths.sayable(rest) is not rest:
        return paths.sayable(paths.join(path, rest))
    return f"{name.rstrip('/')}/{rest}"


def _store_of(name: str, mounts: MountTable) -> str:
    """The root of the one store that is known and has this name's first part as its authority."""
    store = name.partition("/")[0]
    roots = sorted({paths.split_uri(mount.uri)[0] for mount in mounts.mounts})
    roots = [root for root in roots if root.partition("://")[2] == store]
    if len(roots) != 1:
        where = f"may be in {' or '.join(roots)}" if roots else "is in no store that is mounted"
        raise InvalidRequestError(f"{name!r} {where}; give a path such as /lake/x, or a URI such as s3://bucket/key")
    return roots[0]


def _from_the_top(name: str) -> list[str]:
    """`/a`, `/a/b`, `/a/b/c` of `/a/b/c`."""
    ends = [position for position, character in enumerate(name) if character == "/"][1:]
    return [*(name[:end] for end in ends), name]


def _meets(directory: str, others: Iterable[str]) -> bool:
    """Whether one of these directories is, holds or lies in this one."""
    return any(other.startswith(directory) or directory.startswith(other) for other in others)
