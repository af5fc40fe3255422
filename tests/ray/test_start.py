"""What `raycache.start` refuses."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

import raycache
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.testing.cluster import LocalCluster


@pytest.mark.parametrize("sizes", [{"memory": "900GiB"}, {"memory": "120%"}, {"disk": "/tmp:plenty"}])
def test_sizes_that_cannot_be_are_refused_before_anything_starts(cluster: LocalCluster, sizes: dict[str, str]) -> None:
    """At once, with the setting's name; no half of a cache is left behind."""
    assert cluster
    with pytest.raises(InvalidRequestError):
        raycache.start(**sizes)
    with pytest.raises(NotFoundError):
        raycache.connect()


def test_who_starts_a_cluster_keeps_their_own_way_of_being_ended(make_cluster: Callable[..., LocalCluster]) -> None:
    """A program's handler of SIGTERM, which ends all it has started, is still there when the cluster runs."""

    def ended(_number: int, _frame: object) -> None:
        """Stands for a program's own."""

    before = signal.signal(signal.SIGTERM, ended)
    try:
        make_cluster(nodes=1)
        assert signal.getsignal(signal.SIGTERM) is ended
    finally:
        signal.signal(signal.SIGTERM, before)
