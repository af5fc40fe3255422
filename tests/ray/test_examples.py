"""The examples run, small, and show what they say."""

from __future__ import annotations

import numpy as np
import pytest

from examples import epochs, images, model_weights, rolling_windows, torch_loader, tune_trials
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
    """The same result every way; through the cache each byte leaves S3 once; near_many moves what is shared, once.

    Three runs of windows share 11 of the 47 files, all nearly of one size, at each of the two borders.
    """
    direct, default, near = rolling_windows.main(["--tasks", "36", "--window", "12"]).values()
    assert direct.total == pytest.approx(default.total) == pytest.approx(near.total)
    assert default.s3_bytes == near.s3_bytes == near.data_bytes < direct.s3_bytes
    assert 0 < near.moved_bytes < near.data_bytes * 23 / 47


def test_a_data_set_of_small_files_is_read_by_several_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """Every epoch reads every byte of every file, in two processes, and nothing from S3."""
    first, second = torch_loader.main(["--files", "700", "--kilobytes", "2", "--workers", "2", "--epochs", "2"])
    random = (np.random.Generator(np.random.SFC64([0, index])) for index in range(700))
    expected = sum(sum(draw.bytes(int(draw.integers(2000, 2000, endpoint=True)))) for draw in random)
    assert first == second == (700, expected, 0)
    assert "2 processes" in capsys.readouterr().out


def test_trials_at_the_same_time_preprocess_once() -> None:
    """Each group of files is made by one of them, and read by the other; what they find does not depend on it."""
    found = tune_trials.main(["--trials", "2", "--files", "6", "--rows", "500"])
    assert found.made >= 6
    assert found.read == found.made
    assert len(set(found.losses)) == 2


def test_a_model_comes_to_every_node_for_one_download() -> None:
    """The same weights everywhere, however they came; through the cache each byte leaves S3 once."""
    one, cached, plain = model_weights.main(["--megabytes", "12", "--files", "3", "--lake-mb-per-s", "100"]).values()
    assert {one.sums[0]} == set(cached.sums) == set(plain.sums)
    assert (one.s3_bytes, 3 * one.s3_bytes) == (cached.s3_bytes, plain.s3_bytes)
