"""The simulation can fail: faults that a programmer might well make are each caught, by the checker they concern.

A fault is planted by patching one decision of the real code, or one step of an actor's work. Each must be found within
a few seeds; the very same seeds pass without it (`test_simulation`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from raycache.client.counters import Counters
from raycache.client.flusher import Flusher
from raycache.client.freshness import Freshness
from raycache.client.locator import Locator
from raycache.client.reading.bypass import Bypass
from raycache.client.reading.leases import BlockView, Leases
from raycache.client.reading.reader import Reader
from raycache.errors import UnavailableError
from raycache.invalidations import InvalidationFeed
from raycache.master.loads.pieces import Piece
from raycache.master.locations import Locations
from raycache.master.membership import Membership
from raycache.master.namespace.comparison import Sync
from raycache.master.namespace.keyspace import Keyspace
from raycache.master.quotas import QuotaShares
from raycache.master.service import MasterService
from raycache.messages import BlockState, Deliveries, ResidencyReply, decode, encode
from raycache.types import FileVersion, Tier, VersionId
from raycache.workers import carrier
from raycache.workers.claims import Claims
from raycache.workers.flights import FlightTable
from raycache.workers.node_log import NodeLog
from raycache.workers.service import WorkerService
from raycache.workers.tiers.ledger import TierLedger
from raycache.workers.tiers.segment import Segment
from raycache.workers.tiers.tiers import Tiers

from .engine import ViolationError
from .lake import LakeDoor
from .network import Weather
from .node import Slot
from .plan import BLOCK_BYTES, plan_of
from .scenario import simulate
from .worker import SimulatedWorker

SEEDS_MAX = 60

#: Plans in which certain things happen all the time.
CRASHES = {
    "crash_period_s": 2.0,
    "memory_bytes": 48,
    "disk_bytes": 200,
    "active_s": 20.0,
    "calm": False,
    "roomy": False,
    "claims": False,
}
REORDERED = {
    "weather": Weather(delay_s=0.05, lost=0.0, doubled=0.4, slow=0.4),
    "calm": False, "roomy": False, "crash_period_s": 0.0, "master_crash_period_s": 0.0, "node_period_s": 0.0,
}  # fmt: skip

#: Nothing goes wrong, and there is little room.
STILL = {
    "weather": Weather(delay_s=0.02, lost=0.0, doubled=0.0, slow=0.0), "calm": True, "roomy": False,
    "lake_failing": 0.0, "reader_lake_failing": 0.0, "disk_failing": 0.0,
    "crash_period_s": 0.0, "master_crash_period_s": 0.0, "node_period_s": 0.0,
}  # fmt: skip


def caught_by(seeds: int = SEEDS_MAX, ttl_s: float | None = None, **changes: Any) -> str:
    """The checker that finds the fault first; empty when none does. `changes` are made to each seed's plan."""
    for seed in range(seeds):
        plan = dataclasses.replace(plan_of(seed), **changes)
        if ttl_s is not None:
            plan = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, metadata_ttl_s=ttl_s))
        try:
            simulate(seed, plan)
        except ViolationError as error:
            print(f"seed {seed}: {error}")
            return error.checker
    return ""


def test_a_loader_that_drops_the_version_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads without If-Match mix versions."""
    original = LakeDoor.read

    def read(self: LakeDoor, key: str, offset: int, length: int, version: FileVersion | None = None) -> Any:
        enough = len(self._lake.content(key) or b"") >= offset + length
        return original(self, key, offset, length, None if enough else version)

    monkeypatch.setattr(LakeDoor, "read", read)
    assert caught_by() == "ReadsAreOfOneVersion"


def test_a_reader_that_bypasses_without_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that goes past the cache is bound to the version, too."""
    original = Bypass._fetch

    def bypass(self: Bypass, metas: Any, parts: Any, group: list[int]) -> Any:
        storage, key = self._locator.storage(metas[parts[group[0]].target_index].file.uri)
        first = parts[group[0]]
        offset = self._grid.offset(first.block_index) + first.offset
        length = sum(parts[i].length for i in group)
        content = storage._lake.content(key)
        if content is None or len(content) < offset + length:
            return original(self, metas, parts, group)
        return pa.py_buffer(content[offset : offset + length])

    monkeypatch.setattr(Bypass, "_fetch", bypass)
    assert caught_by(written_through=False) == "ReadsAreOfOneVersion"


