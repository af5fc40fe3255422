"""What of a node starts next when some of it is cached; no Ray."""

from __future__ import annotations

from raycache.raydata.queueing.lanes import CachedShare, Lane, Noted

WHOLE, PARTLY, ABSENT = CachedShare


def lane(count: int) -> Lane[str]:
    """Tasks a, b, c, ..."""
    made: Lane[str] = Lane()
    for number in range(count):
        made.add(number, "abcdefgh"[number])
    return made


def starts(tasks: Lane[str]) -> str:
    found = ""
    while tasks:
        found += tasks.pop().task
    return found


def test_what_is_cached_starts_first_and_the_coldest_of_it_before_the_rest() -> None:
    """Whole before partly before absent; among the whole by when they were used, among the rest by their order."""
    tasks = lane(6)
    tasks.note([Noted(1, WHOLE, 9), Noted(4, WHOLE, 2), Noted(2, PARTLY), Noted(5, ABSENT)])
    assert starts(tasks) == "ebcadf"


def test_where_all_is_cached_or_nothing_the_order_stays() -> None:
    """Nothing is gained by leaving it."""
    for standing in (WHOLE, ABSENT):
        tasks = lane(4)
        tasks.note(Noted(number, standing, 9 - number) for number in range(4))
        assert (tasks.is_mixed, starts(tasks)) == (False, "abcd")


def test_news_reorder_what_has_not_started() -> None:
    """What was brought in goes first, what was evicted goes back to its place; what has started stays so."""
    tasks = lane(4)
    tasks.note([Noted(3, WHOLE)])
    assert tasks.pop().task == "d"
    assert tasks.note([Noted(2, WHOLE, 1), Noted(3, WHOLE), Noted(1, WHOLE, 2)]) == [2, 1]
    assert tasks.note([Noted(2, ABSENT)]) == []
    assert starts(tasks) == "bac"


def test_a_start_says_whether_it_was_out_of_turn() -> None:
    """That is what the counter counts."""
    tasks = lane(3)
    tasks.note([Noted(1, WHOLE)])
    assert [tasks.pop().out_of_turn for _ in range(3)] == [True, False, False]


def test_half_a_loop_is_found_again_in_each_epoch() -> None:
    """Of six tasks with room for three, three are hits, over a cache that evicts what was used longest ago."""
    cached: list[int] = []
    hits = []
    for _ in range(4):
        tasks = lane(6)
        tasks.note(Noted(number, WHOLE if number in cached else ABSENT) for number in range(6))
        hits.append(0)
        while tasks:
            number = tasks.pop().number
            hits[-1] += number in cached
            cached = [*(each for each in cached if each != number), number][-3:]
    assert hits == [0, 3, 3, 3]
