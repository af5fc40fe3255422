"""A `WorkerService` against a naive world that carries its effects out with real bytes, late, out of order and failing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raycache.errors import UnavailableError
from raycache.messages import BlockRequest, BlockState, FileColumns, GrantKind, PlanNews, Purpose, Selector, Shares
from raycache.ranges import BlockRange, block_count, block_length
from raycache.rules import FileRules, Matcher, Pattern, Rule, RuleKind, RuleTable, add_rules, quotas_of
from raycache.settings import EVICTIONS
from raycache.types import BlockId, FileVersion, Tier
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import (
    Compact,
    Demote,
    DropDisk,
    DropMemory,
    Effect,
    Forget,
    Load,
    LoadOutcome,
    Promote,
    Reply,
    SegmentEntry,
    Verify,
)
from raycache.workers.service import WorkerService
from tests.support.disk_segments import on_disk
from tests.support.requests import check_states, drawn_fields
from tests.support.worker_world import BLOCK, GRID, LEASE_S, PAGE, SIZES, World, content, passive_masks

#: What rules and frees are about.
PATTERNS = [
    Pattern("s3://b/a/0"), Pattern("s3://b/b/1"), Pattern("s3://b/a"), Pattern("s3://b", "a/*"), Pattern("s3://b"),
    Pattern("s3://b", "*/[2-5]"), Pattern("s3://c"),
]  # fmt: skip


class WorkerMachine(RuleBasedStateMachine):
    """Rules are the events a worker can see."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.world = World()
        self.etags = [0] * len(SIZES)
        self.next_ticket = 0
        self.reported: dict[bytes, int] = {}
        self.rules = RuleTable(0, ())
        self.matcher = Matcher(self.rules)
        self.shares: dict[str, int] = {}
        #: By quota, what may be taken now: the share, or what was taken before that was lowered.
        self.quota_bounds: dict[str, int] = {}
        #: The pinned blocks held after the last event, and whether the next one may take some.
        self.pinned: dict[bytes, int] = {}
        self.may_lose_pinned = False
        self.failed_compactions: set[str] = set()
        self.arrived: dict[tuple[bytes, int], float] = {}

    @initialize(
        memory=st.sampled_from([0, 64, 64, 128]),
        disk=st.sampled_from([0, 16, 200, 200, 400]),
        inflight=st.sampled_from([1, 3]),
        inflight_bytes=st.sampled_from([8, 40, 1000]),
        policy=st.sampled_from(EVICTIONS),
        adopted=st.lists(st.tuples(st.integers(0, len(SIZES) - 1), st.booleans()), max_size=4),
        planned=st.lists(st.integers(0, len(SIZES) - 1), max_size=30),
    )
    def begin(
        self, memory: int, disk: int, inflight: int, inflight_bytes: int, policy: str, adopted: list[tuple[int, bool]],
        planned: list[int],
    ) -> None:  # fmt: skip
        self.disk_quota, self.memory_bound = disk, memory
        limits = WorkerLimits(BLOCK, 32, memory, disk, LEASE_S, inflight, inflight_bytes, 0.95, 0.8, 2, PAGE, 64)
        self.service = WorkerService("here", 7, limits, policy)
        self.service.choosing.plan(PlanNews("plan", 0, [self.version(file, 0).id() for file in planned]), self.now_s)
        found = []
        for number, (file, corrupt) in enumerate(adopted):
            version = self.version(file, 0)
            data, name = content(version, 0), f"old-{number}"
            self.world.disk[name] = data
            if corrupt:
                self.world.corrupt.append(name)
            found.append(on_disk(name, len(data), [SegmentEntry(version, 0, 0, len(data))]))
            self.list_entries(name, list(found[-1].entries.values()))
        self.run_effects(self.service.adopt(found, self.now_s))

    def version(self, file: int, etag: int) -> FileVersion:
        version = FileVersion(f"s3://b/{'ab'[file % 2]}/{file}", SIZES[file], str(etag), 0)
        self.world.ids[version.id()] = version
        return version

    # --- events -------------------------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        files=st.lists(st.integers(0, len(SIZES) - 1), min_size=0, max_size=4, unique=True),
        node=st.sampled_from(["here", "there"]),
        purpose=st.sampled_from([Purpose.READ] * 11 + list(Purpose)),
        paged=st.booleans(),
        old=st.integers(0, 9),
    )
    def ask(self, data: st.DataObject, files: list[int], node: str, purpose: Purpose, paged: bool, old: int) -> None:
        versions = [self.version(f, max(0, self.etags[f] - (old == 0))) for f in files]
        rows: list[tuple[int, int, int, int]] = []
        for number, version in enumerate(versions):
            last = block_count(version.size_bytes, BLOCK) - 1
            first = data.draw(st.integers(0, last))
            for index in range(first, data.draw(st.integers(first, last)) + 1):
                length = block_length(index, version.size_bytes, BLOCK)
                offset = data.draw(st.integers(0, 1)) if length > 1 else 0
                part = BlockRange(index, offset, length - offset)
                rows += [(number, *piece) for piece in (GRID.pages(part) if paged else (part,))]
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
        fields = drawn_fields(data, purpose, len(rows))
        self.send(BlockRequest(node, 0, 0, FileColumns.of(versions), *columns, BLOCK, **fields))

    def send(self, request: BlockRequest) -> None:
        ticket = self.next_ticket
        self.next_ticket += 1
        self.world.tickets[ticket] = request
        self.world.held_then[ticket] = self.here()
        self.run_effects(self.service.ask(ticket, request, self.now_s))

    @precondition(lambda self: self.world.loads)
    @rule(data=st.data(), fate=st.sampled_from(["good", "good", "good", "good", "fail", "some", "unstored"]))
    def load_ends(self, data: st.DataObject, fate: str) -> None:
        load = self.world.loads.pop(data.draw(st.integers(0, len(self.world.loads) - 1)))
        self.end_load(load, fate)

    def end_load(self, load: Load, fate: str) -> None:
        states: list[BlockState] = []
        buffer = bytearray(load.size_bytes)
        for number, item in enumerate(load.items):
            file = SIZES.index(item.version.size_bytes)
            if item.version.etag != str(self.etags[file]):
                states.append(BlockState.CHANGED)
            elif fate == "fail" or (fate == "some" and number % 2):
                states.append(BlockState.FAILED)
            else:
                states.append(BlockState.LOADED)
                start = item.offset_in_segment
                buffer[start : start + item.length] = content(item.version, item.block_index)
        errors = {i: UnavailableError("down") for i, state in enumerate(states) if state is BlockState.FAILED}
        outcome = LoadOutcome(tuple(states), errors)
        if fate == "unstored":
            outcome = outcome.not_stored()
            if load.tier is Tier.DISK:
                self.run_effects(self.service.disk_failed(self.now_s))
        elif BlockState.LOADED in states:
            (self.world.memory if load.tier is Tier.MEMORY else self.world.disk)[load.segment] = bytes(buffer)
            if load.tier is Tier.DISK:
                self.list_entries(load.segment, load.entries(outcome))
        self.may_lose_pinned = self.may_lose_pinned or BlockState.CHANGED in states
        for item in load.items:
            self.arrived[item.block] = self.now_s
        self.run_effects(self.service.loaded(load.load_id, outcome, self.now_s))
        self.run_effects(self.service.loaded(load.load_id, outcome, self.now_s))
        held = self.held()
        for item, state in zip(load.items, states, strict=True):
            assert not (state is BlockState.CHANGED and held[item.block.version]), "a replaced version is still here"

    @precondition(lambda self: self.world.demotes)
    @rule(data=st.data(), ok=st.sampled_from([True, True, True, False]))
    def demote_ends(self, data: st.DataObject, ok: bool) -> None:
        self.end_demote(self.world.demotes.pop(data.draw(st.integers(0, len(self.world.demotes) - 1))), ok)

    def end_demote(self, segment: str, ok: bool) -> None:
        if ok:
            self.world.disk[segment] = self.world.memory[segment]
            self.list_entries(segment, self.world.demoting.pop(segment))
        self.run_effects(self.service.demoted(segment, ok, self.now_s))
        self.run_effects(self.service.demoted(segment, ok, self.now_s))

    @precondition(lambda self: self.world.promotes)
    @rule(data=st.data(), ok=st.sampled_from([True, True, False]))
    def promote_ends(self, data: st.DataObject, ok: bool) -> None:
        self.end_promote(self.world.promotes.pop(data.draw(st.integers(0, len(self.world.promotes) - 1))), ok)

    def end_promote(self, segment: str, ok: bool) -> None:
        if ok:
            self.world.memory[segment] = self.world.disk[segment]
        self.run_effects(self.service.promoted(segment, ok, self.now_s))

    @precondition(lambda self: self.world.verifies)
    @rule()
    def verify_ends(self) -> None:
        segment = self.world.verifies.pop(0)
        self.may_lose_pinned = segment in self.world.corrupt
        self.run_effects(self.service.verified(segment, segment not in self.world.corrupt, self.now_s))

    @precondition(lambda self: self.world.compacts)
    @rule(data=st.data(), ok=st.sampled_from([True, True, True, False]))
    def compact_ends(self, data: st.DataObject, ok: bool) -> None:
        self.end_compact(self.world.compacts.pop(data.draw(st.integers(0, len(self.world.compacts) - 1))), ok)

    def end_compact(self, effect: Compact, ok: bool) -> None:
        store = self.world.memory if effect.tier is Tier.MEMORY else self.world.disk
        if ok:
            whole = store[effect.segment]
            store[effect.target] = b"".join(whole[at : at + size] for at, size in effect.parts)
            if effect.tier is Tier.DISK:
                self.list_entries(effect.target, effect.entries)
        if not ok:
            self.failed_compactions.add(effect.segment)
        self.run_effects(self.service.compacted(effect.segment, ok, self.now_s))
        self.run_effects(self.service.compacted(effect.segment, ok, self.now_s))

    def list_entries(self, segment: str, entries: list[SegmentEntry]) -> None:
        self.world.listed[segment] = {BlockId(entry.version.id(), entry.block_index) for entry in entries}

    @rule(
        files=st.lists(st.integers(0, len(SIZES) - 1), min_size=1, max_size=4), node=st.sampled_from(["here", "there"])
    )
    def read_whole(self, files: list[int], node: str) -> None:
        """The usual life: whole files, and every load succeeds at once."""
        for file in files:
            version = self.version(file, self.etags[file])
            indices = list(range(block_count(version.size_bytes, BLOCK)))
            lengths = [block_length(index, version.size_bytes, BLOCK) for index in indices]
            zeros = [0] * len(indices)
            request = BlockRequest(node, 0, 0, FileColumns.of([version]), zeros, indices, zeros, lengths, BLOCK, 0)
            self.send(request)
            while self.world.loads:
                self.end_load(self.world.loads.pop(0), "good")

    @rule(file=st.integers(0, len(SIZES) - 1), chance=st.integers(0, 3))
    def replace_in_lake(self, file: int, chance: int) -> None:
        self.etags[file] += chance == 3

    @rule(seconds=st.sampled_from([0.5, 12.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.run_effects(self.service.tick(self.now_s))
        for block in self.here():
            file_rules = self.file_rules(block.version)
            if file_rules.ttl_s is not None and not file_rules.pinned:
                assert self.now_s - self.arrived.get(block, 100.0) < file_rules.ttl_s, "a block has outlived its TTL"

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        known = sorted({*self.world.memory, *self.world.disk, "never"})
        chosen = data.draw(st.lists(st.sampled_from(known), max_size=3))
        self.run_effects(self.service.touch(chosen, self.now_s))

    @rule(pattern=st.sampled_from(PATTERNS), force=st.booleans(), older_than_s=st.sampled_from([0.0, 0.0, 10.0]))
    def free(self, pattern: Pattern, force: bool, older_than_s: float) -> None:
        before = [block for block in self.here() if pattern.names(self.world.ids[block.version].uri)]
        pinned = {block for block in before if self.file_rules(block.version).pinned and not force}
        self.may_lose_pinned = force
        reply, effects = self.service.free(Selector([pattern], [], older_than_s), force, self.now_s)
        self.run_effects(effects)
        if not older_than_s:
            assert (len(before) - len(pinned), len(pinned)) == (reply.blocks, reply.pinned_blocks)
            assert not self.here() & (set(before) - pinned), "freed blocks are still here"

    @rule(
        kind=st.sampled_from(RuleKind),
        pattern=st.sampled_from(PATTERNS),
        value=st.sampled_from([None, 0, 1, 30, 40, 90]),
        share=st.sampled_from([None, 0.5, 1.0]),
        limit=st.sampled_from([0.0, 0.5, 1.0, 1.0]),
    )
    def say(self, kind: RuleKind, pattern: Pattern, value: float | None, share: float | None, limit: float) -> None:
        """The rules change; often the master tells at once what this worker may use of the quotas."""
        if kind is RuleKind.QUOTA and pattern.glob:
            return
        said = Rule(kind, pattern, 1 if kind is RuleKind.PIN and value else value)
        self.rules = RuleTable(self.rules.version + 1, add_rules(self.rules.rules, [said]))
        self.matcher = Matcher(self.rules)
        if self.matcher.table.rules:
            self.pinned = {v: m for v, m in self.pinned.items() if self.file_rules(v).pinned}
        quotas = quotas_of(self.rules)
        taken = self.quota_taken()
        self.quota_bounds = {base: max(self.quota_bounds.get(base, 0), taken[base]) for base in quotas}
        told = None
        if share is not None:
            shares = {base: int(quota * share) for base, quota in quotas.items()}
            limits = {base: int(fair * limit) for base, fair in shares.items()}
            self.quota_bounds = {base: max(limits[base], taken[base]) for base in quotas}
            self.shares = limits
            told = Shares(self.rules.version, shares, limits)
        self.may_lose_pinned = not self.rules.rules
        self.run_effects(self.service.set_rules(self.rules, told, self.now_s))

    def file_rules(self, version: bytes) -> FileRules:
        return self.matcher.of(self.world.ids[version].uri)

    def quota_taken(self) -> dict[str, int]:
        """By quota, the bytes of readable blocks and of running loads."""
        taken = dict.fromkeys(quotas_of(self.rules), 0)
        for block in self.here():
            file = self.world.ids[block.version]
            for base in self.matcher.of(file.uri).quotas:
                taken[base] += GRID.length(block.block_index, file.size_bytes)
        for load in self.world.loads:
            for item in load.items:
                for base in self.matcher.of(item.version.uri).quotas:
                    taken[base] += item.length
        return taken

    @rule(quota=st.sampled_from([16, 64, 64, 128]))
    def pressure(self, quota: int) -> None:
        self.memory_bound = max(quota, self.memory_charge())
        self.run_effects(self.service.set_memory_bytes(quota, self.now_s))

    @rule(full=st.booleans())
    def report(self, full: bool) -> None:
        report = self.service.report(full)
        if full:
            self.reported = {}
        self.reported.update(zip(report.versions, report.masks, strict=True))
        held = {version: mask for version, mask in self.held().items() if mask}
        assert held == {version: mask for version, mask in self.reported.items() if mask}

    # --- effects ------------------------------------------------------------------------------------------------------

    def run_effects(self, effects: list[Effect]) -> None:
        world = self.world
        for effect in effects:
            match effect:
                case Reply():
                    self.check_reply(effect, world.tickets.pop(effect.ticket))
                case Load():
                    running = {item.block for load in world.loads for item in load.items}
                    assert not running & {item.block for item in effect.items}, "a block is loaded twice at a time"
                    assert sum(item.length for item in effect.items) == effect.size_bytes <= 32
                    world.loads.append(effect)
                case Demote(segment):
                    assert segment in world.memory
                    assert segment not in world.disk
                    assert not world.busy(segment)
                    world.demotes.append(segment)
                    world.demoting[segment] = self.service.entries(segment)
                case Promote(segment):
                    assert segment in world.disk
                    assert segment not in world.memory
                    assert not world.busy(segment)
                    world.promotes.append(segment)
                case Verify(segment):
                    assert segment in world.disk
                    assert not world.busy(segment)
                    world.verifies.append(segment)
                case DropMemory(segment):
                    self.check_drop(segment)
                    del world.memory[segment]
                case DropDisk(segment):
                    self.check_drop(segment)
                    del world.disk[segment], world.listed[segment]
                case Compact(segment):
                    assert segment in (world.memory if effect.tier is Tier.MEMORY else world.disk)
                    assert segment not in world.corrupt
                    assert not world.busy(segment)
                    assert self.world.leases.get(segment, 0.0) <= self.now_s, f"{segment} is rewritten under a lease"
                    world.compacts.append(effect)
                case Forget(segment, blocks):
                    world.listed[segment] -= set(blocks)

    def check_drop(self, segment: str) -> None:
        assert not self.world.busy(segment), f"{segment} is dropped while it is copied"
        assert self.world.leases.get(segment, 0.0) <= self.now_s, f"{segment} is dropped under a lease"

    def check_reply(self, reply: Reply, request: BlockRequest) -> None:
        versions = request.files.versions()
        held_then = self.world.held_then.pop(reply.ticket)
        check_states(request, reply)
        for position, state in enumerate(reply.states):
            if state in (BlockState.HIT_MEMORY, BlockState.HIT_DISK):
                block = BlockId(versions[request.file_index[position]].id(), request.block_index[position])
                whole = block._replace(block_index=GRID.block_of(block.block_index))
                assert {block, whole} & held_then, "a hit on a block that was not here"
            grant_index = reply.grant_index[position]
            assert (grant_index >= 0) == (request.terms.hands_out and state.served)
            if grant_index < 0:
                continue
            grant = reply.grants[grant_index]
            assert grant.segment not in self.world.corrupt, "unchecked bytes are handed out"
            store = self.world.memory if grant.tier is Tier.MEMORY else self.world.disk
            segment = store[grant.segment]
            offset, length = request.offsets[position], request.lengths[position]
            expected = content(versions[request.file_index[position]], request.block_index[position])
            start = reply.grant_offsets[position]
            if grant.kind is GrantKind.INLINE:
                assert request.node == "there"
                joined = b"".join(segment[at : at + size] for at, size in grant.parts)
                assert len(joined) == grant.length_bytes
                assert expected[offset : offset + length] == joined[start : start + length]
                continue
            assert grant.kind is (GrantKind.PLASMA if grant.tier is Tier.MEMORY else GrantKind.FILE)
            assert grant.kind is GrantKind.PLASMA or request.node == "here"
            assert expected == segment[start : start + len(expected)]
            self.world.leases[grant.segment] = self.now_s + grant.lease_s
            for entry in zip(
                grant.entry_versions, grant.entry_blocks, grant.entry_offsets, grant.entry_lengths, strict=True
            ):
                version, block_index, at, size = entry
                assert content(self.world.ids[version], block_index) == segment[at : at + size]

    # --- what always holds --------------------------------------------------------------------------------------------

    def held(self) -> dict[bytes, int]:
        versions = list(self.world.ids)
        reply = self.service.resident(versions)
        return {v: m | d for v, m, d in zip(versions, reply.memory_masks, reply.disk_masks, strict=True)}

    def here(self) -> set[BlockId]:
        """Blocks, and pages."""
        return {block for block, _ in self.service._table.indexed()}

    def memory_charge(self) -> int:
        loading = sum(load.size_bytes for load in self.world.loads if load.tier is Tier.MEMORY)
        lifting = sum(len(self.world.disk[segment]) for segment in self.world.promotes)
        return sum(map(len, self.world.memory.values())) + loading + lifting + self.compacting(Tier.MEMORY)

    def compacting(self, tier: Tier) -> int:
        return sum(size for effect in self.world.compacts if effect.tier is tier for _, size in effect.parts)

    def disk_charge(self) -> int:
        loading = sum(load.size_bytes for load in self.world.loads if load.tier is Tier.DISK)
        lowering = sum(len(self.world.memory[segment]) for segment in self.world.demotes)
        loading += self.compacting(Tier.DISK)
        return sum(map(len, self.world.disk.values())) + loading + lowering

    @invariant()
    def rules_are_kept(self) -> None:
        """What is pinned stays, unless the lake or the operator took it, or it was a further copy; quotas are kept."""
        held = {version: mask for version, mask in self.held().items() if mask}
        if not self.may_lose_pinned:
            for version, mask in self.pinned.items():
                assert not mask & ~held.get(version, 0), f"pinned blocks of {self.world.ids[version].uri} are gone"
        self.may_lose_pinned = False
        extra = passive_masks(self.service._table)
        self.pinned = {v: mask & ~extra.get(v, 0) for v, mask in held.items() if self.file_rules(v).pinned}
        for base, taken in self.quota_taken().items():
            assert taken <= self.quota_bounds[base], f"{base} takes {taken}, {self.quota_bounds[base]} allowed"
            self.quota_bounds[base] = max(self.shares.get(base, 0), taken)

    @invariant()
    def consistent(self) -> None:
        self.service.validate()
        charge = self.memory_charge()
        assert charge <= self.memory_bound, f"{charge} bytes in memory, {self.memory_bound} allowed"
        self.memory_bound = max(self.service.memory_bytes, charge)
        assert self.disk_charge() <= self.disk_quota
        stats = self.service.stats()
        assert sum(map(len, self.world.memory.values())) == stats.memory_used_bytes
        assert sum(map(len, self.world.disk.values())) == stats.disk_used_bytes
        for name, segment in self.service._table.segments.items():
            if segment.on_disk and name not in self.world.corrupt:
                assert set(segment.entries) == self.world.listed[name], f"a restart would bring back blocks of {name}"

    @invariant()
    def waste_is_bounded(self) -> None:
        """What is less than half of use is on the list of what is to be rewritten, or has just failed to be."""
        for name, segment in self.service._table.segments.items():
            wasteful = not segment.draining and 2 * segment.entries.live_bytes < segment.size_bytes
            if wasteful and not segment.passive and name not in self.failed_compactions:
                assert name in self.service._tiers.wasteful, f"{name} stays mostly waste"

    def teardown(self) -> None:
        """Whatever happened: once everything has ended, every ticket has been answered, and frees free everything."""
        if not hasattr(self, "service"):
            return
        world = self.world
        while world.loads or world.verifies or world.demotes or world.promotes or world.compacts:
            if world.loads:
                self.end_load(world.loads.pop(0), "good")
            elif world.verifies:
                self.verify_ends()
            elif world.demotes:
                self.end_demote(world.demotes.pop(0), True)
            elif world.compacts:
                self.end_compact(world.compacts.pop(0), True)
            else:
                self.end_promote(world.promotes.pop(0), True)
        assert not world.tickets, f"tickets {list(world.tickets)} were never answered"
        self.may_lose_pinned = True
        _, effects = self.service.free(Selector([Pattern("")]), True, self.now_s)
        self.run_effects(effects)
        self.now_s += 2 * LEASE_S
        self.run_effects(self.service.tick(self.now_s))
        assert (world.memory, world.disk) == ({}, {})
        self.service.validate()


WorkerMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWorkerService = WorkerMachine.TestCase


def test_blocks_of_a_version_are_told_apart() -> None:
    """The machine's own contents differ between blocks and versions, so mixed-up bytes would show."""
    versions = [FileVersion("s3://b/x", 44, str(etag), 0) for etag in range(3)]
    contents = [content(version, index) for version in versions for index in range(5)]
    assert len(contents) == len(set(contents))
    assert BlockId(versions[0].id(), 0) != BlockId(versions[1].id(), 0)
