"""Where the Ray cluster is, found and tried in seconds.

`ray.init` tries an address at which nobody listens 20 times, 40 seconds each, and logs each try. Such addresses are
common: Ray keeps the address of the last cluster in a file, and a cluster that was killed leaves it there. So a
connection is tried first; whether it is Ray that answers, `ray.init` finds out.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from raycache.errors import InvalidRequestError, UnavailableError

_CONNECT_TIMEOUT_S = 5.0


def resolve(address: str) -> str | None:
    """Ray's own reading of an address: "auto" is RAY_ADDRESS, else the cluster started last on this machine.

    Returns:
        "host:port", or None when there is none.

    Raises:
        ConnectionError: "auto", and there is none.
        ValueError: not an address.
    """
    from ray._private import services  # what ray.init calls; it has no public name

    found: str | None = services.canonicalize_bootstrap_address(address)
    return found


def find_cluster(address: str | None = None, resolve: Callable[[str], str | None] = resolve) -> str:
    """Find the Ray cluster, and make sure that somebody listens there.

    Args:
        address: "host:port", "auto", or "ray://host:port", which is not tried; None is "auto".
        resolve: turns an address into "host:port".

    Returns:
        What to give to `ray.init(address=...)`.

    Raises:
        UnavailableError: no cluster was found, or nobody listens there.
        InvalidRequestError: not an address.
    """
    if address and "://" in address:
        return address
    try:
        found = resolve(address or "auto")
    except ConnectionError:
        found = None
    except ValueError as error:
        raise InvalidRequestError(f"{address!r} is not the address of a Ray cluster; write host:port") from error
    if found is None:
        raise UnavailableError(
            "no Ray cluster runs on this machine; start one with `ray start --head`, or name its address"
        )
    if "://" in found:
        return found
    try:
        parts = urlsplit(f"//{found}")
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_CONNECT_TIMEOUT_S).close()
    except ValueError as error:
        raise InvalidRequestError(f"{found!r} is not the address of a Ray cluster; write host:port") from error
    except OSError as error:
        raise UnavailableError(
            f"no Ray cluster answers at {found}; start one with `ray start --head`, or name another address"
        ) from error
    return found