def test_a_segment_table_that_forgets_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks hang on versions: by their number alone they are of any file."""
    original_add, original_get = Leases.add, Leases.get
    monkeypatch.setattr(
        Leases,
        "add",
        lambda self, grant, *a, **k: original_add(
            self, grant._replace(entry_versions=[b""] * len(grant.entry_versions)), *a, **k
        ),
    )

    def get(self: Leases, version: VersionId, *arguments: Any) -> BlockView | None:
        found = original_get(self, b"", *arguments)
        return found if found is not None and found.offset + BLOCK_BYTES <= found.mapped.buffer.size else None

    monkeypatch.setattr(Leases, "get", get)
    assert caught_by(written_through=False) == "ReadsAreOfOneVersion"


def test_a_reader_that_keeps_metadata_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the TTL the new version is read."""
    monkeypatch.setattr(Locator, "cached", lambda self, path, now_s: self._metas.get(path))
    assert caught_by(overwrite_period_s=0.5, written_through=False) == "ReadsAreOfOneVersion"


def test_a_reader_that_gives_up_on_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was replaced is resolved again, and read."""
    monkeypatch.setattr("raycache.client.client.READ_ATTEMPTS_MAX", 1)
    assert caught_by(written_through=False) == "ReadsNeverFailBecauseOfTheCache"


def test_a_reader_that_does_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent master is no reason to fail."""

    def refuse(self: Locator, path: str) -> Any:
        raise UnavailableError(f"no master for {path}")

    monkeypatch.setattr(Locator, "_unattended", refuse)
    assert caught_by() == "ReadsNeverFailBecauseOfTheCache"


def test_a_disk_that_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checksum rotten bytes are served."""
    monkeypatch.setattr(Slot, "verify", lambda self, segment: True)
    assert caught_by(**CRASHES) == "DiskIsChecksummed"


def test_an_adopted_segment_that_counts_as_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier incarnation wrote is checked before its first use."""
    original = Tiers.adopt

    def adopt(self: Tiers, segment: Any) -> bool:
        good = original(self, segment)
        segment.verified = True
        return good

    monkeypatch.setattr(Tiers, "adopt", adopt)
    assert caught_by(**CRASHES) == "DiskIsChecksummed"


def test_single_flight_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that is on its way must be joined."""
    monkeypatch.setattr(FlightTable, "get", lambda self, block: None)

    def open_anyway(self: FlightTable, flight: Any) -> bool:
        self._flights[flight.block] = flight
        self._opened.append(flight)
        return True

    monkeypatch.setattr(FlightTable, "open", open_anyway)
    # Two flights of one block also break the table, which would say so first.
    monkeypatch.setattr(WorkerService, "validate", lambda self: None)
    assert caught_by(written_through=False, operations=("free",)) == "BlocksAreLoadedOnce"


#: Room for everything, and readers that load where they are.
CLAIMING = {
    "weather": Weather(delay_s=0.02, lost=0.0, doubled=0.0, slow=0.0), "calm": True, "roomy": True, "claims": True,
    "memory_bytes": 2048, "disk_bytes": 2048, "wrong_hints": 0.0, "pressure_period_s": 0.0, "operator_period_s": 1.0,
    "lake_failing": 0.0, "reader_lake_failing": 0.0, "disk_failing": 0.0,
    "crash_period_s": 0.0, "master_crash_period_s": 0.0, "node_period_s": 0.0,
}  # fmt: skip


def test_a_worker_that_forgets_who_has_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each reader would load for itself."""
    assert caught_by(seeds=4, **CLAIMING) == ""
    monkeypatch.setattr(Claims, "claimant", lambda self, block: None)
    assert caught_by(**CLAIMING) == "BlocksAreLoadedOnce"


