"""Placing whole tasks: rules, no Ray."""

from __future__ import annotations

import itertools
import random

from raycache.placement import assignment


def test_best_node_prefers_bytes_then_idleness() -> None:
    """Load only breaks ties."""
    assert assignment.best_node({"a": 3, "b": 2}, {"a": 1.0, "b": 0.0}) == "a"
    assert assignment.best_node({"a": 2, "b": 2}, {"a": 1.0, "b": 0.0}) == "b"
    assert None is assignment.best_node({"a": 0})


def test_tasks_go_where_their_bytes_are() -> None:
    """A task runs on the node that holds most of what it reads."""
    sizes = {"x": 10, "y": 10}
    held = {"x": {"a": 10}, "y": {"b": 10}}
    assert assignment.assign_tasks([["y"], ["x"]], sizes, held, {"a": 1, "b": 1}) == ["b", "a"]


def test_tasks_that_share_files_share_a_node() -> None:
    """Overlapping windows in any order: each node gets one run of them, so a file is brought to few nodes."""
    days = [f"d{i:03d}" for i in range(120)]
    windows = [days[start : start + 30] for start in range(90)]
    shuffled = random.Random(5).sample(range(90), 90)
    chosen = assignment.assign_tasks(
        [windows[i] for i in shuffled], dict.fromkeys(days, 1), {}, dict.fromkeys("abc", 1)
    )
    by_start = [node for _, node in sorted(zip(shuffled, chosen, strict=True))]
    changes = sum(left != right for left, right in itertools.pairwise(by_start))
    assert changes == 2


def test_tasks_are_balanced_although_one_node_holds_all() -> None:
    """A node takes its share of the bytes to read, and no more."""
    files = [f"f{i}" for i in range(30)]
    chosen = assignment.assign_tasks(
        [[file] for file in files], dict.fromkeys(files, 1), {file: {"a": 1} for file in files}, dict.fromkeys("abc", 1)
    )
    assert {node: chosen.count(node) for node in "abc"} == {"a": 10, "b": 10, "c": 10}


def test_a_node_gets_what_it_can_take() -> None:
    """Twice the free CPUs are twice the work; a node without any gets nothing, even of what it holds."""
    files = [f"f{i:02d}" for i in range(30)]
    held = {file: {"c": 1} for file in files}
    chosen = assignment.assign_tasks([[f] for f in files], dict.fromkeys(files, 1), held, {"a": 2, "b": 1, "c": 0})
    assert {node: chosen.count(node) for node in "abc"} == {"a": 20, "b": 10, "c": 0}


def test_task_without_known_files_has_no_node() -> None:
    """Nothing is known, nothing is wished."""
    assert assignment.assign_tasks([["?"], ["x"]], {"x": 1}, {}, {"a": 1}) == [None, "a"]
    assert assignment.assign_tasks([["x"]], {"x": 1}, {}, {}) == [None]
