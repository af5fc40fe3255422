"""Membership: one worker on every live node, epochs that never go back, views that change only when they must."""

from __future__ import annotations

import pytest

from raycache.master.membership import (
    NODES_DOUBT_S,
    REPLACE_TIMEOUTS,
    RETRY_MAX_S,
    SETTLING_S,
    START_TIMEOUT_S,
    STEADY_S,
    AdoptWorker,
    AskWorker,
    Effect,
    EndWorker,
    ForgetWorker,
    Membership,
    StartWorker,
    actor_name,
)

_TIMEOUT_S = 15.0


def _membership(*, restarted: bool = False) -> Membership:
    return Membership(100, _TIMEOUT_S, restarted=restarted, cache_id="c1")


def _started(*nodes: str) -> tuple[Membership, dict[str, int]]:
    """Live workers on these nodes, and their epochs, at time 0."""
    membership = _membership()
    epochs = {effect.worker: effect.epoch for effect in membership.nodes_changed(nodes, 0.0)}
    for node, epoch in epochs.items():
        assert membership.spoke(node, epoch, 10, 0.0)
    return membership, epochs


def _live(membership: Membership) -> list[tuple[str, int]]:
    return [(worker.worker, worker.epoch) for worker in membership.view().workers]


def _look_on(membership: Membership, nodes: list[str], from_s: float, until_s: float) -> list[Effect]:
    """Look every half second, up to and with a time, as a master does that is not away; what was to be done."""
    effects: list[Effect] = []
    now_s = from_s
    while now_s < until_s:
        effects += membership.nodes_changed(nodes, now_s)
        now_s += 0.5
    return effects + membership.nodes_changed(nodes, until_s)


def test_every_live_node_gets_a_worker() -> None:
    """A start is asked for once per node, nodes that join later included."""
    membership = _membership()
    assert [StartWorker("a", 101, actor_name("c1", "a", 101)), StartWorker("b", 102, actor_name("c1", "b", 102))] == (
        membership.nodes_changed(["b", "a"], 0.0)
    )
    assert [] == membership.nodes_changed(["a", "b"], 0.5)
    assert [StartWorker("c", 103, actor_name("c1", "c", 103))] == membership.nodes_changed(["a", "b", "c"], 1.0)


def test_a_worker_takes_part_from_its_first_word() -> None:
    """The view has a worker once it has registered, with its weight, and its id grows."""
    membership = _membership()
    [start] = membership.nodes_changed(["a"], 0.0)
    before = membership.view()
    assert () == before.workers
    assert membership.spoke("a", start.epoch, 7, 1.0)
    after = membership.view()
    assert [("a", start.epoch, 7, start.actor_name)] == list(after.workers)
    assert after.view_id > before.view_id
    assert after == membership.news(before.view_id)
    assert membership.news(after.view_id) is None


def test_further_words_change_no_view() -> None:
    """Heartbeats, with whatever weight, move no blocks."""
    membership, epochs = _started("a")
    view = membership.view()
    assert membership.spoke("a", epochs["a"], 99, 1.0)
    assert view == membership.view()


def test_a_node_that_dies_takes_its_worker_along() -> None:
    """The worker leaves the view at once, and its late words are refused."""
    membership, epochs = _started("a", "b")
    assert [ForgetWorker("a", epochs["a"])] == membership.nodes_changed(["b"], 1.0)
    assert [("b", epochs["b"])] == _live(membership)
    assert not membership.spoke("a", epochs["a"], 10, 1.1)


def test_a_node_that_comes_back_gets_a_new_epoch() -> None:
    """The old incarnation stays refused."""
    membership, epochs = _started("a", "b")
    membership.nodes_changed(["b"], 1.0)
    [start] = membership.nodes_changed(["a", "b"], 2.0)
    assert start.epoch > epochs["a"]
    assert not membership.spoke("a", epochs["a"], 10, 2.1)
    assert membership.spoke("a", start.epoch, 10, 2.2)


def test_an_ended_worker_is_started_again_after_a_pause() -> None:
    """Its end drops it from the view; its late words do not revive it; the next one has a larger epoch."""
    membership, epochs = _started("a")
    assert membership.ended("a", epochs["a"], 100.0)
    assert [] == _live(membership)
    assert not membership.spoke("a", epochs["a"], 10, 100.1)
    assert [] == membership.nodes_changed(["a"], 100.5)
    [start] = membership.nodes_changed(["a"], 101.0)
    assert start.epoch > epochs["a"]


def test_late_news_of_an_old_end_change_nothing() -> None:
    """The end of an earlier incarnation is not the end of this one."""
    membership, epochs = _started("a")
    membership.ended("a", epochs["a"], 1.0)
    [start] = membership.nodes_changed(["a"], 3.0)
    membership.spoke("a", start.epoch, 10, 3.1)
    assert not membership.ended("a", epochs["a"], 3.2)
    assert [("a", start.epoch)] == _live(membership)


