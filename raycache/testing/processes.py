"""A child process that never outlives its parent.

Three nets, each for one way of ending: `stop` in the usual case, `atexit` when an exception or Ctrl-C ends the
interpreter, and the kernel's parent-death signal (through `setpriv`, where there is one) when the parent is killed. The
child gets its own session, so that Ctrl-C reaches the parent only and the parent decides the order of stopping.

The parent-death signal is bound to the *thread* that started the child: start children from threads that live on.
"""

from __future__ import annotations

import atexit
import contextlib
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from raycache.errors import UnavailableError

#: Below Linux's ephemeral range (32768..60999), so no outgoing connection takes one, and above Ray's worker ports.
_PORT_FIRST = 20_000
_PORT_LAST = 22_700


class ChildProcess:
    """One program, its log file, and its end.

    Args:
        command: program and arguments.
        log_path: stdout and stderr are appended here.
        environment: replaces the inherited environment when given.
        stdin: a file descriptor the child reads; default nothing.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.log_path = log_path
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *command],
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )
        self.pid = self._process.pid
        atexit.register(self.kill)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, and kill it when it has not after `grace_s`. Twice is harmless."""
        if self.alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """End it at once, with SIGKILL. Twice is harmless."""
        if self.alive:
            # `Popen` refuses to signal a process it has reaped, so this pid is still the child's.
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
        atexit.unregister(self.kill)

    def log_tail(self, lines: int = 8) -> str:
        """The last lines it wrote, for messages."""
        try:
            text = self.log_path.read_text("utf-8", "replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


def free_port_run(count: int) -> int:
    """Find P such that P..P+count-1 and P+10000..P+10000+count-1 are all free on 127.0.0.1.

    Nothing holds the ports until the caller's program binds them: callers try again with others when it fails.

    Raises:
        UnavailableError: 200 draws found none.
    """
    draw = random.SystemRandom()
    for _ in range(200):
        first = draw.randrange(_PORT_FIRST, _PORT_LAST - count)
        if all(_is_free(first + i) and _is_free(first + 10_000 + i) for i in range(count)):
            return first
    raise UnavailableError(f"found no {count} free ports in a row above {_PORT_FIRST}; stop some servers")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class ProcessKey(NamedTuple):
    """A process that no later one is mistaken for: pids are used again, pids with the same start time are not."""

    pid: int
    #: Clock ticks since the machine's start.
    started_at: int


def process_key(pid: int) -> ProcessKey | None:
    """The live process behind a pid; None when there is none, or a zombie."""
    fields = _stat_fields(Path("/proc", str(pid)))
    return None if fields is None else ProcessKey(pid, int(fields[19]))


def command_line(pid: int) -> bytes:
    """Program and arguments, NUL between them; empty when the process has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def processes_below(root_pid: int) -> list[int]:
    """The pids of all live descendants of a process, nearest first."""
    children: dict[int, list[int]] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and (fields := _stat_fields(directory)) is not None:
            children.setdefault(int(fields[1]), []).append(int(directory.name))
    found: list[int] = []
    frontier = [root_pid]
    while frontier:
        frontier = [pid for parent in frontier for pid in sorted(children.get(parent, []))]
        found += frontier
    return found


def _stat_fields(directory: Path) -> list[str] | None:
    """Fields 3.. of /proc/PID/stat (state, parent, ...); None when the process has ended."""
    try:
        # The command in parentheses may hold spaces and parentheses; the last one closes it.
        fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else fields
