"""Mounts: from namespace paths to URIs, and back.

Theory of operation. There are two kinds. An explicit mount binds a UFS URI to a path of the namespace; mounts may be
nested (`/lake` and `/lake/sub`), the longest one above a path rules. A self-mount is a UFS authority (`s3://bucket`)
that a client named in a URI; its path is the URI itself. A URI takes the options of the longest mounted URI above it,
an explicit mount going before a self-mount. Directories above mounts (`/a` of a mount `/a/b`) exist, too.

Look-ups walk up the parents of a path, so they cost its depth, however many mounts there are.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from sortedcontainers import SortedDict

from raycache import paths
from raycache.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from raycache.messages import MountInfo, MountTable
from raycache.ufs.shown_options import HIDDEN, shown_option

MOUNTS_MAX = 10_000


class RedactedMount(NamedTuple):
    """A mount as it may be shown."""

    path: str
    uri: str
    readonly: bool
    metadata_ttl_s: float
    #: Values that may be secret are "***".
    options: dict[str, Any]


class Mounts:
    """All mounts of a cache.

    Args:
        first_version: of the mount table; it grows by one with every change.
    """

    def __init__(self, first_version: int = 0) -> None:
        self.version = first_version
        self._by_path: SortedDict[str, MountInfo] = SortedDict()
        #: The mounts of each mounted URI, by path.
        self._by_uri: dict[str, dict[str, MountInfo]] = {}
        self._table = MountTable(first_version, ())

    def checked(self, mount: MountInfo) -> MountInfo | None:
        """What mounting this would put into the table; None when that is there already. Nothing changes.

        The same thing may be mounted again: with other keys, they replace those that were given before; without any,
        those stay.

        Returns:
            It with path and URI normalised.

        Raises:
            AlreadyExistsError: something else is mounted there.
            InvalidRequestError: a bad path or URI, or too many mounts.
        """
        path, uri = paths.normalise(mount.path), paths.normalise(mount.uri)
        if not path.startswith("/"):
            raise InvalidRequestError(f"cannot mount at {path}; give a path such as /lake")
        if uri.startswith("/"):
            raise InvalidRequestError(f"cannot mount {uri}; give a URI such as s3://bucket/prefix or file:///data")
        _refuse_password(uri)
        if mount.metadata_ttl_s < 0:
            raise InvalidRequestError(f"metadata_ttl_s {mount.metadata_ttl_s} is negative; give 0 or more")
        known, mount = self._by_path.get(path), mount._replace(path=path, uri=uri, options=dict(mount.options))
        if known is not None:
            return _renewed(known, mount)
        self._refuse_too_many()
        return mount

    def put(self, mount: MountInfo) -> None:
        """Add a mount, as `checked` or `checked_auto` has it, or put it in the place of the one that it renews."""
        old = self._by_path.get(mount.path)
        if old is not None:
            self._drop(old)
        self._by_path[mount.path] = mount
        self._by_uri.setdefault(mount.uri, {})[mount.path] = mount
        self.version += 1

    def checked_auto(self, root_uri: str, options: dict[str, Any], metadata_ttl_s: float) -> MountInfo | None:
        """What a UFS authority that mounts itself, read-only, would put into the table. The first one's options stay.

        Args:
            root_uri: `s3://bucket`.

        Returns:
            The new mount, or None when it is there already. Nothing changes.

        Raises:
            InvalidRequestError: not the root of a URI, or too many mounts.
        """
        root_uri = paths.normalise(root_uri)
        if root_uri in self._by_path:
            return None
        if paths.split_uri(root_uri)[1]:
            raise InvalidRequestError(f"{root_uri} is not the root of a store; give {paths.split_uri(root_uri)[0]}")
        _refuse_password(root_uri)
        self._refuse_too_many()
        return MountInfo(root_uri, root_uri, dict(options), metadata_ttl_s, readonly=True)

    def unmount(self, path: str) -> MountInfo:
        """Take a mount away, explicit or not.

        Raises:
            NotFoundError: nothing is mounted there.
        """
        mount = self.at(path)
        self._drop(mount)
        self.version += 1
        return mount

    def at(self, path: str) -> MountInfo:
        """The mount at exactly this path.

        Raises:
            NotFoundError: nothing is mounted there.
        """
        path = paths.normalise(path)
        if path not in self._by_path:
            raise NotFoundError(f"nothing is mounted at {path}; see `raycache mounts`", path=path)
        found: MountInfo = self._by_path[path]
        return found

    def table(self) -> MountTable:
        """All mounts, explicit ones first, sorted by path. Made when it is asked for, once for each version."""
        if self._table.version != self.version:
            # "/" sorts before letters.
            self._table = MountTable(self.version, tuple(self._by_path.values()))
        return self._table

    def resolve(self, path: str) -> tuple[MountInfo, str]:
        """The mount that answers for a normalised path, and the URI it stands for.

        Raises:
            NotFoundError: no mount is above it.
        """
        if path.startswith("/"):
            for above in paths.self_and_above(path):
                mount: MountInfo | None = self._by_path.get(above)
                if mount is not None:
                    return mount, paths.moved(path, above, mount.uri)
        else:
            for above in paths.self_and_above(path):
                mounts = self._by_uri.get(above)
                if mounts is not None:
                    # Explicit ones win over self-mounts of the same URI.
                    return mounts[min(mounts)], path
        raise NotFoundError(
            f"{path} is under no mount; see `raycache mounts`, or give a URI such as s3://bucket/key", path=path
        )

    def names_below(self, path: str) -> list[str]:
        """Sorted first parts of the mounts below a namespace path: directories, whatever the lake says."""
        return sorted({name.partition("/")[0] for name in self.nested_in(path)})

    def nested_in(self, path: str) -> list[str]:
        """Sorted paths of the mounts below a namespace path, each relative to it; nothing is mounted below a URI."""
        if not path.startswith("/"):
            return []
        base = paths.below(path)
        # "0" is the character after "/".
        below = self._by_path.irange(base, base[:-1] + "0", inclusive=(True, False))
        return [mounted[len(base) :] for mounted in below if mounted != base]

    def is_above_any(self, path: str) -> bool:
        """Whether something is mounted below a namespace path."""
        base = paths.below(path)
        found = self._by_path.irange(base, base[:-1] + "0", inclusive=(True, False))
        return path.startswith("/") and any(mounted != base for mounted in itertools.islice(found, 2))

    def redacted(self) -> list[RedactedMount]:
        """All mounts as they may be shown; see `shown_option`."""
        return [
            RedactedMount(
                mount.path,
                mount.uri,
                mount.readonly,
                mount.metadata_ttl_s,
                {name: shown_option(name, value) for name, value in sorted(mount.options.items())},
            )
            for mount in self.table().mounts
        ]

    def _refuse_too_many(self) -> None:
        if len(self._by_path) >= MOUNTS_MAX:
            raise InvalidRequestError(f"{MOUNTS_MAX} mounts are the most; unmount something")

    def _drop(self, mount: MountInfo) -> None:
        del self._by_path[mount.path]
        same = self._by_uri[mount.uri]
        del same[mount.path]
        if not same:
            del self._by_uri[mount.uri]


def _renewed(known: MountInfo, mount: MountInfo) -> MountInfo | None:
    """What becomes of a mount when this one is to stand at its path; None: nothing."""
    old, new = known.options, mount.options
    if not any(_is_key(name) for name in new):
        new = {**new, **{name: value for name, value in old.items() if _is_key(name)}}
    differ = [name for name in ("uri", "metadata_ttl_s", "readonly") if getattr(known, name) != getattr(mount, name)]
    differ += sorted(name for name in {*old, *new} if not _is_key(name) and old.get(name) != new.get(name))
    if differ:
        raise AlreadyExistsError(
            f"{known.uri} is mounted at {known.path} already, with another {', another '.join(differ)}; "
            "unmount it first, or choose another path",
            path=known.path,
        )
    return None if new == old else known._replace(options=new)


def _is_key(name: str) -> bool:
    """Whether an option says who asks, rather than what is asked."""
    return name in ("anonymous", "profile") or shown_option(name, "") == HIDDEN


def _refuse_password(uri: str) -> None:
    # A URI is shown everywhere: in errors, listings and logs.
    authority = paths.split_uri(uri)[0].partition("://")[2]
    if ":" in authority.rpartition("@")[0]:
        raise InvalidRequestError("a URI must hold no password; give it as an option of the mount")
