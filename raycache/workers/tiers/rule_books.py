"""What the rules say of the segments here: which are pinned, when they expire, what their quotas have taken. Pure.

Theory of operation. Books are kept as segments come and go, so that nothing has to be searched: a segment knows how many of
its blocks are *pinned*, and when the first of them expires; and each quota knows its bytes, by segment, the oldest loaded
first. Bytes are those of the blocks that can be read, and of loads on their way.

A newer table of rules holds at once for what comes. The books on what is here are rewritten in steps, of those segments only
in which a rule that is new or gone names a file; what loses a block before its turn comes is rewritten then. Until all of it
is done the table is not *booked*: the master is not told that it is known here, and no shares are taken for it.

A quota is for the whole cache. The master says what share of it this worker may use; a quota whose share has not been
told has no room at all, and nothing that is here already is given up for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

from raycache.rules import FileRules, Matcher, RuleTable, changed_rules, quotas_of
from raycache.types import BlockId, SegmentId
from raycache.workers.effects import Load, SegmentEntry
from raycache.workers.tiers.entry_table import spans_of
from raycache.workers.tiers.segment import Segment

_NEVER = float("inf")
#: Above this many changed rules every segment is looked at.
_RULES_LOOKED_FOR_MAX = 64
#: Segments without any file that a changed rule names, in one step.
_SEGMENTS_MAX = 64


class RuleBooks:
    """The rules as this worker knows them, and the books on its segments."""

    def __init__(self) -> None:
        self._matcher = Matcher(RuleTable(-1, ()))
        #: By the quota's path, see `messages.Shares`.
        self.fair: dict[str, int] = {}
        self.limits: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._coming: dict[str, int] = {}
        #: By the quota's path: its segments, the oldest loaded first, and their bytes of it.
        self._members: dict[str, dict[SegmentId, int]] = {}
        #: Of a segment, the quotas that have bytes in it; those of one without any are not here.
        self._bases_of: dict[SegmentId, tuple[str, ...]] = {}
        #: Loads on their way, and their bytes of each quota.
        self._loads: dict[int, tuple[Load, dict[str, int]]] = {}
        #: (when a segment expires, its name), a heap; those whose segment says otherwise by now mean nothing.
        self._expiries: list[tuple[float, SegmentId]] = []
        #: What is left of rewriting the books; None: they are as the rules say.
        self._rewriting: Iterator[int] | None = None

    @property
    def version(self) -> int:
        """Of the table of rules; -1 when it is not known yet."""
        return self._matcher.table.version

    @property
    def booked_version(self) -> int:
        """Of the table that all books follow; -1 while they are being rewritten."""
        return -1 if self._rewriting else self.version

    def of(self, uri: str) -> FileRules:
        """What holds for a file."""
        return self._matcher.of(uri)

    # --- books --------------------------------------------------------------------------------------------------------

    def set_rules(self, table: RuleTable, segments: Iterable[Segment]) -> None:
        """Take newer rules, and begin to rewrite the books; `rewrite` goes on."""
        before, quotas = quotas_of(self._matcher.table), quotas_of(table)
        changed = changed_rules(self._matcher.table.rules, table.rules)
        if self._rewriting or len(changed) > _RULES_LOOKED_FOR_MAX:
            spans: list[tuple[str, str | None]] = [("", None)]
        else:
            spans = spans_of(rule.pattern for rule in changed)
        self._matcher = Matcher(table)
        # Of a quota that has changed a new share will be told; until then nothing is loaded on the old one's account.
        same = [base for base in self.limits if before.get(base) == quotas.get(base)]
        self.fair = {base: self.fair[base] for base in same}
        self.limits = {base: self.limits[base] for base in same}
        self._used = {base: self._used.get(base, 0) for base in quotas}
        self._coming = {base: self._coming.get(base, 0) for base in quotas}
        self._members = {base: self._members.get(base, {}) for base in quotas}
        self._rewriting = self._rewrite(segments, list(self._loads), spans)

    def rewrite(self) -> int:
        """Rewrite the books of one segment or load: how many blocks were looked at; 0: all books are as the rules say."""
        looked = next(self._rewriting, 0) if self._rewriting else 0
        if not looked:
            self._rewriting = None
        return looked

    def _rewrite(
        self, segments: Iterable[Segment], loads: list[int], spans: list[tuple[str, str | None]]
    ) -> Iterator[int]:
        version = self.version
        for load_id in loads:
            if load_id in self._loads:
                load, _ = self._loads[load_id]
                self.expect(load)
                yield len(load.items) + 1
        # The oldest first: so they stand in a new quota's books.
        for number, segment in enumerate(sorted(segments, key=lambda segment: segment.loaded_at_s), 1):
            if version != self.version:
                return
            if segment.rules_version != version and segment.entries and segment.entries.has_named(spans):
                self.added(segment)
                yield len(segment.entries) + 1
            elif number % _SEGMENTS_MAX == 0:
                yield _SEGMENTS_MAX
            segment.rules_version = version

    def added(self, segment: Segment) -> None:
        """Book all of a segment's blocks, anew if they were booked before."""
        segment.rules_version = self.version
        segment.pinned_blocks, expires_at_s = 0, _NEVER
        taken: dict[str, int] = {}
        for entry in segment.entries.values() if self._matcher.table.rules else ():
            rules = self.of(entry.version.uri)
            for base in rules.quotas:
                taken[base] = taken.get(base, 0) + entry.length
            if rules.pinned:
                segment.pinned_blocks += 1
            elif rules.ttl_s is not None:
                expires_at_s = min(expires_at_s, segment.loaded_at_s + rules.ttl_s)
        self._book(segment, taken)
        self._expire(segment, expires_at_s)

    def removed(self, segment: Segment, entries: Iterable[SegmentEntry]) -> None:
        """Some of the segment's blocks cannot be read any more."""
        if segment.rules_version != self.version or not segment.entries:
            self.added(segment)
            return
        if not self._matcher.table.rules:
            return
        for entry in entries:
            rules = self.of(entry.version.uri)
            segment.pinned_blocks -= rules.pinned
            for base in rules.quotas:
                self._used[base] -= entry.length
                self._members[base][segment.id] -= entry.length

    def _book(self, segment: Segment, taken: dict[str, int]) -> None:
        for base in self._bases_of.pop(segment.id, ()):
            if base in self._members and segment.id in self._members[base]:
                self._used[base] -= self._members[base][segment.id]
                if base not in taken:
                    del self._members[base][segment.id]
        for base, size_bytes in taken.items():
            # One that is known keeps its place.
            self._members[base][segment.id] = size_bytes
            self._used[base] += size_bytes
        if taken:
            self._bases_of[segment.id] = tuple(taken)

    def expect(self, load: Load) -> None:
        """A load has started."""
        self.landed(load)
        taken: dict[str, int] = {}
        for item in load.items if self._members else ():
            for base in self.of(item.version.uri).quotas:
                taken[base] = taken.get(base, 0) + item.length
        for base, size_bytes in taken.items():
            self._coming[base] += size_bytes
        self._loads[load.load_id] = load, taken

    def landed(self, load: Load) -> None:
        """A load has ended; what became of it is added as a segment."""
        _, taken = self._loads.pop(load.load_id, (load, {}))
        for base, size_bytes in taken.items():
            if base in self._coming:
                self._coming[base] -= size_bytes

    # --- TTL ----------------------------------------------------------------------------------------------------------

    @property
    def next_expiry_s(self) -> float:
        """No segment expires before."""
        return self._expiries[0][0] if self._expiries else _NEVER

    def expired(self, segments: Mapping[SegmentId, Segment], now_s: float) -> list[BlockId]:
        """Blocks of one segment whose time has ended; to be called again until `next_expiry_s` is later."""
        expires_at_s, name = heapq.heappop(self._expiries)
        segment = segments.get(name)
        if segment is None or segment.expires_at_s != expires_at_s:
            return []
        blocks: list[BlockId] = []
        later_s = _NEVER
        for block, entry in segment.entries.items():
            rules = self.of(entry.version.uri)
            if rules.ttl_s is not None and not rules.pinned:
                ends_s = segment.loaded_at_s + rules.ttl_s
                if ends_s <= now_s:
                    blocks.append(block)
                else:
                    later_s = min(later_s, ends_s)
        self._expire(segment, later_s)
        return blocks

    def _expire(self, segment: Segment, at_s: float) -> None:
        if segment.expires_at_s != at_s:
            segment.expires_at_s = at_s
            if at_s < _NEVER:
                heapq.heappush(self._expiries, (at_s, segment.id))

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
        """Check the books against a recount; nothing of what is still to be rewritten."""
        used, coming = dict.fromkeys(self._members, 0), dict.fromkeys(self._members, 0)
        for segment in segments.values():
            pinned = sum(self.of(entry.version.uri).pinned for entry in segment.entries.values())
            assert segment.expires_at_s >= self.next_expiry_s, f"{segment.id} expires earlier than anything"
            for base, members in self._members.items():
                used[base] += members.get(segment.id, 0)
            if self._rewriting:
                continue
            assert segment.pinned_blocks == pinned, f"{segment.id}: {segment.pinned_blocks} blocks pinned, not {pinned}"
            for entry in segment.entries.values():
                for base in self.of(entry.version.uri).quotas:
                    used[base] -= entry.length
        assert self._rewriting or not any(used.values()), f"quotas took more or less than booked: {used}"
        if self._rewriting:
            return
        for load in loads:
            for item in load.items:
                for base in self.of(item.version.uri).quotas:
                    coming[base] += item.length
        booked = {base: sum(members.values()) for base, members in self._members.items()}
        assert (booked, coming) == (self._used, self._coming), f"quotas took {booked}, {coming}, counted otherwise"
        for members in self._members.values():
            assert all(segments[name].entries for name in members), f"quotas know segments that are gone: {members}"
