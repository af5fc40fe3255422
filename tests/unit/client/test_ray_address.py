"""Finding the Ray cluster: a dead address is told in seconds, by one error that says what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from raycache.client.ray_side.ray_address import find_cluster
from raycache.errors import InvalidRequestError, UnavailableError


def as_given(address: str) -> str:
    return address


def nothing_found(address: str) -> str:
    raise ConnectionError(address)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_live_address_is_passed_on(listener: socket.socket) -> None:
    """Where somebody listens, the address is what Ray made of it."""
    live = f"127.0.0.1:{listener.getsockname()[1]}"
    assert find_cluster(None, lambda address: live if address == "auto" else None) == live


def test_a_dead_address_fails_before_ray_tries_it(listener: socket.socket) -> None:
    """Where nobody listens, the error names the address and the command that helps."""
    dead = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    with pytest.raises(UnavailableError, match=f"answers at {dead}; start one with `ray start --head`"):
        find_cluster(dead, as_given)


@pytest.mark.parametrize("resolve", [nothing_found, lambda _: None])
def test_no_cluster_on_this_machine(resolve: object) -> None:
    """Without a cluster the error says how to start one."""
    with pytest.raises(UnavailableError, match="ray start --head"):
        find_cluster(None, resolve)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["h:notaport", "h:99999", "[::1"])
def test_no_address(address: str) -> None:
    """What is no host:port is an invalid request."""
    with pytest.raises(InvalidRequestError, match="host:port"):
        find_cluster(address, as_given)


def test_ray_client_addresses_are_left_to_ray() -> None:
    """An address with a scheme is not tried here."""
    assert find_cluster("ray://h:10001", nothing_found) == "ray://h:10001"
