"""What a `Cache` does to keep its contents as they should be: free, pin, TTL, quota."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from raycache.client import rules
from raycache.client.calls import Calls, WorkerCall
from raycache.client.locator import Locator
from raycache.client.results import FreeResult, PathRule
from raycache.client.segments import SegmentTable
from raycache.errors import RaycacheError
from raycache.messages import FreeReply, Hello, Selector, decode, encode
from raycache.rules import Pattern, Rule, RuleKind
from raycache.settings import parse_size
from raycache.types import MembershipView

_FREE_TIMEOUT_S = 60.0
_RULES_TIMEOUT_S = 30.0


class Upkeep:
    """A part of `Cache`."""

    _calls: Calls
    _locator: Locator
    _table: SegmentTable

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
        return rules.listing(self._calls.master("rules"), self._locator.mounts)

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
        freed: list[FreeReply] = [decode(reply) for reply in replies if not isinstance(reply, RaycacheError)]
        return FreeResult(*(sum(column) for column in zip(FreeReply(0, 0), *freed, strict=True)))

    def _patterns(self, paths: str | Sequence[str]) -> list[Pattern]:
        self.refresh_view()  # a path may be below what another process has just mounted
        return rules.patterns_of(self._locator, paths)

    def _say(self, kind: RuleKind, paths: str | Sequence[str], value: float | None) -> None:
        said = [Rule(kind, pattern, value) for pattern in self._patterns(paths)]
        self._calls.master("add_rules", uuid.uuid4().hex, encode(said), timeout_s=_RULES_TIMEOUT_S)
