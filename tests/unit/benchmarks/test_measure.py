"""What benchmarks say of their measurements: rates, ratios, verdicts, and the picture."""

from __future__ import annotations

import re

import pytest

from benchmarks.measure import Bar, Done, Target, interleave, ratio_rows, table
from benchmarks.reading.report import Section, picture


def target(name: str, *runs: tuple[float, float]) -> Target:
    """One that did these amounts in these seconds."""
    return Target(name, lambda: Done(1, 1), runs=[Done(*run) for run in runs])


TARGETS = [target("fast", (10, 1), (40, 2), (90, 3)), target("slow", (10, 2), (10, 1), (10, 4))]


def test_rates_are_medians_of_amounts_a_second() -> None:
    """Runs that did different amounts are compared by their rates."""
    assert [t.rate for t in TARGETS] == [20, 5]


@pytest.mark.parametrize(
    ("bar", "ratio", "met"),
    [
        (Bar("fast", "slow", least=4.0), 4.0, True),
        (Bar("fast", "slow", least=4.1), 4.0, False),
        (Bar("fast", "slow", least=4.1, enough=20), 4.0, True),
        (Bar("fast", "slow", least=4.1, enough=21), 4.0, False),
        (Bar("fast", "slow", most=0.25), 0.25, True),
        (Bar("slow", "fast", most=3.9), 4.0, False),
        (Bar("fast", least=20), 20, True),
        (Bar("fast", least=21), 20, False),
    ],
)
def test_a_bar_is_met_or_not(bar: Bar, ratio: float, met: bool) -> None:
    """`least` bounds speeds, `most` times, `enough` is enough, and without a base the speed itself is bounded."""
    (row,) = ratio_rows(TARGETS, [bar])
    assert (row["ratio"], row["met"]) == (ratio, met)


@pytest.mark.parametrize(
    ("machine", "met"), [((42, 10), True), ((43, 10), False), ((90, 10), False)], ids=["little", "enough", "more"]
)
def test_what_the_machine_cannot_give_is_not_asked_for(machine: tuple[float, float], met: bool) -> None:
    """Where the machine gives less than the bound, that is the bound; where it gives more, it stays."""
    both = [target("several", (machine[0], 1)), target("one", (machine[1], 1))]
    (row,) = ratio_rows([*TARGETS, *both], [Bar("fast", "slow", least=4.05, given=("several", "one"))])
    assert (row["ratio"], row["met"]) == (4.0, met)
    assert f">= 4.05x, of which the machine gives {machine[0] / machine[1]:.2f}x" == row["bound"]


def test_bars_on_what_did_not_run_are_left_out() -> None:
    """A rival that is missing here leaves no verdict."""
    assert ratio_rows(TARGETS, [Bar("fast", "JuiceFS", least=1.0), Bar("JuiceFS", least=1.0)]) == []


def test_targets_take_turns_and_are_prepared_before_each_run() -> None:
    """Drift of the machine meets all alike, and what one leaves behind does not always meet the same one."""
    seen: list[str] = []

    def run(name: str) -> Done:
        seen.append(name)
        return Done(1, 1)

    def targets() -> list[Target]:
        return [
            Target("a", lambda: run("a"), lambda: seen.append("before a")),
            *(Target(n, lambda n=n: run(n)) for n in "bc"),
        ]

    found = targets()
    interleave(found, 8)
    assert [len(t.runs) for t in found] == [8, 8, 8]
    assert all(seen[at + 1] == "a" for at, name in enumerate(seen) if name == "before a")
    first = [name for name in seen if name != "before a"]
    rounds = ["".join(first[at : at + 3]) for at in range(0, 24, 3)]
    assert {"".join(sorted(order)) for order in rounds} == {"abc"}
    assert len(set(rounds)) > 2
    seen.clear()
    interleave(targets(), 8)
    assert first == [name for name in seen if name != "before a"]


def test_bars_are_relative_to_the_fastest() -> None:
    """In the table and in the picture, the fastest has the longest bar, and the others their share of it."""
    rows = table("title", "files", TARGETS, base="slow").splitlines()[4:]
    assert [row.count("█") for row in rows] == [20, 5]
    assert "| 4.00 |" in rows[0]
    widths = re.findall(r'<rect x="\d+" y="\d+" width="([\d.]+)"', picture([Section("k", "t", "files", TARGETS)]))
    assert float(widths[0]) == pytest.approx(4 * float(widths[1]), rel=0.01)
