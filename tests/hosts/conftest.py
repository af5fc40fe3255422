"""Hosts on one machine, for tests; skipped where they cannot be had."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from raycache.testing.hosts import Fleet, missing


@pytest.fixture(scope="session")
def make_fleet() -> Iterator[Callable[..., Fleet]]:
    """Start hosts, with the arguments of `Fleet`; they end with the run."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with contextlib.ExitStack() as fleets:
        yield lambda *arguments, **named: fleets.enter_context(Fleet(*arguments, **named))
