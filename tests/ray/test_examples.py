"""The examples run, small, and show what they say."""

from __future__ import annotations

import pytest

from examples import epochs, images, rolling_windows
from raycache.testing.cluster import LocalCluster

pytestmark = pytest.mark.usefixtures("cluster")


def test_epochs_after_the_first_read_nothing_from_s3(cluster: LocalCluster) -> None:
    """Each byte leaves S3 in the first epoch."""
    first, *later = epochs.main(["--files", "6", "--megabytes", "6", "--epochs", "2"])
    assert first >= 6
    assert later == [0]


def test_images_are_read_from_s3_once() -> None:
    """The second pass is served by the cache."""
    first, second = images.main(["--images", "60"])
    assert (first >= 60, second) == (True, 0)


def test_windows_of_one_node_share_their_files() -> None:
    """The same result every way; through the cache each byte leaves S3 once; near_many moves the fewest bytes."""
    direct, default, near = rolling_windows.main(["--tasks", "36", "--window", "12"]).values()
    assert direct.total == pytest.approx(default.total) == pytest.approx(near.total)
    assert default.s3_bytes == near.s3_bytes == near.data_bytes < direct.s3_bytes
    assert near.moved_bytes < default.moved_bytes
