"""What all checkers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine import ViolationError

if TYPE_CHECKING:
    from .cluster import Cluster


class Checker:
    """What they have in common."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def require(self, holds: bool, story: str) -> None:
        """Raise unless it holds."""
        if not holds:
            raise ViolationError(type(self).__name__, story)
