"""Grouping files by node, for any sizes and any placement."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raycache.placement import assignment
from raycache.raydata import grouping

_FILES = st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(_FILES, st.integers(1, 50))
def test_every_file_is_read_exactly_once(files: list[tuple[int, str | None]], count: int) -> None:
    """No grouping loses a file, doubles one, or makes another number of tasks than asked."""
    sizes, nodes = [size for size, _ in files], [node for _, node in files]
    for group in (grouping.group_files, grouping.group_in_order):
        groups = group(sizes, nodes, count)
        assert list(range(len(files))) == sorted(i for found in groups for i in found.file_indexes)
        assert min(count, len(files)) == len(groups)
        assert all(found.file_indexes for found in groups)
        assert groups[0].file_indexes[0] == 0


@settings(max_examples=80, deadline=None)
@given(_FILES, st.integers(4, 50))
def test_no_group_exceeds_its_share_by_more_than_one_file(files: list[tuple[int, str | None]], count: int) -> None:
    """A node's groups are level: none is above the node's mean by more than its largest file."""
    sizes, nodes = [max(1, size) for size, _ in files], [node for _, node in files]
    groups = grouping.group_files(sizes, nodes, count)
    if len(groups) < len(set(nodes)):
        return
    for node in dict.fromkeys(nodes):
        loads = [sum(sizes[i] for i in found.file_indexes) for found in groups if found.node == node]
        largest = max(size for size, where in zip(sizes, nodes, strict=True) if where == node)
        assert max(loads) <= sum(loads) / len(loads) + largest


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40))
def test_interleaving_is_a_permutation(nodes: list[str | None]) -> None:
    """Every task starts exactly once, and each node's tasks in their order."""
    order = grouping.interleave(nodes)
    assert list(range(len(nodes))) == sorted(order)
    for node in dict.fromkeys(nodes):
        own = [i for i in order if nodes[i] == node]
        assert sorted(own) == own


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("uvwxyz"), max_size=4), max_size=20),
    st.dictionaries(st.sampled_from("uvwxyz"), st.integers(0, 100)),
)
def test_no_node_gets_more_than_its_share_and_one_task(tasks: list[list[str]], sizes: dict[str, int]) -> None:
    """Whole tasks are balanced: no node is above the fair share by more than the largest task."""
    nodes = ["a", "b", "c"]
    held = {path: {"a": size} for path, size in sizes.items()}
    chosen = assignment.assign_tasks(tasks, sizes, held, dict.fromkeys(nodes, 1))
    work = [sum(sizes.get(path, 0) for path in set(paths)) for paths in tasks]
    for node in nodes:
        load = sum(amount for amount, where in zip(work, chosen, strict=True) if where == node)
        assert load <= 1.05 * sum(work) / len(nodes) + max(work, default=0)
