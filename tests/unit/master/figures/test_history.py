"""The last quarter of an hour: windows and series out of rings of samples."""

from __future__ import annotations

from raycache.master.figures.history import SAMPLES, STEP_S, History
from raycache.messages import ReadCounters


def test_a_window_is_what_was_counted_within_it() -> None:
    """One minute is the last twelve steps; a node that came within it began at zero."""
    history = History()
    for step in range(100):
        values = {"a": ReadCounters(hits=step)}
        if step > 95:
            values["b"] = ReadCounters(hits=7)
        assert history.due(step * STEP_S)
        history.sample(values, step * STEP_S)
        assert not history.due(step * STEP_S + 1)
    assert 1 + 11 == history.window("a", ReadCounters(hits=100), 60.0).hits
    assert 100 == history.window("a", ReadCounters(hits=100), 900.0).hits
    assert 8 == history.window("b", ReadCounters(hits=8), 60.0).hits
    assert 3 == history.window("new", ReadCounters(hits=3), 60.0).hits
    assert [1] * 99 == history.series("a")[:, 0].tolist()
    assert [6] * 16 == history.series("a", 6)[:, 0].tolist()


def test_the_ring_goes_round() -> None:
    """After 15 minutes the oldest sample goes; a pause is filled with what was known."""
    history = History()
    for step in range(3 * SAMPLES):
        history.sample({"a": ReadCounters(hits=step)}, step * STEP_S)
    last = 3 * SAMPLES - 1
    assert 180 == history.window("a", ReadCounters(hits=last), 10_000.0).hits
    history.sample({"a": ReadCounters(hits=last + 5)}, (last + 31) * STEP_S)
    assert [0] * 30 + [5] == history.series("a")[-31:, 0].tolist()
    history.sample({}, 1e9)
    history.sample({"b": ReadCounters()}, 1e9 + STEP_S)
    assert (0, SAMPLES - 1) == (len(history.series("a")), len(history.series("b")))
