"""The hosts themselves: what is their own, what reaches whom, and that nothing is left of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raycache.errors import UnavailableError
from raycache.testing.hosts import Fleet
from raycache.testing.hosts.interpreter import Interpreter
from raycache.testing.processes import processes_below
from tests.support.waiting import wait_until

HERE = "tests.hosts.network_tasks"


@pytest.fixture(scope="module")
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    return make_fleet(["left", "right"])


def test_a_host_has_its_own_name_address_memory_and_files(fleet: Fleet) -> None:
    """Name, addresses, shared memory and temporary files are those of one host alone; the project is seen by all."""
    for name in fleet.names:
        found = fleet[name].run(
            ["sh", "-c", "hostname; ip -br -4 addr show eth0; touch /dev/shm/$(hostname) /tmp/$(hostname)"]
        )
        assert found.split()[0] == name
        assert f"{fleet.address(name)}/24" in found
    seen = fleet["left"].run(["sh", "-c", "ls /dev/shm; ls /tmp"]).split()
    assert ("left" in seen, "right" in seen) == (True, False)
    assert not Path("/tmp/left").exists()
    assert "raycache" in fleet["left"].run([sys.executable, "-c", "import raycache; print(raycache.__name__)"])
    assert "right has address" not in fleet["left"].run(["cat", "/etc/resolv.conf"])
    assert fleet.address("right") in fleet["left"].run(["getent", "hosts", "right"])


def test_a_cut_host_is_silent_and_comes_back(fleet: Fleet) -> None:
    """A connection over a cut cable is not closed; what was sent meanwhile arrives when the cable is mended."""
    address = fleet.address("right")
    with Interpreter(fleet["right"], "server") as server, Interpreter(fleet["left"], "client") as client:
        port = server.call(f"{HERE}:listen", address=address)
        client.call(f"{HERE}:connect", address=address, port=port)
        assert client.call(f"{HERE}:exchange", size=10, wait_s=10) == 10
        with fleet.cut_off("right"):
            assert client.call(f"{HERE}:exchange", size=10, wait_s=0.3) == 0
        assert client.call(f"{HERE}:receive", size=10, wait_s=30) == 10


def test_network_cards_count_what_crosses(fleet: Fleet) -> None:
    """A megabyte sent and received is counted at both hosts, in both directions, with little more."""
    address, size = fleet.address("right"), 1_000_000
    with Interpreter(fleet["right"], "server") as server, Interpreter(fleet["left"], "client") as client:
        client.call(f"{HERE}:connect", address=address, port=server.call(f"{HERE}:listen", address=address))
        before = fleet.traffic()
        assert client.call(f"{HERE}:exchange", size=size, wait_s=30) == size
        after = fleet.traffic()
    for name in ("left", "right"):
        for was, now in zip(before[name], after[name], strict=True):
            assert size <= now - was < 1.2 * size


def test_a_function_that_fails_on_a_host_raises_here(fleet: Fleet) -> None:
    """The error says what was raised there; the process goes on."""
    with Interpreter(fleet["left"], "failing") as interpreter:
        with pytest.raises(UnavailableError, match="ZeroDivisionError"):
            interpreter.call(f"{HERE}:divide", a=1, b=0)
        assert interpreter.call(f"{HERE}:divide", a=1, b=2) == 0.5


def test_nothing_is_left_after_an_exception(make_fleet: Callable[..., Fleet]) -> None:
    """Processes that would run for ever, their hosts and their files are gone after a block that failed."""
    before = set(processes_below(os.getpid()))
    with pytest.raises(ZeroDivisionError), Fleet(["lonely"]) as fleet:
        directory = fleet["lonely"].directory
        fleet["lonely"].run(["sh", "-c", "sleep 1000 > /dev/null 2>&1 &"])
        started = set(processes_below(os.getpid())) - before
        assert started
        raise ZeroDivisionError
    assert not directory.exists()
    wait_until(lambda: not started & set(processes_below(os.getpid())))
    with pytest.raises(UnavailableError, match="does not run"):
        fleet["lonely"].run(["true"])
