"""Hosts and the network between them, as one context manager: enter, run programs, cut, join, kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from raycache.errors import NotFoundError
from raycache.settings import GIB, MIB
from raycache.testing.hosts.machines import Machine
from raycache.testing.hosts.switch import Switch, Traffic, missing_programs


def missing() -> str:
    """Why there can be no hosts here; empty when there can."""
    if os.geteuid():
        return "hosts on one machine need root"
    programs = missing_programs()
    if programs:
        return f"hosts on one machine need {', '.join(programs)}; install iproute2 and util-linux"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return f"no namespaces here: {tried.stderr.decode().strip()}" if tried.returncode else ""


class Fleet:
    """Hosts on one network. Start it in a thread that lives on: the hosts end with it.

    Args:
        names: of the hosts.
        bits_per_s: of each host's link, in each direction; None: as fast as the machine is.
        shared_memory_bytes: of each host's `/dev/shm`; used only as far as it is filled.
    """

    def __init__(
        self, names: Sequence[str], bits_per_s: float | None = None, shared_memory_bytes: int = 4 * GIB
    ) -> None:
        self._names = list(names)
        self._bits_per_s = bits_per_s
        self._shared_memory_bytes = shared_memory_bytes
        self._directory: Path | None = None
        self._machines: dict[str, Machine] = {}
        self._switch_machine: Machine | None = None
        self._switch: Switch | None = None

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="raycache-hosts-"))
        try:
            self._switch_machine = Machine("switch", self._directory / "switch", MIB)
            self._switch_machine.start({})
            self._switch = Switch(self._switch_machine)
            self._switch.start()
            names = {name: self._switch.address(number) for number, name in enumerate(self._names)}
            for number, name in enumerate(self._names):
                machine = Machine(name, self._directory / name, self._shared_memory_bytes)
                self._machines[name] = machine
                machine.start(names)
                self._switch.plug(machine, number)
                self._switch.shape(machine, self._bits_per_s)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Machine:
        """A host by name.

        Raises:
            NotFoundError: no such host.
        """
        if name not in self._machines:
            raise NotFoundError(f"there is no host {name!r}; there are {', '.join(self._machines) or 'none'}")
        return self._machines[name]

    @property
    def names(self) -> list[str]:
        """Of all hosts, killed ones included."""
        return list(self._names)

    @property
    def switch(self) -> Switch:
        """The network between the hosts."""
        assert self._switch is not None, "a fleet is a context manager: use it in a `with` block"
        return self._switch

    def address(self, name: str) -> str:
        """Of a host."""
        return self.switch.address(self._names.index(self[name].name))

    def shape(self, name: str, bits_per_s: float | None) -> None:
        """Give a host's link this speed, in each direction; None: as fast as the machine is."""
        self.switch.shape(self[name], bits_per_s)

    def cut(self, name: str) -> None:
        """Cut a host's cable: nothing comes or goes, and no connection is closed by that."""
        self.switch.cut(self[name])

    def join(self, name: str) -> None:
        """Mend a host's cable."""
        self.switch.join(self[name])

    @contextlib.contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """A host's cable is cut for the while."""
        self.cut(name)
        try:
            yield
        finally:
            self.join(name)

    def kill(self, name: str) -> None:
        """A host loses its power."""
        self[name].kill()

    def traffic(self) -> dict[str, Traffic]:
        """By host, the bytes that its network card has seen; without those that were killed."""
        return self.switch.traffic()

    def stop(self) -> None:
        """End all hosts and remove their files. Twice is harmless."""
        machines = [*self._machines.values(), *([self._switch_machine] if self._switch_machine else [])]
        for machine in machines:
            machine.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
