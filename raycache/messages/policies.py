"""What a worker says of its eviction policy, and what readers tell it of their order."""

from __future__ import annotations

from typing import NamedTuple

from raycache.types import VersionId


class PlanNews(NamedTuple):
    """A piece of the order in which a reader will read."""

    #: Its name.
    plan: str
    #: Position of the first of `files`, or of what would follow.
    first: int
    #: Shape (F,); none: the reader goes on.
    files: list[VersionId]


class PlanReply(NamedTuple):
    """How far the files of a plan have been asked for at one worker."""

    #: Positions, each one behind the last: that was passed, that is known.
    reached: int
    end: int


class PolicyChange(NamedTuple):
    """Once."""

    #: Of the worker's clock.
    at_s: float
    before: str
    after: str
    #: Hits of all bytes asked for, of both, at that time.
    before_rate: float
    after_rate: float


class PolicyReport(NamedTuple):
    """The policy in force at one worker, and what others and other sizes would give."""

    policy: str
    #: Whether it may be changed: the setting is "auto".
    is_free: bool
    #: Of the tiers.
    memory_bytes: int
    disk_bytes: int
    #: The last ones, oldest first.
    history: list[PolicyChange]
    #: Shape (S,): multiples of both tiers together; and for each, by policy, hits of all bytes asked for lately.
    sizes: list[float]
    rates: list[dict[str, float]]
    #: Blocks of the sample that fit; the share of all blocks that is in the sample; references that were looked at.
    sampled_blocks: int
    sample_share: float
    references: int
    #: Bytes that readers have asked for, as far as the sample tells, since the worker started.
    asked_bytes: int
    #: Seconds ago that the worker began to look, and the present time of its clock.
    watched_s: float = 0.0
    now_s: float = 0.0