def test_a_silent_worker_leaves_and_may_come_back() -> None:
    """Silence costs the place in the view; a word before the next start gives it back."""
    membership, epochs = _started("a")
    assert [] == _look_on(membership, ["a"], 0.0, _TIMEOUT_S)
    assert [("a", epochs["a"])] == _live(membership)
    assert [] == membership.nodes_changed(["a"], _TIMEOUT_S + 0.1)
    assert [] == _live(membership)
    assert membership.spoke("a", epochs["a"], 10, _TIMEOUT_S + 0.5)
    assert [("a", epochs["a"])] == _live(membership)


def test_a_worker_that_stays_silent_is_ended_and_replaced() -> None:
    """It may be stopped for a minute and lose nothing; after that another is started, and the silent one is no more."""
    membership, epochs = _started("a")
    assert [] == _look_on(membership, ["a"], 0.0, REPLACE_TIMEOUTS * _TIMEOUT_S)
    end, start = _look_on(membership, ["a"], REPLACE_TIMEOUTS * _TIMEOUT_S, REPLACE_TIMEOUTS * _TIMEOUT_S + 1.0)
    assert EndWorker("a", epochs["a"], actor_name("c1", "a", epochs["a"])) == end
    assert isinstance(start, StartWorker)
    assert not membership.spoke("a", epochs["a"], 10, REPLACE_TIMEOUTS * _TIMEOUT_S + 1.1)


def test_a_master_that_was_away_declares_nobody_silent() -> None:
    """It was not there to hear: whoever speaks within a time-out of its return stays, whoever does not goes."""
    membership, epochs = _started("a", "b", "c")
    _look_on(membership, ["a", "b", "c"], 0.0, 5.0)
    assert [] == membership.nodes_changed(["a", "b", "c"], 65.0)
    assert 3 == len(_live(membership))
    assert membership.spoke("a", epochs["a"], 10, 65.1)
    assert membership.spoke("b", epochs["b"], 10, 65.1)
    assert [] == _look_on(membership, ["a", "b", "c"], 65.5, 65.0 + _TIMEOUT_S)
    assert [("a", epochs["a"]), ("b", epochs["b"])] == _live(membership)


def test_many_silent_at_once_are_asked_before_that_is_believed() -> None:
    """A deaf master looks the same as a dead cluster: each is asked, and only who does not answer is given up."""
    membership, epochs = _started("a", "b", "c")
    nodes = ["a", "b", "c"]
    asked = _look_on(membership, nodes, 0.0, _TIMEOUT_S + 0.5)
    assert [AskWorker(node, epochs[node], actor_name("c1", node, epochs[node])) for node in nodes] == asked
    assert 3 == len(_live(membership))
    membership.spoke("b", epochs["b"], 10, _TIMEOUT_S + 1.0)
    assert [] == _look_on(membership, nodes, _TIMEOUT_S + 1.0, 2 * _TIMEOUT_S)
    assert 3 == len(_live(membership))
    _look_on(membership, nodes, 2 * _TIMEOUT_S, 2 * _TIMEOUT_S + 1.0)
    assert [("b", epochs["b"])] == _live(membership)


def test_one_silent_worker_of_many_needs_no_second_look() -> None:
    """The share is for faults of the master: a single worker that falls silent leaves at once."""
    membership, epochs = _started("a", "b", "c")
    nodes = ["a", "b", "c"]
    _look_on(membership, nodes, 0.0, 10.0)
    membership.spoke("a", epochs["a"], 10, 10.0)
    membership.spoke("b", epochs["b"], 10, 10.0)
    assert [] == _look_on(membership, nodes, 10.5, _TIMEOUT_S + 0.5)
    assert [("a", epochs["a"]), ("b", epochs["b"])] == _live(membership)


def test_an_empty_list_of_nodes_is_not_believed() -> None:
    """The master is on a node: workers stay, however often Ray says that there is none."""
    membership, epochs = _started("a", "b")
    assert [] == _look_on(membership, [], 0.5, 2 * NODES_DOUBT_S)
    assert 2 == len(_live(membership))
    assert membership.spoke("a", epochs["a"], 10, 2 * NODES_DOUBT_S)


def test_many_nodes_are_gone_only_when_they_stay_gone() -> None:
    """A list that lacks most nodes is believed after a while, and not before; one that comes back keeps its worker."""
    nodes = ["a", "b", "c", "d"]
    membership, epochs = _started(*nodes)
    assert [] == _look_on(membership, ["a"], 0.5, NODES_DOUBT_S)
    assert [] == membership.nodes_changed(["a", "b"], NODES_DOUBT_S + 0.2)
    gone = _look_on(membership, ["a", "b"], NODES_DOUBT_S + 0.5, NODES_DOUBT_S + 1.0)
    assert [ForgetWorker("c", epochs["c"]), ForgetWorker("d", epochs["d"])] == gone
    assert [("a", epochs["a"]), ("b", epochs["b"])] == _live(membership)


