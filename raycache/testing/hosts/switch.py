"""The network between hosts: an Ethernet bridge in a network namespace of its own, with a cable to each host.

Nothing of it is in the machine's own network, so its addresses can clash with nobody's. A link is shaped both ways by token
buckets (`tc tbf`), one at each end. A cable that is cut drops what is sent, and nobody is told: neither end of a connection
sees it closed. `netem` is not needed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import NamedTuple

from raycache.errors import UnavailableError
from raycache.testing.hosts.machines import Machine

#: A bucket that is smaller than what the kernel hands over at once never fills.
_BURST_BYTES = 256 << 10
_QUEUE_S = 0.05


class Traffic(NamedTuple):
    """What a host's network card has counted, in bytes, Ethernet frames as a whole."""

    received_bytes: int
    sent_bytes: int


class Switch:
    """A bridge, and the cables of the hosts that are plugged in.

    Args:
        machine: whose network namespace it is in; for nothing else.
        subnet: the first three numbers of all addresses.
    """

    def __init__(self, machine: Machine, subnet: str = "10.77.0") -> None:
        self._machine = machine
        self._subnet = subnet
        self._ports: dict[str, str] = {}

    def start(self) -> None:
        """Make the bridge; its machine runs already."""
        self._ip("link", "add", "bridge", "type", "bridge")
        self._ip("addr", "add", f"{self._subnet}.1/24", "dev", "bridge")
        self._ip("link", "set", "bridge", "up")

    def address(self, number: int) -> str:
        """Of the host that is plugged in as this number, from 0."""
        return f"{self._subnet}.{number + 10}"

    def plug(self, machine: Machine, number: int) -> None:
        """Run a cable to a host: it has an address, and reaches all others."""
        port = f"port{number}"
        self._ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(machine.first_pid))
        self._ip("link", "set", port, "master", "bridge", "up")
        _in_network(machine, "ip", "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        _in_network(machine, "ip", "link", "set", "eth0", "up")
        _in_network(machine, "ip", "route", "add", "default", "via", f"{self._subnet}.1")
        self._ports[machine.name] = port

    def shape(self, machine: Machine, bits_per_s: float | None) -> None:
        """Give a host's link this speed, in each direction; None: as fast as the machine is."""
        port = self._ports[machine.name]
        for owner, device in ((self._machine, port), (machine, "eth0")):
            if bits_per_s is None:
                _in_network(owner, "tc", "qdisc", "del", "dev", device, "root", check=False)
            else:
                _in_network(
                    owner, "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{bits_per_s:.0f}bit",
                    "burst", str(_BURST_BYTES), "latency", f"{1000 * _QUEUE_S:.0f}ms",
                )  # fmt: skip

    def cut(self, machine: Machine) -> None:
        """Cut a host's cable; twice is harmless."""
        self._ip("link", "set", self._ports[machine.name], "down")

    def join(self, machine: Machine) -> None:
        """Mend it; twice is harmless."""
        self._ip("link", "set", self._ports[machine.name], "up")

    def traffic(self) -> dict[str, Traffic]:
        """By host name, since each was plugged in; without those that were killed."""
        devices = json.loads(_in_network(self._machine, "ip", "-s", "-j", "link", "show"))
        counts = {device["ifname"]: device["stats64"] for device in devices}
        return {
            name: Traffic(counts[port]["tx"]["bytes"], counts[port]["rx"]["bytes"])
            for name, port in self._ports.items()
            if port in counts
        }

    def _ip(self, *arguments: str) -> None:
        _in_network(self._machine, "ip", *arguments)


def _in_network(machine: Machine, *command: str, check: bool = True) -> str:
    """Run a program of the machine in a host's network, and only there.

    Raises:
        UnavailableError: it failed.
    """
    into = ["nsenter", "--target", str(machine.first_pid), "--net"]
    done = subprocess.run([*into, *command], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise UnavailableError(f"{' '.join(command)} for {machine.name}: {done.stderr.strip()}")
    return done.stdout


def missing_programs() -> list[str]:
    """Which programs are needed, and not here."""
    return [name for name in ("ip", "tc", "nsenter", "unshare", "setpriv") if shutil.which(name) is None]
