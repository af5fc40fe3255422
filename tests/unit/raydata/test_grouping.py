"""Grouping files by node: rules, no Ray."""

from __future__ import annotations

import random
import time

import pytest

from raycache.errors import InvalidRequestError
from raycache.raydata import grouping


def bytes_per_node(groups: list[grouping.FileGroup], sizes: list[int]) -> dict[str | None, list[int]]:
    found: dict[str | None, list[int]] = {}
    for group in groups:
        found.setdefault(group.node, []).append(sum(sizes[i] for i in group.file_indexes))
    return found


def test_file_goes_to_its_only_holder() -> None:
    """A file one node holds is read there, however loaded that node is."""
    assert grouping.choose_nodes([1, 1, 1], [("a",), ("a",), ("a",)]) == ["a", "a", "a"]


def test_replicas_share_the_load() -> None:
    """A file several nodes hold is read on the one with the fewest bytes."""
    assert grouping.choose_nodes([10, 4, 4], [("a",), ("a", "b"), ("a", "b")]) == ["a", "b", "b"]


def test_file_nobody_can_place_goes_anywhere() -> None:
    """A file without candidates has no node."""
    assert grouping.choose_nodes([5, 5], [(), ("a",)]) == [None, "a"]


def test_group_never_mixes_nodes() -> None:
    """With enough groups, all files of a group are on its node."""
    nodes = ["a", "b", "a", "b", "a", "c"]
    for group in grouping.group_files([1] * 6, nodes, 4):
        assert {group.node} == {nodes[i] for i in group.file_indexes}


def test_groups_are_balanced_by_bytes_not_by_files() -> None:
    """One large file weighs as much as many small ones."""
    groups = grouping.group_files([100, 25, 25, 25, 25], ["a"] * 5, 2)
    assert [group.file_indexes for group in groups] == [[0], [1, 2, 3, 4]]


def test_node_with_more_bytes_gets_more_groups() -> None:
    """Groups are shared out by bytes, so tasks are of about equal size on every node."""
    sizes = [10] * 12
    found = bytes_per_node(grouping.group_files(sizes, ["a"] * 9 + ["b"] * 3, 4), sizes)
    assert found == {"a": [30, 30, 30], "b": [30]}


def test_neighbours_stay_together() -> None:
    """Files of a node are cut in listing order, for neighbours are packed into one segment."""
    groups = grouping.group_files([1] * 8, ["a", "b"] * 4, 4)
    assert [group.file_indexes for group in groups] == [[0, 2], [1, 3], [4, 6], [5, 7]]


def test_groups_alternate_between_nodes() -> None:
    """Tasks start interleaved over nodes, so that no node has a queue while others idle."""
    groups = grouping.group_files([1] * 9, ["a"] * 3 + ["b"] * 3 + ["c"] * 3, 9)
    assert [group.node for group in groups] == ["a", "b", "c"] * 3


def test_uneven_nodes_finish_together() -> None:
    """A node with twice the groups gets two of each three turns."""
    groups = grouping.group_files([1] * 6, ["a"] * 4 + ["b"] * 2, 6)
    assert [group.node for group in groups] == ["a", "b", "a", "a", "b", "a"]


def test_first_file_is_read_first() -> None:
    """`take` and `limit` see the first file first."""
    assert 0 in grouping.group_files([1, 9, 9, 9], ["b", "a", "a", "a"], 3)[0].file_indexes


def test_fewer_groups_than_nodes_go_where_most_bytes_are() -> None:
    """A group that must mix nodes runs on the one that holds most of it."""
    groups = grouping.group_files([1, 1, 50], ["a", "b", "c"], 1)
    assert [grouping.FileGroup("c", [0, 1, 2])] == groups


def test_group_count_is_exact_while_files_last() -> None:
    """Ray Data counts on the number of read tasks it asked for."""
    nodes = ["a"] * 7 + ["b"]
    assert [len(grouping.group_files([3] * 8, nodes, count)) for count in (1, 2, 5, 8, 20)] == [1, 2, 5, 8, 8]


def test_ordered_groups_keep_the_order_of_files() -> None:
    """With preserve_order, files come as they were given, split as Ray Data splits."""
    groups = grouping.group_in_order([1, 1, 1, 1, 9], ["a", "b", "b", "a", "a"], 2)
    assert [grouping.FileGroup("b", [0, 1, 2]), grouping.FileGroup("a", [3, 4])] == groups


def test_no_files_no_groups() -> None:
    """An empty read is planned as nothing."""
    assert (grouping.group_files([], [], 4), grouping.group_in_order([], [], 4)) == ([], [])


@pytest.mark.parametrize("group", [grouping.group_files, grouping.group_in_order])
def test_group_count_below_one_is_refused(group: object) -> None:
    """Zero groups is a mistake of the caller."""
    with pytest.raises(InvalidRequestError, match="group_count 0"):
        group([1], ["a"], 0)  # type: ignore[operator]


def test_interleave_keeps_tasks_of_a_node_in_order() -> None:
    """Tasks are dealt out over nodes, each node's own in their order."""
    assert grouping.interleave(["a", "a", "b", "b", "c"]) == [0, 2, 4, 1, 3]


def test_hundred_thousand_files_are_planned_in_seconds() -> None:
    """Planning is linear: 100,000 files, 1,000 tasks, five nodes stay far below the 5 s they may take."""
    draw = random.Random(1)
    sizes = [draw.randrange(10**7) for _ in range(100_000)]
    nodes = [tuple(draw.sample("abcde", draw.choice([1, 2]))) for _ in sizes]
    started = time.process_time()
    groups = grouping.group_files(sizes, grouping.choose_nodes(sizes, nodes), 1000)
    assert (len(groups), sum(len(group.file_indexes) for group in groups)) == (1000, 100_000)
    assert time.process_time() - started < 5