def test_a_start_without_an_answer_is_given_up() -> None:
    """A worker that never speaks is started again after a bounded time."""
    membership = _membership()
    [first] = membership.nodes_changed(["a"], 0.0)
    assert [] == _look_on(membership, ["a"], 0.5, START_TIMEOUT_S)
    assert [] == membership.nodes_changed(["a"], START_TIMEOUT_S + 0.1)
    [second] = membership.nodes_changed(["a"], START_TIMEOUT_S + 1.2)
    assert second.epoch > first.epoch


def test_starts_that_fail_in_a_row_come_slower_up_to_a_bound() -> None:
    """1, 2, 4, 8, 16, 30, 30 seconds; a worker that lived long begins again at 1."""
    membership = _membership()
    now_s = 0.0
    pauses = []
    [start] = membership.nodes_changed(["a"], now_s)
    for _ in range(7):
        membership.ended("a", start.epoch, now_s)
        failed_s = now_s
        effects = membership.nodes_changed(["a"], now_s)
        while not effects:
            now_s += 0.5
            effects = membership.nodes_changed(["a"], now_s)
        [start] = effects
        pauses.append(now_s - failed_s)
    assert [1.0, 2.0, 4.0, 8.0, 16.0, RETRY_MAX_S, RETRY_MAX_S] == pauses
    membership.spoke("a", start.epoch, 10, now_s)
    membership.spoke("a", start.epoch, 10, now_s + STEADY_S)
    membership.ended("a", start.epoch, now_s + STEADY_S)
    assert 1 == len(membership.nodes_changed(["a"], now_s + STEADY_S + 1.0))


def test_a_restarted_master_takes_the_workers_over() -> None:
    """Workers that speak keep their epochs; none is started beside them; their actors are to be watched."""
    membership = _membership(restarted=True)
    assert [] == membership.nodes_changed(["a", "b"], 0.0)
    assert membership.spoke("a", 55, 10, 0.2)
    assert [AdoptWorker("a", 55, actor_name("c1", "a", 55))] == membership.nodes_changed(["a", "b"], 0.5)
    assert membership.spoke("b", 56, 10, 0.6)
    assert [AdoptWorker("b", 56, actor_name("c1", "b", 56))] == membership.nodes_changed(["a", "b"], 1.0)
    assert [] == membership.nodes_changed(["a", "b"], 1.5)
    assert [("a", 55), ("b", 56)] == _live(membership)


def test_a_restarted_master_gives_no_view_before_all_have_spoken() -> None:
    """A view of half the workers would move half the blocks."""
    membership = _membership(restarted=True)
    membership.nodes_changed(["a", "b"], 0.0)
    membership.spoke("a", 55, 10, 0.2)
    membership.nodes_changed(["a", "b"], 0.5)
    assert membership.news(3) is None
    membership.spoke("b", 56, 10, 0.6)
    membership.nodes_changed(["a", "b"], 1.0)
    assert membership.view() == membership.news(3)


def test_a_restarted_master_waits_for_words_only_so_long() -> None:
    """A node whose worker died meanwhile gets a new one when settling is over."""
    membership = _membership(restarted=True)
    membership.nodes_changed(["a"], 0.0)
    assert [] == _look_on(membership, ["a"], 0.5, SETTLING_S - 0.1)
    [start] = membership.nodes_changed(["a"], SETTLING_S)
    assert StartWorker("a", 101, actor_name("c1", "a", 101)) == start


def test_the_newest_of_two_workers_found_on_a_node_stays() -> None:
    """A hung worker of an older epoch that speaks first does not push out the current one."""
    membership = _membership(restarted=True)
    membership.nodes_changed(["a"], 0.0)
    assert membership.spoke("a", 55, 10, 0.1)
    assert membership.spoke("a", 57, 10, 0.2)
    assert not membership.spoke("a", 55, 10, 0.3)
    assert [("a", 57)] == _live(membership)


def test_numbers_grow_over_restarts() -> None:
    """A later master gives out larger epochs and view ids, also than those of workers it took over."""
    membership, epochs = _started("a")
    later = Membership(10_000, _TIMEOUT_S, restarted=True, cache_id="c1")
    assert later.view().view_id > membership.view().view_id
    later.nodes_changed(["a"], 0.0)
    later.spoke("a", epochs["a"], 10, 0.1)
    later.ended("a", epochs["a"], 0.2)
    [start] = later.nodes_changed(["a"], 2.0)
    assert start.epoch > 10_000


def test_who_is_missing_is_known() -> None:
    """Start-up waits until no node is without a worker; before nodes were seen, one is missing."""
    membership = _membership()
    assert (1, 0) == membership.missing()
    [start, _] = membership.nodes_changed(["a", "b"], 0.0)
    assert (2, 0) == membership.missing()
    membership.spoke("a", start.epoch, 10, 0.1)
    assert (1, 1) == membership.missing()


@pytest.mark.parametrize(("now_s", "age_s"), [(5.0, 5.0), (0.0, 0.0)])
def test_states_are_shown(now_s: float, age_s: float) -> None:
    """Each worker's epoch, state and silence."""
    membership, epochs = _started("a")
    assert [("a", epochs["a"], "live", age_s)] == membership.states(now_s)
