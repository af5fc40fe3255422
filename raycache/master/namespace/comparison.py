"""Comparing what is known of a prefix with the lake, part by part as a listing comes in. Pure.

Theory of operation. What a file is compared with, its *base*, is what the namespace knew of it when it was last listed
or compared: the present entry, or the one from before its first change since (`Keyspace.since`); so what readers'
look-ups have found out meanwhile still counts as a difference. Where the prefix was never listed (also after a restart
of the master), the base is what is cached, as the workers say.

Parts partition the keys, so each can be compared and taken in by itself, in any order; nothing is held but the figures,
a bounded list of differences, and the keys that are gone. These are forgotten, and the prefix counts as listed, only
when all parts have come: a sync that breaks off has lost nothing, and can begin again. At last the workers'
inventories are searched, page by page, for versions that the namespace did not know.

`Sync.steps` says what to ask the lake and the workers, and in which order; the caller does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from sortedcontainers import SortedDict

from raycache import paths
from raycache.errors import NotFoundError
from raycache.master.namespace import entries
from raycache.master.namespace.keyspace import Coverage, Keyspace
from raycache.master.namespace.lister import KeyRange
from raycache.master.namespace.packed_map import between
from raycache.messages import FileColumns, MountInfo, SyncReply, Tally
from raycache.rules import Pattern
from raycache.types import FileVersion, VersionId


class ReadInventories(NamedTuple):
    """Ask all workers what they hold of the pattern, and hand it over, a page at a time."""

    take: Callable[[list[FileVersion]], object]


class ListKeys(NamedTuple):
    """List everything below a prefix, or look for the one object of a key, and hand every part over."""

    prefix: str
    take: Callable[[KeyRange], object]


#: Directories that a sync of more files than the namespace remembers leaves unknown one by one.
UNTAKEN_MAX = 100_000

Step: TypeAlias = ReadInventories | ListKeys


class Sync:
    """One comparison.

    Args:
        pattern: what is compared.
        mount: how to open the store.
        store: what is known of it.
        asked: the generation and time at which the listing begins.
        may_learn: asked before each part: whether the namespace has room for keys that it does not know.
        dry_run: see `SyncRequest`.
        files_max: see `SyncRequest`.
    """

    def __init__(
        self,
        pattern: Pattern,
        mount: MountInfo,
        store: Keyspace,
        asked: Coverage,
        may_learn: Callable[[], bool] = lambda: True,
        *,
        dry_run: bool,
        files_max: int,
    ) -> None:
        self.mount = mount
        self._pattern = pattern
        self.root_uri, self._key = paths.split_uri(pattern.base)
        self._store = store
        self._asked = asked
        self._dry_run = dry_run
        self._files_max = files_max
        self._base: SortedDict[str, bytes] | None = None
        self._added = self._changed = self._removed = self._unchanged = Tally()
        self._files: list[FileVersion] = []
        self._removed_uris: list[str] = []
        #: Applied at the end, when it is certain that all parts have come.
        self._missing: list[str] = []
        self._told: list[str] = []
        self._may_learn = may_learn
        #: Directories of which not all was taken in, for want of room; None: they are too many to be known.
        self._untaken: dict[str, None] | None = {}

    @property
    def prefix(self) -> str:
        """What is to be listed: everything below the pattern's base."""
        return self._key + "/" if self._key else ""

    @property
    def found_nothing(self) -> bool:
        """Whether neither the lake nor what was known has anything so far."""
        return self._added.files + self._changed.files + self._removed.files + self._unchanged.files == 0

    def steps(self, invalidate: Callable[[list[VersionId]], object]) -> Iterator[Step]:
        """What is to be done, one step after the other; each is complete before the next is asked for.

        Args:
            invalidate: takes versions that are no longer what the lake has.

        Raises:
            NotFoundError: see `end`.
        """
        if self.needs_inventory():
            self.cached([])
            yield ReadInventories(self.cached)
        yield ListKeys(self.prefix, lambda part: invalidate(self.take(part, prefix=self.prefix)))
        if self.found_nothing and self._key:
            yield ListKeys(self._key, lambda part: invalidate(self.take(part, prefix=self._key)))
        invalidate(self.end())
        if not self._dry_run:
            yield ReadInventories(lambda files: invalidate(self.stale(files)))

    def needs_inventory(self) -> bool:
        """Whether the prefix was never listed: `cached` needs all that workers hold of it, before any part."""
        return not self._store.listed(self.prefix, recursive=True)

    def cached(self, files: Iterable[FileVersion]) -> None:
        """What workers hold is the base."""
        if self._base is None:
            self._base = SortedDict()
        for file in files:
            key = paths.split_uri(file.uri)[1]
            self._base.setdefault(key, entries.pack_version(key, file))

    # --- parts --------------------------------------------------------------------------------------------------------

    def take(self, part: KeyRange, *, prefix: str) -> list[VersionId]:
        """Compare a part of the listing of a prefix (or of one key), and take it in.

        Returns:
            The versions that are no longer what the lake has.
        """
        gone: list[VersionId] = []
        for key, old, new in self._pairs(part, prefix):
            uri = f"{self.root_uri}/{key}"
            if not self._pattern.names(uri):
                continue
            if old and new and entries.same_version(old, new):
                self._unchanged = self._unchanged.plus(_tally(new))
                continue
            if old and new:
                gone.append(entries.version(self.root_uri, key, old).id())
            if not new:
                self._removed = self._removed.plus(_tally(old))
                if len(self._removed_uris) < self._files_max:
                    self._removed_uris.append(uri)
                continue
            if old:
                self._changed = self._changed.plus(_tally(new))
            else:
                self._added = self._added.plus(_tally(new))
            if len(self._files) < self._files_max:
                self._files.append(entries.version(self.root_uri, key, new))
        if self._dry_run:
            return []
        known = between(self._store.entries, part.after, part.until, prefix)
        self._missing += [key for key in known if key not in part.found]
        replaced = self._store.learn_found(self._taken_in(part.found), self._asked)
        changed = between(self._store.since, part.after, part.until, prefix)
        self._told += [key for key in changed if self._pattern.names(f"{self.root_uri}/{key}")]
        return gone + [entries.version(self.root_uri, key, entry).id() for key, entry in replaced]

    def _taken_in(self, found: dict[str, bytes]) -> dict[str, bytes]:
        """What of a part the namespace has room for: all, or what it knew already."""
        if self._may_learn():
            return found
        known = self._store.entries
        for key in found:
            if self._untaken is not None and key not in known:
                self._untaken[key[: key.rfind("/") + 1]] = None
                if len(self._untaken) > UNTAKEN_MAX:
                    self._untaken = None
        return {key: entry for key, entry in found.items() if key in known}

    def _pairs(self, part: KeyRange, prefix: str) -> Iterator[tuple[str, bytes, bytes]]:
        """(key, base entry, entry in the lake) of every file of a part; empty entries where there is none."""
        since: SortedDict[str, bytes] = SortedDict() if self._base is not None else self._store.since
        known = self._store.entries if self._base is None else self._base
        keys = dict.fromkeys(between(known, part.after, part.until, prefix))
        keys.update(dict.fromkeys(between(since, part.after, part.until, prefix)))
        keys.update(dict.fromkeys(part.found))
        for key in keys:
            old = since[key] if key in since else known.get(key, b"")
            new = part.found.get(key, b"")
            if old or new:
                yield key, old, new

    def end(self) -> list[VersionId]:
        """All parts have come.

        Returns:
            The versions known that are no longer in the lake.

        Raises:
            NotFoundError: nothing is there, nor ever was.
        """
        if self.found_nothing and self._key and not self._pattern.glob:
            raise NotFoundError(f"{self._pattern.base} does not exist; check the path", path=self._pattern.base)
        if self._dry_run:
            return []
        removed = self._store.forget_missing(self._missing, self._asked)
        self._store.compared(self._told)
        self._store.compared(key for key in self._missing if self._pattern.names(f"{self.root_uri}/{key}"))
        if self._untaken is not None:
            self._store.cover(self.prefix, self._asked)
            for directory in self._untaken:
                self._store.uncover(directory)
        return [entries.version(self.root_uri, key, entry).id() for key, entry in removed]

    def stale(self, files: Iterable[FileVersion]) -> list[VersionId]:
        """Of what a worker holds, after the end, the versions that are not what the lake has.

        Workers have heard of nearly all already; but a worker may have found older ones on its disk, after a restart.
        """
        now = self._store.entries
        gone: list[VersionId] = []
        for file in files:
            key = paths.split_uri(file.uri)[1]
            entry = now.get(key)
            if not (entry and entries.same_version(entry, entries.pack_version(key, file))):
                gone.append(file.id())
        return gone

    def result(self) -> SyncReply:
        """What is different."""
        return SyncReply(
            self._added,
            self._changed,
            self._removed,
            self._unchanged,
            FileColumns.of(self._files),
            list(self._removed_uris),
        )


def _tally(entry: bytes) -> Tally:
    return Tally(1, entries.unpack(entry)[0])
