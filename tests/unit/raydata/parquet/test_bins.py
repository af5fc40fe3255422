"""Cutting a read into tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raycache.raydata.parquet.bins import BIN_BYTES_MAX, BinPacker, limits_bytes

MIB = 1 << 20


def cut(sizes: list[int], limit: float, small: int = 0) -> list[list[int]]:
    """The sizes in each bin, of one lane."""
    packer: BinPacker[int] = BinPacker({None: limit}, {None: small})
    found = [full for size in sizes for full in packer.add(None, size, size)]
    return [*found, *packer.rest()]


@given(
    sizes=st.lists(st.integers(0, 100), max_size=80),
    lanes=st.lists(st.sampled_from(["a", "b", None]), min_size=80, max_size=80),
    limit=st.integers(1, 200),
    small=st.integers(0, 3),
)
def test_every_piece_is_in_one_bin_in_order(sizes: list[int], lanes: list[str | None], limit: int, small: int) -> None:
    """None is lost, none comes twice, lanes do not mix, and no bin is far above the limit."""
    every = dict.fromkeys(("a", "b", None))
    packer: BinPacker[int] = BinPacker(dict.fromkeys(every, limit), dict.fromkeys(every, small))
    bins = [full for i, size in enumerate(sizes) for full in packer.add(lanes[i], i, size)]
    bins += packer.rest()
    assert sorted(i for each in bins for i in each) == list(range(len(sizes)))
    for lane in every:
        assert [i for each in bins for i in each if lanes[i] == lane] == [
            i for i in range(len(sizes)) if lanes[i] == lane
        ]
    assert all(each and len({lanes[i] for i in each}) == 1 for each in bins)
    for each in bins:
        assert len(each) == 1 or sum(sizes[i] for i in each) <= 1.5 * limit + max(sizes[i] for i in each)


def test_bins_are_about_equal_and_as_many_as_asked_for() -> None:
    """Ten pieces in four bins: the cut goes where it leaves less."""
    assert [3, 2, 3, 2] == [len(b) for b in cut([10] * 10, 25)]


def test_the_first_bins_are_small() -> None:
    """So that rows come early; the others are as large as they should be."""
    assert [2, 2, 8, 8, 4] == [len(b) for b in cut([1] * 24, 8, small=2)]


def test_a_cluster_is_filled_by_small_data() -> None:
    """100 MB are no single task, and half of them on one of three nodes are half of the bins."""
    limits = limits_bytes({"a": 50.0 * MIB, "b": 25.0 * MIB, "c": 25.0 * MIB}, cpus=8)
    assert {"a": 50 * MIB / 8, "b": 25 * MIB / 4, "c": 25 * MIB / 4} == limits


def test_no_bin_is_meant_to_be_larger_than_rays() -> None:
    """Large data make more bins."""
    [limit] = limits_bytes({"a": 100.0 * BIN_BYTES_MAX}, cpus=2).values()
    assert BIN_BYTES_MAX == limit


def test_the_number_of_blocks_can_be_chosen() -> None:
    """In all, shared out by bytes; each node gets one at least."""
    assert {"a": 50.0, "b": 50.0} == limits_bytes({"a": 150.0, "b": 50.0}, cpus=100, blocks=4)
    assert {"a": 150.0, "b": 50.0} == limits_bytes({"a": 150.0, "b": 50.0}, cpus=100, blocks=1)


def test_nothing_to_read() -> None:
    """No file, and files without a byte."""
    assert {} == limits_bytes({}, cpus=4)
    assert {"a": 1.0} == limits_bytes({"a": 0.0}, cpus=4)
