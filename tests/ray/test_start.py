"""What `raycache.start` refuses."""

from __future__ import annotations

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