def test_a_load_that_does_not_ask_who_has_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What readers are just loading would leave the lake again."""
    monkeypatch.setattr(Piece, "follows_claims", property(lambda self: False))
    assert caught_by(**CLAIMING) == "BlocksAreLoadedOnce"


def test_a_quota_off_by_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block too many in memory is one too many."""
    original = TierLedger.__init__

    def init(self: TierLedger, tier: Tier, capacity_bytes: int) -> None:
        original(self, tier, capacity_bytes + (8 if tier is Tier.MEMORY else 0))

    monkeypatch.setattr(TierLedger, "__init__", init)
    told = WorkerService.memory_bytes.fget
    assert told is not None
    monkeypatch.setattr(WorkerService, "memory_bytes", property(lambda self: told(self) - 8))
    assert caught_by() == "MemoryIsWithinQuota"


@pytest.mark.parametrize("leak", ["renew what was freed", "count from the answer"])
def test_leases_that_readers_keep_too_long(monkeypatch: pytest.MonkeyPatch, leak: str) -> None:
    """Two ways in which readers once used memory that the worker had given to others."""
    if leak == "renew what was freed":
        original_receive = SimulatedWorker.receive

        def receive(
            self: SimulatedWorker, method: str, arguments: tuple[Any, ...], reply: Callable[[Any], None]
        ) -> None:
            if method == "touch":
                asked = decode(arguments[0]).segments
                original_receive(self, method, arguments, lambda _: reply(encode(asked)))
            else:
                original_receive(self, method, arguments, reply)

        monkeypatch.setattr(SimulatedWorker, "receive", receive)
    else:
        original_map = Reader._map
        monkeypatch.setattr(
            Reader,
            "_map",
            lambda self, grants, payloads, call, sent_s: original_map(
                self, grants, payloads, call, self._clock.now_s() + 2.0
            ),
        )
    assert caught_by(**(STILL | {"operator_period_s": 0.5, "memory_bytes": 48})) in (
        "LeasesAreKept",
        "MemoryIsWithinQuota",
    )


def test_a_lease_ignored_when_blocks_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free takes a leased segment out of sight, not out of its readers' hands."""
    monkeypatch.setattr(Segment, "is_idle", lambda self, now_s: self.holds == 0 and self.operation is None)
    assert caught_by(operator_period_s=0.5) in ("LeasesAreKept", "MemoryIsWithinQuota")


def test_a_stale_epoch_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of long ago must not speak for its node."""
    original = Membership.spoke

    def spoke(self: Membership, worker: str, epoch: int, weight_bytes: int, now_s: float) -> bool:
        known = self._workers.get(worker)
        return original(self, worker, known.epoch if known else epoch, weight_bytes, now_s) or known is not None

    monkeypatch.setattr(Membership, "spoke", spoke)
    slow = Weather(delay_s=0.05, lost=0.0, doubled=0.0, slow=0.3)
    assert caught_by(**(CRASHES | {"weather": slow})) == "LateMessagesAreHarmless"


def test_a_doubled_heartbeat_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older word, or the same again, changes nothing: the master would believe what was true before."""
    original = MasterService.heartbeat

    def heartbeat(self: MasterService, word: Any, now_s: float, **more: Any) -> Any:
        known = self._reporting.get(word.worker)
        if known is not None:
            known.sequence = word.sequence - 1
        return original(self, word, now_s, **more)

    monkeypatch.setattr(MasterService, "heartbeat", heartbeat)
    assert caught_by(**REORDERED, operator_period_s=0.2, operations=("free",)) == "LateMessagesAreHarmless"


