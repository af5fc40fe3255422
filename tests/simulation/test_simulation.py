"""Two hundred simulated clusters keep every invariant, the same way each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .checkers import Checker
from .plan import plan_of
from .scenario import simulate

SEEDS = 200


def test_every_invariant_holds() -> None:
    """Whatever is lost, late, doubled, killed, evicted, rotten or replaced, no checker finds anything wrong.

    And each kind of event does happen: what never happens is never checked.
    """
    seen: dict[str, int] = {}
    for seed in range(SEEDS):
        for what, count in simulate(seed).figures.items():
            seen[what] = seen.get(what, 0) + count
    wanted = {
        "HIT_MEMORY", "HIT_DISK", "LOADED", "COPIED", "NO_SPACE", "CHANGED", "GONE", "FAILED", "Load", "Demote", "Promote",
        "Verify", "DropMemory", "DropDisk", "bypasses", "served", "loads asked", "heartbeats refused", "NotFoundError",
    }  # fmt: skip
    assert wanted - seen.keys() == set()


def test_the_same_seed_twice_is_the_same_story() -> None:
    """Nothing but the seed decides: neither the hash seed of a process, nor threads, nor the machine's clock."""
    seeds = [3, 21, 60]
    program = f"from tests.simulation.scenario import simulate\nprint([simulate(s).digest for s in {seeds}])"
    # Here the hash seed is random, unless somebody has set it.
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": other},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    first = [simulate(seed).digest for seed in seeds]
    assert done.stdout.strip() == str(first) == str([simulate(seed).digest for seed in seeds])


def test_other_seeds_are_other_stories() -> None:
    """The digest tells different runs apart."""
    assert len({simulate(seed).digest for seed in range(5)}) == 5


def test_every_checker_says_what_it_guards() -> None:
    """A checker is named after a property, and states it."""
    assert all(checker.__doc__ for checker in Checker.__subclasses__())


def test_plans_are_of_all_kinds() -> None:
    """Calm, roomy and stormy plans all come up among the seeds of the suite."""
    kinds = {(plan.calm, plan.roomy) for plan in (plan_of(seed) for seed in range(SEEDS))}
    assert kinds == {(False, False), (True, False), (True, True)}
