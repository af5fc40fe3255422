"""Which results are read by one task."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raycache.raydata.cached.packing import TASK_BYTES, TASK_BYTES_MAX, first_here, packs

CPUS = {"a": 2.0, "b": 2.0}
MIB = 1 << 20


def test_small_results_of_a_node_are_read_by_one_task() -> None:
    """Starting a task costs more than reading them."""
    assert packs([MIB] * 6, ["a", "b"] * 3, CPUS, works=False) == [[0, 2, 4], [1, 3, 5]]


def test_what_is_fused_behind_keeps_all_cpus_busy() -> None:
    """Two tasks for each CPU, however small they are."""
    assert len(packs([MIB] * 40, ["a", "b"] * 20, CPUS, works=True)) == 8
    assert packs([MIB] * 2, ["a", "b"], CPUS, works=True) == [[0], [1]]


def test_a_task_reads_a_bounded_amount() -> None:
    """More than the CPUs of a node can take at once comes in turns."""
    found = packs([40 * MIB] * 30, ["a"] * 30, CPUS, works=False)
    assert max(map(len, found)) * 40 * MIB <= 1.5 * TASK_BYTES_MAX
    assert len(found) == 10


def test_much_is_read_by_all_cpus_of_a_node() -> None:
    """Copying is work, too."""
    assert len(packs([TASK_BYTES // 2] * 6, ["a"] * 6, CPUS, works=False)) == 2


def test_a_node_that_is_not_known_has_tasks_of_its_own() -> None:
    """It may have gone; or nobody knows who holds a result."""
    assert packs([MIB] * 4, ["gone", None, "gone", None], CPUS, works=False) == [[0, 2], [1, 3]]
    assert packs([], [], CPUS, works=True) == []


@given(
    st.lists(st.tuples(st.integers(0, 300 * MIB), st.sampled_from(["a", "b", "c", None])), max_size=40), st.booleans()
)
def test_each_result_is_read_once_on_its_node(results: list[tuple[int, str | None]], works: bool) -> None:
    """No pack is empty, mixes nodes, or changes the order."""
    nodes = [node for _, node in results]
    found = packs([size for size, _ in results], nodes, CPUS, works=works)
    assert sorted(position for pack in found for position in pack) == list(range(len(results)))
    for pack in found:
        assert pack == sorted(pack)
        assert len({nodes[position] for position in pack}) == 1


def test_what_comes_first_is_the_beginning_of_the_first_pack() -> None:
    """As much as is wanted at once; the rest stays as it was, and nothing is lost."""
    sizes = [3, 3, 3, 3]
    assert first_here([[0, 1, 2], [3]], sizes, 7) == ([0, 1], [[2], [3]])
    assert first_here([[0, 1], [3]], sizes, 100) == ([0, 1], [[3]])
    assert first_here([[0, 1]], sizes, 2) == ([], [[0, 1]])
    assert first_here([], sizes, 2) == ([], [])
