"""What other sizes and policies would give: the workers' miniatures, put together.

Theory of operation. Each worker says what its miniatures hit at some multiples of its size. Of sizes in between, hits lie
between, on a straight line; below the smallest they fall to none. Under `eviction="auto"` the best policy counts, under a
policy that was set, that one. Memory and disk hold together what one cache of both sizes would. The cluster's hit rate is
that of its workers, each weighted by what it was asked for.

How sure this is: a sample of n blocks tells a share within about one divided by the square root of n.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from raycache.admin.asking_all import ask_all
from raycache.client.client import Client
from raycache.messages import PolicyReport
from raycache.results import Result

#: What memory, and disk, are multiplied by.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_TIMEOUT_S = 10.0
_GB = 1e9


@dataclasses.dataclass(frozen=True, slots=True)
class AdvisedSize(Result):
    """One size, of all nodes together."""

    #: Which tier is another size: "memory", "disk" or "both".
    tier: str
    factor: float
    memory_bytes: int
    disk_bytes: int
    #: Of the bytes asked for lately.
    hit_rate: float
    #: From the lake, of what was asked for since the workers began to look, and what that would cost.
    lake_bytes: int
    money: float


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyPeriod(Result):
    """A policy that came into force."""

    #: Seconds ago.
    ago_s: float
    before: str
    after: str
    #: Hits of all bytes asked for then, by both.
    before_rate: float
    after_rate: float


@dataclasses.dataclass(frozen=True, slots=True)
class NodePolicy(Result):
    """The eviction policy of one worker."""

    node_id: str
    policy: str
    #: Whether it was found out (`eviction="auto"`).
    is_chosen: bool
    #: What each policy would hit at the present size, of all bytes asked for lately.
    rates: dict[str, float]
    #: The last changes, oldest first.
    history: tuple[PolicyPeriod, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Advice(Result):
    """What `cache.advise()` says."""

    nodes: tuple[NodePolicy, ...]
    sizes: tuple[AdvisedSize, ...]
    #: Since the workers began to look, and what readers have asked for since, as far as the sample tells.
    watched_s: float
    asked_bytes: int
    #: References looked at, and blocks in the sample that fit.
    references: int
    sampled_blocks: int
    #: Hit rates may be off by so much; 1.0: nothing is known yet.
    uncertainty: float
    #: Workers that did not answer.
    silent: tuple[str, ...] = ()


def advise(client: Client) -> Advice:
    """Ask all workers."""
    answers = ask_all(client.calls, client.refresh_view(), "policy_report", (), _TIMEOUT_S)
    settings = client.settings
    return combined(answers.replies, answers.silent, settings.price_per_gb, settings.price_per_1000_requests)


def combined(
    reports: Mapping[str, PolicyReport],
    silent: Sequence[str] = (),
    price_per_gb: float = 0.0,
    price_per_1000_requests: float = 0.0,
) -> Advice:
    """Put the workers' reports together.

    Args:
        reports: by node.
        silent: nodes that did not answer.
        price_per_gb, price_per_1000_requests: of the lake; one request for each 8 MiB is reckoned with.
    """
    asked_bytes = sum(report.asked_bytes for report in reports.values())
    sampled = sum(report.sampled_blocks for report in reports.values())
    sizes = []
    for tier, factor in [("both", f) for f in FACTORS] + [(tier, f) for tier in ("memory", "disk") for f in FACTORS]:
        memory, disk = (factor if tier in (each, "both") else 1.0 for each in ("memory", "disk"))
        sums = [sum(getattr(report, name) for report in reports.values()) for name in ("memory_bytes", "disk_bytes")]
        if tier == "disk" and not sums[1]:
            continue
        hit_bytes = sum(rate_at(report, memory, disk) * report.asked_bytes for report in reports.values())
        lake_bytes = max(0.0, asked_bytes - hit_bytes)
        money = lake_bytes / _GB * price_per_gb + lake_bytes / (8 << 20) / 1000 * price_per_1000_requests
        rate = hit_bytes / asked_bytes if asked_bytes else 0.0
        sizes.append(
            AdvisedSize(tier, factor, int(sums[0] * memory), int(sums[1] * disk), rate, int(lake_bytes), money)
        )
    return Advice(
        nodes=tuple(_node(name, report) for name, report in sorted(reports.items())),
        sizes=tuple(sizes),
        watched_s=max((report.watched_s for report in reports.values()), default=0.0),
        asked_bytes=asked_bytes,
        references=sum(report.references for report in reports.values()),
        sampled_blocks=sampled,
        uncertainty=min(1.0, 1 / math.sqrt(sampled)) if sampled and asked_bytes else 1.0,
        silent=tuple(silent),
    )


def rate_at(report: PolicyReport, memory: float, disk: float) -> float:
    """What one worker would hit, of all bytes, with so many times its memory and its disk."""
    whole = report.memory_bytes + report.disk_bytes
    size = (memory * report.memory_bytes + disk * report.disk_bytes) / whole if whole else 0.0
    points = [
        (0.0, 0.0),
        *((each, _best(report, rates)) for each, rates in zip(report.sizes, report.rates, strict=True)),
    ]
    for (low, low_rate), (high, high_rate) in itertools.pairwise(points):
        if size <= high:
            return low_rate + (high_rate - low_rate) * (size - low) / (high - low)
    return points[-1][1]


def _best(report: PolicyReport, rates: Mapping[str, float]) -> float:
    return max(rates.values(), default=0.0) if report.is_free else rates.get(report.policy, 0.0)


def _node(name: str, report: PolicyReport) -> NodePolicy:
    present = dict(zip(report.sizes, report.rates, strict=True)).get(1.0, {})
    history = tuple(
        PolicyPeriod(report.now_s - change.at_s, change.before, change.after, change.before_rate, change.after_rate)
        for change in report.history
    )
    return NodePolicy(name, report.policy, report.is_free, dict(present), history)
