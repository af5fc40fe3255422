"""The policies by name, as settings and figures say them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raycache.workers.policies.lru import LruPolicy
from raycache.workers.policies.protocol import EvictionPolicy, ReferenceClock
from raycache.workers.policies.s3_fifo import S3FifoPolicy
from raycache.workers.policies.sieve import SievePolicy
from raycache.workers.policies.sticky import StickyPolicy

#: Makes the policy of one tier; the clock is that of all tiers.
MakePolicy = Callable[[ReferenceClock], EvictionPolicy[Any]]

#: In the order in which they are preferred where they do equally well.
POLICIES: Mapping[str, MakePolicy] = {
    "lru": lambda _: LruPolicy(),
    "sieve": lambda _: SievePolicy(),
    "s3-fifo": lambda _: S3FifoPolicy(),
    "sticky": StickyPolicy,
}
