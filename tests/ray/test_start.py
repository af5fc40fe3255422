"""What `raycache.start` refuses."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

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


def test_a_cache_started_in_a_placement_group_is_the_clusters(cluster: LocalCluster) -> None:
    """Every trial of Ray Tune and every function of Ray Train runs in a group that captures what it starts."""
    assert cluster

    @ray.remote(num_cpus=1)
    def trial() -> str:
        raycache.start(memory="60MiB", disk="off")
        return raycache.start_dashboard(port=0)

    group = placement_group([{"CPU": 1}])
    try:
        ray.get(group.ready(), timeout=60)
        here = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
        assert ray.get(trial.options(scheduling_strategy=here).remote(), timeout=120).startswith("http")
        remove_placement_group(group)
        assert len(cluster.node_ids()) == len(raycache.connect().status().workers)
    finally:
        remove_placement_group(group)
        raycache.stop()


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