def test_a_lost_report_that_nobody_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a gap the master asks for everything; else it believes in blocks that are long gone."""
    original = MasterService.heartbeat

    def heartbeat(self: MasterService, word: Any, now_s: float, **more: Any) -> Any:
        return original(self, word, now_s, **more)._replace(want_full=False)

    monkeypatch.setattr(MasterService, "heartbeat", heartbeat)
    monkeypatch.setattr(SimulatedWorker, "_want_full", property(lambda self: False, lambda self, value: None), False)
    assert caught_by() == "LateMessagesAreHarmless"


def test_a_dead_worker_whose_blocks_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locations of a lost worker are dropped."""
    monkeypatch.setattr(Locations, "drop", lambda self, worker: None)
    assert caught_by(**{**CRASHES, "node_period_s": 2.0}) == "LateMessagesAreHarmless"


def test_a_repeated_mount_that_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutation that arrives twice has one effect: a mount must not come back after its unmount."""
    original = MasterService.mount

    def mount(self: MasterService, request_id: str, mount: Any) -> Any:
        self._requests.pop(request_id, None)
        if mount.path in {known.path for known in self.mounts.table().mounts}:
            return []
        return original(self, request_id, mount)

    monkeypatch.setattr(MasterService, "mount", mount)
    # Little else happens than mounts and unmounts, most of them twice.
    often = {"operator_period_s": 0.2, "operations": ("mount",) * 40, "read_period_s": 9.0, "active_s": 20.0}
    weather = Weather(delay_s=0.05, lost=0.0, doubled=0.9, slow=0.3)
    assert caught_by(**(REORDERED | often | {"weather": weather})) == "LateMessagesAreHarmless"


def test_a_hit_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits, misses and bypasses sum up to the blocks asked for."""
    original = Counters.hit
    monkeypatch.setattr(Counters, "hit", lambda self, *a, **k: original(self, *a, **{**k, "blocks": 0}))
    assert caught_by() == "AccountingIsExact"


def test_counters_that_are_delivered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """In calm the master's sums are what readers counted."""
    original = Flusher._deliver

    def deliver(self: Flusher, *, urgent: bool) -> None:
        sums = {dataset: list(values) for dataset, values in self._counters._sums.items()}
        original(self, urgent=urgent)
        self._counters._sums = sums

    monkeypatch.setattr(Flusher, "_deliver", deliver)
    assert caught_by() == "AccountingIsExact"


