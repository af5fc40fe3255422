"""The order in which read tasks start: idle nodes are fed from their own backlog; no Ray."""

from __future__ import annotations

from raycache.raydata.queueing.dispatch import DispatchQueue
from raycache.raydata.queueing.lanes import CachedShare, Noted

CPUS = {"a": 1.0, "b": 1.0, "c": 1.0}


def queue(nodes: str, cpus: dict[str, float] | None = None) -> DispatchQueue[int]:
    """Tasks 0, 1, ... wanting the nodes named by letters."""
    return DispatchQueue(list(enumerate(nodes)), CPUS if cpus is None else cpus)


def taken(tasks: DispatchQueue[int]) -> tuple[int, str]:
    found = tasks.take()
    assert found is not None
    return found


def test_first_task_given_starts_first() -> None:
    """The first rows are those of the first file, whatever the backlogs."""
    assert taken(queue("abbb")) == (0, "a")


def test_idle_node_is_fed_from_its_own_backlog() -> None:
    """When a node finishes, the next task is one of its own, although others were first in line."""
    tasks = queue("aaabbb", {"a": 1.0, "b": 1.0})
    assert [taken(tasks), taken(tasks)] == [(0, "a"), (3, "b")]
    tasks.finished("b")
    assert taken(tasks) == (4, "b")


def test_longest_backlog_goes_first() -> None:
    """Of idle nodes the one with most to do starts first, so that all end at about the same time."""
    tasks = queue("abbbcc")
    taken(tasks)
    assert [taken(tasks), taken(tasks)] == [(1, "b"), (4, "c")]


def test_backlog_counts_per_cpu() -> None:
    """A node with many CPUs works its backlog off faster."""
    tasks = queue("cabbb", {"a": 0.5, "b": 4.0, "c": 1.0})
    taken(tasks)
    assert taken(tasks) == (1, "a")


def test_idle_node_without_backlog_takes_over() -> None:
    """With all data on one node, its tasks are charged to the others in turn: each slot is used once."""
    tasks = queue("aaaa")
    assert sorted(taken(tasks)[1] for _ in range(3)) == ["a", "b", "c"]


def test_a_nodes_next_task_is_known_beforehand() -> None:
    """It can be made ready while the one before it runs, and is the one that starts when that has ended."""
    tasks = queue("aabb", {"a": 1.0, "b": 1.0})
    assert [taken(tasks), taken(tasks)] == [(0, "a"), (2, "b")]
    assert (tasks.head("a"), tasks.head("b"), tasks.head("c")) == (1, 3, None)
    tasks.finished("b")
    assert taken(tasks) == (3, "b")
    assert (tasks.head("a"), tasks.head("b")) == (1, None)


def test_every_task_starts_exactly_once() -> None:
    """Whatever ends when, no task is lost or started twice, and then there is none."""
    tasks = queue("abcabcaabbaca")
    started = []
    while found := tasks.take():
        started.append(found[0])
        if len(started) % 2:
            tasks.finished(found[1])
    assert sorted(started) == list(range(13))
    assert len(tasks) == 0


def test_uneven_nodes_keep_locality_until_the_tail() -> None:
    """Twenty, sixteen and twelve equal tasks on equal nodes: only what is above the mean runs elsewhere."""
    tasks = queue("a" * 20 + "b" * 16 + "c" * 12)
    running: list[tuple[int, str]] = []
    away = 0
    for _ in range(48):
        if len(running) == 3:
            tasks.finished(running.pop(0)[1])
        task, charged = taken(tasks)
        away += charged != ("a" * 20 + "b" * 16 + "c" * 12)[task]
        running.append((task, charged))
    assert away <= 4


def patient(nodes: str, cpus: dict[str, float] | None = None) -> DispatchQueue[int]:
    return DispatchQueue(list(enumerate(nodes)), CPUS if cpus is None else cpus, patience_s=5.0)


def test_a_starting_node_is_waited_for_and_not_for_ever() -> None:
    """Others have finished, it has not: probably its processes are starting. After that, its tasks are given away at will."""
    tasks = patient("aabb" + "a" * 8, {"a": 1.0, "b": 1.0})
    taken(tasks), taken(tasks)
    tasks.finished("b")
    assert (3, "b") == taken(tasks)
    tasks.finished("b")
    assert [False, False, True, True] == [tasks.may_take(now_s) for now_s in (10.0, 14.9, 15.0, 15.1)]
    assert (1, "b") == taken(tasks)
    tasks.finished("b")
    assert tasks.may_take(15.2)


def test_a_node_that_has_finished_something_is_waited_for_again() -> None:
    """Waiting in vain is not held against it for ever."""
    tasks = patient("aaab", {"a": 1.0, "b": 1.0})
    taken(tasks), taken(tasks)
    tasks.finished("b")
    assert not tasks.may_take(0.0) and tasks.may_take(5.0)
    tasks.finished("a")
    assert tasks.may_take(5.1)
    assert (1, "a") == taken(tasks)
    assert not tasks.may_take(5.2)


def test_nobody_waits_where_a_long_backlog_is_left_to_one_node() -> None:
    """Skewed data: the node is up, and two rounds behind."""
    tasks = patient("a" * 10, {"a": 2.0, "b": 2.0})
    taken(tasks), taken(tasks)
    tasks.finished("a")
    taken(tasks)
    assert tasks.may_take(0.0)


def test_the_last_tasks_wait_for_their_own_node() -> None:
    """It will get to them soon."""
    tasks = patient("aaa", {"a": 1.0, "b": 1.0})
    taken(tasks)
    tasks.finished("a")
    taken(tasks)
    assert not tasks.may_take(0.0)
    tasks.finished("a")
    assert tasks.may_take(0.1)


def test_whoever_has_no_task_left_waits_for_nobody() -> None:
    """The end is no reason to wait."""
    tasks = patient("a")
    taken(tasks)
    assert tasks.may_take(0.0) and tasks.take() is None


def test_cached_tasks_of_a_node_go_first() -> None:
    """Each node has its own order."""
    tasks = queue("aabb", {"a": 1.0, "b": 1.0})
    tasks.note([Noted(1, CachedShare.WHOLE), Noted(3, CachedShare.WHOLE)], at_first=True)
    assert [taken(tasks), taken(tasks)] == [(1, "a"), (3, "b")]


def test_what_is_missing_comes_while_what_is_cached_is_read() -> None:
    """One task for each that has ended, two at most, each once; in a fixed order it is the next one."""
    assert queue("aaa").announceable("a") == [0]
    tasks = queue("a" * 8, {"a": 1.0})
    tasks.note([Noted(number, CachedShare.WHOLE) for number in (4, 5, 6, 7)], at_first=True)
    announced = []
    for _ in range(4):
        taken(tasks)
        announced.append(tasks.announceable("a"))
        tasks.finished("a")
    assert announced == [[], [0], [1], []]


def test_where_others_bring_things_in_nothing_comes_early() -> None:
    """What this read is done with may be what they want next: only the next task is announced."""
    tasks = queue("a" * 6, {"a": 1.0})
    tasks.note([Noted(4, CachedShare.WHOLE), Noted(5, CachedShare.WHOLE)], at_first=True)
    taken(tasks)
    tasks.finished("a")
    tasks.note([Noted(3, CachedShare.WHOLE)])
    taken(tasks)
    assert tasks.announceable("a") == []
    tasks.finished("a")
    taken(tasks)
    assert tasks.announceable("a") == [0]
