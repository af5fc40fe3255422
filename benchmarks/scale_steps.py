"""What each step of a worker's walks costs in CPU, with millions of small files: the service alone, without Ray.

CPU of this process, so other work on the machine does not count. A step is one turn of the worker's event loop.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

from benchmarks.measure import Finding
from benchmarks.scale_worker import FILE_BYTES, PER_SEGMENT, TURN_S, version_of
from raycache.messages import BlockReport, InventoryRequest, Selector
from raycache.rules import Pattern, Rule, RuleKind, RuleTable
from raycache.settings import Settings
from raycache.types import BlockId
from raycache.workers.capacity import WorkerLimits
from raycache.workers.effects import SegmentEntry
from raycache.workers.service import WorkerService
from raycache.workers.tiers.entry_table import EntryTable
from raycache.workers.walks.adoption import DiskSegment, FoundFile

LAKE = "s3://bucket"
ADOPTED_S_PER_MILLION = 2.0
#: Of a page, as a sync and a cache map ask for it.
INVENTORY_FILES = 20_000


def measure(files: int) -> list[Finding]:
    """Take so many files over, and do everything that concerns all of them."""
    service = WorkerService("here", 9, WorkerLimits.of(Settings(), 0, 1 << 40))
    packed = {f"s{first}": _packed(first, files) for first in range(0, files, PER_SEGMENT)}
    service.found_on_disk([FoundFile(name, len(table)) for name, table in packed.items()], 0.0)

    def adopt() -> Iterator[None]:
        for name, table in packed.items():
            entries = EntryTable.unpack(table)
            service.adopt_one(name, DiskSegment(name, entries.live_bytes, entries), 0.0)
            yield

    def report() -> Iterator[None]:
        said = BlockReport(True, [], [], more=True)
        full = True
        while said.more:
            said, full = service.report(full), False
            yield

    def heat() -> Iterator[None]:
        found = service.heat(50)
        while not found.done:
            found.step()
            yield

    def inventory() -> Iterator[None]:
        request = InventoryRequest([Pattern("")], None, INVENTORY_FILES)
        while True:
            page = service.inventory(request)
            while not page.done:
                page.step(0.0)
                yield
            after = service.inventory_reply(page).after
            yield
            if after is None:
                return
            request = request._replace(after=after)

    def rule(number: int, kind: RuleKind, base: str) -> Callable[[], Iterator[None]]:
        def booked() -> Iterator[None]:
            service.set_rules(RuleTable(number, (Rule(kind, Pattern(base), 1e6),)), None, 0.0)
            yield
            while service.busy:
                service.tick(0.0)
                yield

        return booked

    def free(base: str) -> Callable[[], Iterator[None]]:
        def freed() -> Iterator[None]:
            freeing = service.begin_free(Selector([Pattern(base)]), True, 0.0)
            while not freeing.done:
                service.free_some(freeing, 0.0)
                yield

        return freed

    # As the actor does.
    gc.freeze()
    found: list[Finding] = []
    works: dict[str, Callable[[], Iterator[None]]] = {
        "adoption": adopt,
        "full report": report,
        "heat": heat,
        "inventory": inventory,
        "pin of one directory": rule(1, RuleKind.PIN, f"{LAKE}/train/00001"),
        "pin of everything": rule(2, RuleKind.PIN, LAKE),
        "set_ttl of everything": rule(3, RuleKind.TTL, LAKE),
        "free of one directory": free(f"{LAKE}/train/00001"),
        "free of everything": free(""),
    }
    for name, work in works.items():
        total_s, longest_s, steps = _stepwise(work())
        millions = files / 1e6
        text = f"{longest_s * 1e3:.0f} ms of {steps:,}, {total_s / millions:.1f} s a million files"
        found.append(Finding(f"{name}: longest step (CPU)", text, f"<= {TURN_S * 1e3:g} ms", longest_s <= TURN_S))
        if name == "adoption":
            bound = f"<= {ADOPTED_S_PER_MILLION:g} s"
            good = total_s <= ADOPTED_S_PER_MILLION * millions
            found.append(Finding("adoption: CPU a million files", f"{total_s / millions:.1f} s", bound, good))
    return found


def _packed(first: int, files: int) -> bytes:
    versions = [version_of(LAKE, number) for number in range(first, min(files, first + PER_SEGMENT))]
    rows = enumerate(versions)
    return EntryTable(
        (BlockId(version.id(), 0), SegmentEntry(version, 0, FILE_BYTES * place, FILE_BYTES)) for place, version in rows
    ).pack()


def _stepwise(steps: Iterator[None]) -> tuple[float, float, int]:
    """(seconds of all, of the longest, number)."""
    total_s = longest_s = 0.0
    count = 0
    while True:
        started_s = time.process_time()
        ended = next(steps, steps) is steps
        took_s = time.process_time() - started_s
        total_s, longest_s = total_s + took_s, max(longest_s, took_s)
        if ended:
            return total_s, longest_s, count
        count += 1
