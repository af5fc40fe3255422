"""Epochs over more than fits, with nothing but names: which policy and which order of tasks give how many hits.

Objects of equal size, several epochs, the second half counted. Several jobs go through the same objects in turns, one
object each, each in an order of its own, `LEAD` of an epoch apart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from benchmarks.measure import Finding
from raycache.workers.policies.choice import PolicyChoice
from raycache.workers.policies.miniature import Miniature
from raycache.workers.policies.references import KEYS
from raycache.workers.policies.table import POLICIES

OBJECTS = 1_000
EPOCHS = 24
SHARES = (0.25, 0.5, 0.75)
#: A job's order: (objects, epoch, random numbers) -> names.
Order = Callable[[int, int, random.Random], Sequence[int]]


def fixed(objects: int, epoch: int, numbers: random.Random) -> Sequence[int]:
    """Always the same."""
    del epoch, numbers
    return range(objects)


def shuffled(objects: int, epoch: int, numbers: random.Random) -> Sequence[int]:
    """Another one in each epoch."""
    del epoch
    return numbers.sample(range(objects), objects)


def _own_order(cache: Miniature[int], order: Order, objects: int, epochs: int, seed: int) -> Iterator[tuple[int, int]]:
    del cache
    numbers = random.Random(seed)
    for epoch in range(epochs):
        yield from ((epoch, name) for name in order(objects, epoch, numbers))


def _cached_first(
    cache: Miniature[int], order: Order, objects: int, epochs: int, seed: int
) -> Iterator[tuple[int, int]]:
    """At each step, of what is left, what the cache has had for the longest; when it has none, the first."""
    numbers = random.Random(seed)
    read_last: dict[int, int] = {}
    steps = itertools.count(1)
    for epoch in range(epochs):
        left = dict.fromkeys(sorted(order(objects, epoch, numbers), key=lambda name: read_last.get(name, 0)))
        known: dict[int, None] = {}
        while left:
            known = {name: None for name in known if name in cache} | {name: None for name in left if name in cache}
            name = next(iter(known or left))
            known.pop(name, None)
            del left[name]
            read_last[name] = next(steps)
            yield epoch, name


def hit_rate(
    policy: str,
    share: float,
    order: Order,
    *,
    cached_first: bool = False,
    jobs: int = 1,
    objects: int = OBJECTS,
    epochs: int = EPOCHS,
) -> float:
    """Hits of all references in the second half of the epochs.

    Args:
        policy: of `POLICIES`.
        share: of the objects, that fit.
        order: of each job.
        cached_first: jobs take first what is cached.
        jobs: that run at the same time.
        objects: of each epoch.
        epochs: of each job.
    """
    cache: Miniature[int] = Miniature(POLICIES[policy], share * objects)
    read = _cached_first if cached_first else _own_order
    running = [read(cache, order, objects, epochs, seed) for seed in range(jobs)]
    for lead, job in enumerate(running):
        for _ in range(lead * objects // jobs):
            cache.refer(next(job)[1], 1)
    hits = references = 0
    while running:
        for job in list(running):
            found = next(job, None)
            if found is None:
                running.remove(job)
                continue
            hit = cache.refer(found[1], 1)
            if found[0] >= epochs // 2:
                hits, references = hits + hit, references + 1
    return hits / references


def ceiling(share: float, jobs: int = 1) -> float:
    """The most that jobs can have which see each object once an epoch."""
    return 1 - (1 - share) / jobs


def table() -> str:
    """Policies by order and size, and jobs at once at half the size; Markdown."""
    orders = {"fixed": fixed, "shuffled": shuffled}
    head = [f"{name} {share}" for name in orders for share in SHARES]
    rows = ["| one job | " + " | ".join(head) + " |", "|" + "---|" * (len(head) + 1)]
    for policy in POLICIES:
        cells = [f"{hit_rate(policy, share, order):.3f}" for order in orders.values() for share in SHARES]
        rows.append(f"| {policy} | " + " | ".join(cells) + " |")
    cells = [f"{hit_rate('lru', share, order, cached_first=True):.3f}" for order in orders.values() for share in SHARES]
    rows.append("| lru, cached first | " + " | ".join(cells) + " |")
    rows += ["", "| jobs at once, 0.5 | 2 | 4 |", "|---|---|---|"]
    for policy in POLICIES:
        cells = [f"{hit_rate(policy, 0.5, shuffled, jobs=jobs):.3f}" for jobs in (2, 4)]
        rows.append(f"| {policy}, own orders | " + " | ".join(cells) + " |")
    cells = [f"{hit_rate('lru', 0.5, shuffled, jobs=jobs, cached_first=True):.3f}" for jobs in (2, 4)]
    rows.append("| lru, cached first | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def measure() -> list[Finding]:
    """What orders and policies give of what is possible, without a cluster."""
    found = [
        _finding(
            f"cached first, cache {share} of the dataset", hit_rate("lru", share, shuffled, cached_first=True), share
        )
        for share in SHARES
    ]
    for jobs, least in ((2, 0.70), (4, 0.82)):
        rate = hit_rate("lru", 0.5, shuffled, jobs=jobs, cached_first=True)
        found.append(
            Finding(f"simulated: {jobs} jobs at once, cached first", f"{rate:.3f}", f">= {least}", rate >= least)
        )
    rates = {policy: mixed(policy) for policy in (*POLICIES, "auto")}
    text = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
    found.append(Finding("simulated: hot objects beside a scan: hits", text, "auto >= 0.80", rates["auto"] >= 0.80))
    return found


def _finding(what: str, rate: float, share: float) -> Finding:
    of_ceiling = rate / ceiling(share)
    return Finding(f"simulated: {what}: hits, of C/N", f"{of_ceiling:.3f}", ">= 0.95", of_ceiling >= 0.95)


def mixed(policy: str, *, hot: int = 100, scanned: int = 3_000, room: int = 200, rounds: int = 60_000) -> float:
    """Hits of a job that reads a few hot objects, while another scans many in a loop, five references to one.

    Args:
        policy: of `POLICIES`, or "auto": as a worker chooses.
        hot: objects of the one job.
        scanned: of the other.
        room: objects that fit.
        rounds: references of both; the second half is counted.
    """
    numbers = random.Random(0)
    choice = PolicyChoice(policy)
    cache: Miniature[int] = Miniature(POLICIES[choice.policy], room)
    hits = asked = 0
    for at in range(rounds):
        is_hot = at % 6 == 0
        name = numbers.randrange(hot) if is_hot else hot + at % scanned
        hit = cache.refer(name, 1)
        if is_hot and at >= rounds // 2:
            hits, asked = hits + hit, asked + 1
        # Names are spread over the keys as hashes are.
        key = name * 0x9E3779B97F4A7C15 % KEYS
        if key < choice.references.threshold:
            choice.references.note(key, 1)
        if at % 100 == 0 and (changed := choice.look(room, float(at))) is not None:
            cache.go_on_with(POLICIES[changed])
    return hits / asked
