"""What a `Cache` does to keep its contents as they should be: free, pin, TTL, quota, sync, map."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from raycache import paths as names
from raycache.admin import map_transfer, mounts, patterns, sync
from raycache.admin.warming import Wanted, Warmed, warm
from raycache.client.locator import Locator
from raycache.client.ports import ActorCalls, WorkerCall
from raycache.client.reading.leases import Leases
from raycache.client.topology import Topology
from raycache.errors import RaycacheError
from raycache.messages import FreeReply, Hello, Selector, SyncReply, SyncRequest, decode, encode
from raycache.results import Amount, FreeResult, MapExport, MapImport, PathRule, SyncResult
from raycache.rules import Pattern, Rule, RuleKind
from raycache.settings import Settings, parse_size
from raycache.types import MembershipView

_FREE_TIMEOUT_S = 60.0
_RULES_TIMEOUT_S = 30.0
#: Listing a million objects takes minutes.
_SYNC_TIMEOUT_S = 3600.0


class Upkeep:
    """A part of `Cache`."""

    _calls: ActorCalls
    _locator: Locator
    _table: Leases
    _settings: Settings

    def free(self, paths: str | Sequence[str], force: bool = False, older_than_s: float = 0.0) -> FreeResult:
        """Drop blocks from the cache, never from the lake. Readers that hold them finish undisturbed.

        Args:
            paths: files, directories (a mount's path is one) and globs; versions that the lake no longer has are meant, too.
            force: also what is pinned.
            older_than_s: only blocks loaded at least so many seconds ago.
        """
        return self._drop(Selector(self._patterns(paths), [], older_than_s), force=force)

    def pin(self, paths: str | Sequence[str]) -> None:
        """Never evict files, directories or globs from now on, nor let them expire; also what is loaded later.

        Where pinned files take all the room, loads of others end without space, and reads of others go through.
        """
        self._say(RuleKind.PIN, paths, 1)

    def unpin(self, paths: str | Sequence[str]) -> None:
        """Take pins away, also of a part of what was pinned."""
        self._say(RuleKind.PIN, paths, None)

    def set_ttl(self, paths: str | Sequence[str], ttl_s: float | None) -> None:
        """Free blocks so many seconds after they were loaded; the lake is never touched.

        Args:
            paths: files, directories, globs; the later word holds for what both name.
            ttl_s: 0 or more; None: no end.
        """
        self._say(RuleKind.TTL, paths, ttl_s)

    def set_quota(self, path: str, bytes: str | int | None) -> None:  # noqa: A002
        """Let the blocks cached below a path, every copy counted, never take more; its own oldest ones go first.

        Each worker may use the share of the quota that its capacity has of the cluster's.

        Args:
            path: a directory or a file.
            bytes: "200GiB", or bytes; None: no quota.
        """
        self._say(RuleKind.QUOTA, path, None if bytes is None else parse_size(bytes))

    def rules(self) -> list[PathRule]:
        """All pins, TTLs and quotas, the oldest first."""
        return patterns.listing(self._calls.master("rules"), self._locator.mounts)

    # --- the lake -----------------------------------------------------------------------------------------------------

    @overload
    def sync(
        self, paths: str | Sequence[str], dry_run: bool = False, load: bool = False, watch: None = None
    ) -> SyncResult: ...

    @overload
    def sync(
        self, paths: str | Sequence[str], dry_run: bool = False, load: bool = False, *, watch: float
    ) -> Iterator[SyncResult]: ...

    def sync(
        self, paths: str | Sequence[str], dry_run: bool = False, load: bool = False, watch: float | None = None
    ) -> SyncResult | Iterator[SyncResult]:
        """Compare files, directories or globs with the lake, listing it once: what was added, changed, removed?

        Versions that the lake no longer has are dropped, when their readers are done. A file counts as changed when its
        size or etag is another one (its mtime, where the store has no etags) than when the cache last listed or compared
        the path. Of a path that it never listed, it knows what it holds.

        Args:
            paths: what to compare.
            dry_run: only tell.
            load: bring in what was added or changed, and nothing else.
            watch: repeat this, so many seconds after each end.

        Returns:
            The differences; with `watch` an iterator that yields those of each round, for as long as it is asked.

        Raises:
            NotFoundError: a path is under no mount, or nothing is there, nor was.
            UnavailableError, DeniedError: the lake cannot be listed.
        """
        if watch is None:
            return self._sync(paths, dry_run=dry_run, load=load)
        return self._watch(paths, watch, dry_run=dry_run, load=load)

    # --- from cluster to cluster --------------------------------------------------------------------------------------

    def export_map(self, uri: str) -> MapExport:
        """Write what is cached, with versions, heat and pins, to a parquet file, for `import_map` of another cluster.

        Args:
            uri: of the file, such as "s3://bucket/maps/x.parquet", or a path of the namespace. The credentials are those
                of the mount that covers it (which may be read-only), or else of this process's environment.

        Raises:
            UnavailableError: a worker does not answer.
            DeniedError, NoSpaceError, InvalidRequestError: it cannot be written there.
        """
        view = self.refresh_view()
        rules_now = self._calls.master("rules")
        return map_transfer.export_map(self._calls, self._locator, view, self._settings, rules_now, uri)

    def import_map(self, uri: str, pins: bool = True) -> MapImport:
        """Load what another cluster had cached, pinned files first, then the hottest, and wait for it.

        Files that have changed since, or are gone, are left out; what no longer fits is the coldest. The cluster may be
        of any size.

        Args:
            uri: as given to `export_map`.
            pins: pin what the other cluster had pinned.

        Raises:
            NotFoundError, DeniedError, UnavailableError: the map or the lake cannot be read.
            InvalidRequestError: it is no map.
        """
        self.refresh_view()
        source = map_transfer.read_map(self._locator, uri)
        if pins and source.pins:
            self._calls.master("add_rules", uuid.uuid4().hex, encode(source.pins), timeout_s=_RULES_TIMEOUT_S)
        stats = mounts.stats_of(self._calls.master("stats"))
        result = map_transfer.import_map(source, uri, self._locator, self._settings, stats, self._cluster, self._warm)
        self._locator.forget_all()
        return result

    # --- inside -------------------------------------------------------------------------------------------------------

    def refresh_view(self) -> MembershipView:
        """Ask the master who is alive now."""
        hello: Hello = self._calls.master("hello")
        self._locator.learn(hello.view, hello.mounts)
        return self._locator.view

    def _drop(self, selector: Selector, *, force: bool) -> FreeResult:
        self.refresh_view()
        self._table.clear()
        blob = encode(selector)
        calls = [WorkerCall(w.actor_name, "free", (blob, force)) for w in self._locator.view.workers]
        replies = self._calls.workers(calls, _FREE_TIMEOUT_S)
        # Who is remembered to hold it would load it again, beside the worker where it belongs.
        self._locator.forget_all()
        freed: list[FreeReply] = [decode(reply) for reply in replies if not isinstance(reply, RaycacheError)]
        return FreeResult(*(sum(column) for column in zip(FreeReply(0, 0), *freed, strict=True)))

    def _watch(self, paths: str | Sequence[str], period_s: float, *, dry_run: bool, load: bool) -> Iterator[SyncResult]:
        while True:
            yield self._sync(paths, dry_run=dry_run, load=load)
            time.sleep(period_s)

    def _sync(self, paths: str | Sequence[str], *, dry_run: bool, load: bool) -> SyncResult:
        started_s = time.monotonic()
        patterns = self._patterns(paths)
        for root_uri in dict.fromkeys(names.split_uri(pattern.base)[0] for pattern in patterns):
            self._locator.announce(root_uri, mounts.environment_options(root_uri))
        request = SyncRequest(patterns, dry_run, sync.FILES_MAX if load and not dry_run else sync.SHOWN_MAX)
        reply: SyncReply = self._calls.master("sync", encode(request), timeout_s=_SYNC_TIMEOUT_S)
        loaded = sync.Loaded(Amount(), ())
        if not dry_run:
            self._locator.forget_all()
            if load:
                loaded = sync.load_difference(reply, self._warm, self._path_of)
        return sync.result_of(reply, loaded, self._path_of, dry_run=dry_run, elapsed_s=time.monotonic() - started_s)

    def _cluster(self) -> Topology:
        self.refresh_view()
        return self.topology()

    def _warm(self, wanted: Iterable[Wanted]) -> Iterator[Warmed]:
        return warm(self._calls, self._cluster, wanted)

    def topology(self) -> Topology:
        """Where blocks go."""
        raise NotImplementedError

    def _path_of(self, uri: str) -> str:
        return patterns.path_of(self._locator.mounts, uri)

    def _patterns(self, paths: str | Sequence[str]) -> list[Pattern]:
        self.refresh_view()  # a path may be below what another process has just mounted
        return patterns.patterns_of(self._locator, paths)

    def _say(self, kind: RuleKind, paths: str | Sequence[str], value: float | None) -> None:
        said = [Rule(kind, pattern, value) for pattern in self._patterns(paths)]
        self._calls.master("add_rules", uuid.uuid4().hex, encode(said), timeout_s=_RULES_TIMEOUT_S)