def test_a_check_that_believes_in_freed_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check` says is resident is resident."""

    def resident(self: WorkerService, versions: list[bytes]) -> ResidencyReply:
        return ResidencyReply([1] * len(versions), [0] * len(versions), [0] * len(versions))

    original = SimulatedWorker.receive

    def receive(self: SimulatedWorker, method: str, arguments: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        if method == "resident":
            reply(encode(resident(self.service, decode(arguments[0]))))
        else:
            original(self, method, arguments, reply)

    monkeypatch.setattr(SimulatedWorker, "receive", receive)
    assert caught_by() == "AccountingIsExact"


def test_a_copy_to_disk_of_which_the_service_hears_that_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of an effect are the actor's own: here the last one goes wrong, and a file stays that nobody counts."""

    async def demote(segment: Any, entries: Any, ports: Any) -> None:
        await ports.demote(segment, entries)
        ports.run(ports.service.demoted(segment, False, ports.now_s()))

    monkeypatch.setattr(carrier, "_demote", demote)
    assert caught_by(**STILL) == "AccountingIsExact"


def test_a_ticket_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered: in the end none is open."""
    original = WorkerService._answer

    def answer(self: WorkerService, ticket: Any) -> None:
        if BlockState.LOADED in ticket.states and ticket.number % 3 == 0:
            return
        original(self, ticket)

    monkeypatch.setattr(WorkerService, "_answer", answer)
    monkeypatch.setattr(WorkerService, "validate", lambda self: None)
    assert caught_by() == "EverythingIsBounded"


def test_a_quota_whose_parts_are_given_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one worker still holds more than its share, the others must not fill theirs."""
    original = QuotaShares.divide

    def divide(self: QuotaShares, *arguments: Any, **keywords: Any) -> Any:
        shares = original(self, *arguments, **keywords)
        return shares and shares._replace(limits=shares.fair)

    monkeypatch.setattr(QuotaShares, "divide", divide)
    assert caught_by(**(LOSSY | {"operator_period_s": 0.5, "operations": ("quota",)})) == "RulesAreKept"


def test_a_sync_that_trusts_the_workers_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that comes back with old segments on its disk holds what the lake has no more, if nobody looks."""
    monkeypatch.setattr(Sync, "stale", lambda self, files: [])
    assert caught_by(**CRASHES) == "SyncsAreExact"


def test_a_comparison_that_forgets_what_readers_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told must be forgotten as told: else the next sync tells it again."""
    monkeypatch.setattr(Keyspace, "compared", lambda self, keys: None)
    assert caught_by() == "SyncsAreExact"


def test_a_free_that_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping blocks never touches the lake."""
    original = SimulatedWorker.receive

    def receive(self: SimulatedWorker, method: str, arguments: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        if method == "free":
            self.door.delete(["d0/f0"])
        original(self, method, arguments, reply)

    monkeypatch.setattr(SimulatedWorker, "receive", receive)
    assert caught_by() == "TheLakeIsNeverWritten"


def test_a_service_that_breaks_its_own_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `validate` of a worker finds is found here, too."""
    monkeypatch.setattr(TierLedger, "release", lambda self, size_bytes: None)
    assert caught_by() in ("ServicesKeepTheirInvariants", "AccountingIsExact")


#: Nothing dies, and nobody is thought dead.
LOSSY = {
    "settings": dataclasses.replace(plan_of(0).settings, heartbeat_timeout_s=600.0),
    "weather": Weather(delay_s=0.02, lost=0.04, doubled=0.2, slow=0.0),
    "calm": True, "roomy": False, "crash_period_s": 0.0, "master_crash_period_s": 0.0, "node_period_s": 0.0,
    "operator_period_s": 0.0,
}  # fmt: skip


def test_a_worker_that_counts_a_repeated_delivery_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only messages are lost, the master's sums are what readers counted, because repetitions are known."""
    assert caught_by(seeds=12, **LOSSY) == ""
    monkeypatch.setattr(Deliveries, "is_new", lambda _self, _delivery: True)
    assert caught_by(**LOSSY) == "AccountingIsExact"


#: Some answers take long, and few files are read all the time.
LATE = {
    **REORDERED,
    "weather": Weather(delay_s=0.02, lost=0.0, doubled=0.0, slow=0.4), "read_period_s": 0.1, "overwrite_period_s": 1.0,
    "files": 2, "read_counts": (1,), "active_s": 20.0, "operator_period_s": 0.0, "clients": 3,
}  # fmt: skip

#: Files are written through the cache, again and again, and read in between.
WRITTEN = {"written_through": True, "overwrite_period_s": 0.5, "lake_failing": 0.0, "read_period_s": 0.2}


def test_a_worker_that_tells_its_node_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers go on with what they remember, although the writer has closed."""
    original = NodeLog.heed
    monkeypatch.setattr(NodeLog, "heed", lambda self, news: original(self, news._replace(found=[])))
    # Not in a roomy plan, where a block that is dropped and loaded again stops another checker.
    assert caught_by(**WRITTEN, roomy=False) == "OpensSeeWhatWasClosed"


def test_a_master_that_does_not_wait_for_silent_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost message is not heard, whatever the master believes."""
    monkeypatch.setattr(MasterService, "is_heard", lambda *_: True)
    assert caught_by(**WRITTEN, **REORDERED) == "OpensSeeWhatWasClosed"


def test_an_answer_that_was_on_its_way_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was given before the write, and comes after it."""
    monkeypatch.setattr(Freshness, "since", lambda *_: [])
    assert caught_by(ttl_s=4.0, **{**WRITTEN, **LATE}) == "OpensSeeWhatWasClosed"


def test_a_log_that_is_trusted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker is left on the node, nobody tells its readers."""
    monkeypatch.setattr(InvalidationFeed, "trusted_until_s", lambda _: float("inf"))
    assert caught_by(**{**WRITTEN, **CRASHES}) == "OpensSeeWhatWasClosed"
