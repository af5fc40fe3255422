"""One host: namespaces of its own for network, mounts, name and processes.

Everything hangs on one process, the first of the host's process namespace. When it ends, the kernel ends all others there,
and takes the network devices away; and it ends with the process that made it, however that ends. So there is nothing to
clean up, a host that is killed is a machine that lost power, and no process but the host's own can be meant.

A host sees the machine's files, but has `/tmp`, `/dev/shm`, `/proc`, its name, and what resolves names, for itself. `/tmp` is
a directory of the machine, so logs can be looked at from outside. What this program needs itself is kept visible there.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from raycache.errors import UnavailableError
from raycache.testing.processes import ChildProcess, processes_below

_START_TIMEOUT_S = 20.0
_POLL_S = 0.02
#: Zombies are taken away by the kernel where nobody wants to hear of children.
_LAST = "trap '' CHLD; echo ready; exec sleep infinity"


class Machine:
    """The namespaces of one host, and the way into them. Needs root.

    Args:
        name: its host name.
        directory: for its files; it holds what the host sees as `/tmp`.
        shared_memory_bytes: of its `/dev/shm`.
    """

    def __init__(self, name: str, directory: Path, shared_memory_bytes: int) -> None:
        self.name = name
        self.directory = directory
        self._shared_memory_bytes = shared_memory_bytes
        self._holder: ChildProcess | None = None
        self._first_pid = 0

    def start(self, names: Mapping[str, str]) -> None:
        """Make the namespaces; nothing runs there yet.

        Args:
            names: host names, and the addresses that they mean there.

        Raises:
            UnavailableError: the kernel refused; the message ends with what it said.
        """
        self.directory.mkdir(parents=True)
        log_path = self.directory / "host.log"
        self._holder = ChildProcess(
            ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
             "--propagation", "private", "sh", "-ec", "\n".join([*self._setup(names), _LAST])],
            log_path,
        )  # fmt: skip
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while "ready" not in log_path.read_text("utf-8", "replace").splitlines():
            if not self._holder.alive or time.monotonic() > deadline_s:
                self.kill()
                raise UnavailableError(f"host {self.name} did not start: {self._holder.log_tail()}")
            time.sleep(_POLL_S)
        self._first_pid = processes_below(self._holder.pid)[0]

    @property
    def alive(self) -> bool:
        """Whether it was started, and not killed."""
        return self._holder is not None and self._holder.alive

    @property
    def first_pid(self) -> int:
        """The process that everything of the host hangs on.

        Raises:
            UnavailableError: it was killed.
        """
        if not self.alive:
            raise UnavailableError(f"host {self.name} does not run; start another")
        return self._first_pid

    def entering(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` there; what it starts ends with it, unless that leaves its session."""
        into = ["nsenter", "--target", str(self.first_pid), "--net", "--mount", "--uts", "--pid"]
        return [*into, "setpriv", "--pdeathsig", "KILL", *command]

    def run(self, command: Sequence[str], timeout_s: float = 60.0, environment: Mapping[str, str] | None = None) -> str:
        """Run a program there; returns what it printed.

        Raises:
            UnavailableError: it failed, or took too long; the message says what it printed.
        """
        try:
            done = subprocess.run(
                self.entering(command),
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"{shlex.join(command)} on {self.name}: {error.output[-2000:]}") from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"{shlex.join(command)} on {self.name} took more than {timeout_s:g} s") from error
        return done.stdout

    def kill(self) -> None:
        """End it and all that runs there at once. Twice is harmless."""
        if self._holder is not None:
            self._holder.kill()

    def _setup(self, names: Mapping[str, str]) -> list[str]:
        """Shell commands, run in the new namespaces."""
        etc = self.directory / "etc"
        etc.mkdir()
        entries = "".join(f"{address} {name}\n" for name, address in names.items())
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{entries}")
        # Without these, every start of Ray waits for a name server that cannot be reached.
        (etc / "resolv.conf").write_text("")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        commands = [f"hostname {shlex.quote(self.name)}", "ip link set lo up"]
        commands += [f"mount --bind {shlex.quote(str(file))} /etc/{file.name}" for file in sorted(etc.iterdir())]
        commands.append(f"mount -t tmpfs -o size={self._shared_memory_bytes},mode=1777 shm /dev/shm")
        temporary = self.directory / "tmp"
        temporary.mkdir(mode=0o1777)
        for kept in _own_directories():
            if kept.is_relative_to("/tmp"):
                inside = temporary / kept.relative_to("/tmp")
                inside.mkdir(parents=True, exist_ok=True)
                commands.append(f"mount --rbind {shlex.quote(str(kept))} {shlex.quote(str(inside))}")
        return [*commands, f"mount --rbind {shlex.quote(str(temporary))} /tmp"]


def _own_directories() -> list[Path]:
    """Where this program and its interpreter are, outermost first, none within another."""
    found: list[Path] = []
    project = Path(__file__).resolve().parents[3]
    for path in sorted({Path.cwd(), project, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}):
        if not any(path.is_relative_to(outer) for outer in found):
            found.append(path)
    return found
