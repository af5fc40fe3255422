"""What the rules say of the segments here: which are pinned, when they expire, what their quotas have taken. Pure.

Theory of operation. Books are kept as segments come and go, so that nothing has to be searched: a segment is marked *pinned*
when a file in it is, and with the time at which the first of its files expires; and each quota knows its bytes and its
segments, the oldest loaded first. Bytes are those of the blocks that can be read, and of loads on their way. A new
table of rules rewrites all books.

A quota is for the whole cache. The master says what share of it this worker may use; a quota whose share has not been
told has no room at all, and nothing that is here already is given up for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from raycache.rules import FileRules, Matcher, RuleTable, quotas_of
from raycache.types import BlockId, SegmentId
from raycache.workers.effects import Load, SegmentEntry
from raycache.workers.tiers.segment import Segment

_NEVER = float("inf")


class RuleBooks:
    """The rules as this worker knows them, and the books on its segments."""

    def __init__(self) -> None:
        self._matcher = Matcher(RuleTable(-1, ()))
        #: By the quota's path, see `messages.Shares`.
        self.fair: dict[str, int] = {}
        self.limits: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._coming: dict[str, int] = {}
        #: By the quota's path: its segments, the oldest loaded first.
        self._members: dict[str, dict[SegmentId, None]] = {}
        #: No segment expires before.
        self.next_expiry_s = _NEVER

    @property
    def version(self) -> int:
        """Of the table of rules; -1 when it is not known yet."""
        return self._matcher.table.version

    def of(self, uri: str) -> FileRules:
        """What holds for a file."""
        return self._matcher.of(uri)

    # --- books --------------------------------------------------------------------------------------------------------

    def set_rules(self, table: RuleTable, segments: Iterable[Segment], loads: Iterable[Load]) -> None:
        """Rewrite all books.

        Cost: one look-up for every block that is here.
        """
        before, quotas = quotas_of(self._matcher.table), quotas_of(table)
        self._matcher = Matcher(table)
        # Of a quota that has changed a new share will be told; until then nothing is loaded on the old one's account.
        same = [base for base in self.limits if before.get(base) == quotas.get(base)]
        self.fair = {base: self.fair[base] for base in same}
        self.limits = {base: self.limits[base] for base in same}
        self._used = dict.fromkeys(quotas, 0)
        self._coming = dict.fromkeys(quotas, 0)
        self._members = {base: {} for base in quotas}
        self.next_expiry_s = _NEVER
        for segment in sorted(segments, key=lambda segment: segment.loaded_at_s):
            self.added(segment)
        for load in loads:
            self.expect(load)

    def added(self, segment: Segment) -> None:
        """The segment's blocks can be read from now on."""
        if not self._matcher.table.rules:
            segment.pinned, segment.expires_at_s = False, _NEVER
            return
        for entry in segment.entries.values():
            for base in self.of(entry.version.uri).quotas:
                self._used[base] += entry.length
                self._members[base][segment.id] = None
        self._mark(segment)

    def removed(self, segment: Segment, entries: Iterable[SegmentEntry]) -> None:
        """Some of the segment's blocks cannot be read any more."""
        if not self._matcher.table.rules:
            return
        for entry in entries:
            for base in self.of(entry.version.uri).quotas:
                self._used[base] -= entry.length
        if not segment.entries:
            for members in self._members.values():
                members.pop(segment.id, None)
        self._mark(segment)

    def expect(self, load: Load) -> None:
        """A load has started."""
        self._count_coming(load, 1)

    def landed(self, load: Load) -> None:
        """A load has ended; what became of it is added as a segment."""
        self._count_coming(load, -1)

    def _count_coming(self, load: Load, sign: int) -> None:
        if self._members:
            for item in load.items:
                for base in self.of(item.version.uri).quotas:
                    self._coming[base] += sign * item.length

    def _mark(self, segment: Segment) -> None:
        by_uri = {entry.version.uri: self.of(entry.version.uri) for entry in segment.entries.values()}
        # A passive copy is a further one: the worker that it was made from keeps the pinned blocks.
        segment.pinned = not segment.passive and any(rules.pinned for rules in by_uri.values())
        ttls = [rules.ttl_s for rules in by_uri.values() if rules.ttl_s is not None and not rules.pinned]
        segment.expires_at_s = segment.loaded_at_s + min(ttls) if ttls else _NEVER
        self.next_expiry_s = min(self.next_expiry_s, segment.expires_at_s)

    # --- TTL ----------------------------------------------------------------------------------------------------------

    def expired(self, segments: Mapping[SegmentId, Segment], now_s: float) -> list[BlockId]:
        """Blocks whose time has ended; to be called again only after `next_expiry_s`."""
        due = [segment for segment in segments.values() if segment.expires_at_s <= now_s and segment.entries]
        blocks: list[BlockId] = []
        for segment in due:
            for block, entry in segment.entries.items():
                rules = self.of(entry.version.uri)
                if rules.ttl_s is not None and not rules.pinned and segment.loaded_at_s + rules.ttl_s <= now_s:
                    blocks.append(block)
        later = (segment.expires_at_s for segment in segments.values() if segment.expires_at_s > now_s)
        self.next_expiry_s = min(later, default=_NEVER)
        return blocks

    # --- quotas -------------------------------------------------------------------------------------------------------

    def quotas_of(self, uris: Iterable[str]) -> list[str]:
        """The quotas that any of these files counts against."""
        if not self._members:
            return []
        return list(dict.fromkeys(base for uri in uris for base in self.of(uri).quotas))

    def used(self) -> dict[str, int]:
        """What each quota has taken here; see `taken`."""
        return {base: self.taken(base) for base in self._used}

    def taken(self, base: str) -> int:
        """The bytes a quota has taken here, those on their way included."""
        return self._used[base] + self._coming[base]

    def free_bytes(self, base: str) -> int:
        """What may still be loaded; negative when the limit was lowered."""
        return self.limits.get(base, 0) - self.taken(base)

    def oldest(self, base: str, segments: Mapping[SegmentId, Segment]) -> Iterator[tuple[Segment, list[BlockId], int]]:
        """The quota's blocks that are not pinned, by segment, the oldest loaded first: (segment, blocks, bytes)."""
        for name in list(self._members.get(base, ())):
            segment = segments[name]
            chosen: list[BlockId] = []
            size_bytes = 0
            for block, entry in segment.entries.items():
                rules = self.of(entry.version.uri)
                if base in rules.quotas and not rules.pinned:
                    chosen.append(block)
                    size_bytes += entry.length
            if chosen:
                yield segment, chosen, size_bytes

    def validate(self, segments: Mapping[SegmentId, Segment], loads: Iterable[Load]) -> None:
        """Check the books against a recount."""
        used, coming = dict.fromkeys(self._members, 0), dict.fromkeys(self._members, 0)
        for segment in segments.values():
            names = {entry.version.uri for entry in segment.entries.values()}
            pinned = not segment.passive and any(self.of(uri).pinned for uri in names)
            assert segment.pinned == pinned, f"{segment.id} is marked pinned: {segment.pinned}, by the rules {pinned}"
            assert segment.expires_at_s >= self.next_expiry_s, f"{segment.id} expires earlier than anything"
            for entry in segment.entries.values():
                for base in self.of(entry.version.uri).quotas:
                    used[base] += entry.length
                    assert segment.id in self._members[base], f"the quota of {base} does not know {segment.id}"
        for load in loads:
            for item in load.items:
                for base in self.of(item.version.uri).quotas:
                    coming[base] += item.length
        assert (used, coming) == (self._used, self._coming), f"quotas took {used} and {coming}, booked otherwise"
        for members in self._members.values():
            assert all(segments[name].entries for name in members), f"quotas know segments that are gone: {members}"
