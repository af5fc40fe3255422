"""`top`, `stats --watch`, `report` and `doctor` in a real terminal (a pseudo-terminal), on a real cluster."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

import raycache
from raycache.cache import Cache
from raycache.testing.cluster import LocalCluster
from raycache.testing.proxy.proxy import S3Proxy
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

_TIMEOUT_S = 90.0
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


@pytest.fixture(scope="module")
def cache(cluster: LocalCluster, s3_server: SeaweedServer) -> Iterator[Cache]:
    cache = raycache.start(memory="60MiB", disk="off")
    with S3Proxy(s3_server.endpoint_url) as proxy:
        lake = Lake.make(s3_server, proxy)
        for number in range(6):
            lake.put(f"train/{number}", content(number, 5000))
        cache.mount("/seen", lake.uri, lake.options)
        yield cache
        raycache.stop()


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, cluster: LocalCluster, columns: int, *arguments: str) -> None:
        self._own, self._its = pty.openpty()
        self.resize(columns)
        self.before = termios.tcgetattr(self._its)
        self.text = ""
        environment = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from raycache.cli.main import main; main()", *arguments],
            env={**environment, **cluster.environment(), "TERM": "xterm-256color"},
            stdin=self._its, stdout=self._its, stderr=self._its, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # so that Ctrl-C reaches it
        )  # fmt: skip

    def resize(self, columns: int) -> None:
        """As a person drags the window; the program is told by the kernel."""
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def until(self, pattern: str) -> str:
        """Read on until something is there; returns what came since the last time."""
        deadline = time.monotonic() + _TIMEOUT_S
        start = len(self.text)
        while not re.search(pattern, self.text[start:]):
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"no {pattern!r} in {self.text[start:]!r}"
            self._read(left_s)
        return self.text[start:]

    def end(self) -> int:
        """Read to the end; returns the exit status."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"no end after {self.text[-2000:]!r}"
            self._read(0.1)
        while self._read(0.1):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._own], [], [], seconds)
        if ready:
            self.text += _ESCAPES.sub("", os.read(self._own, 65536).decode("utf-8", "replace"))
        return bool(ready)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._own)
        os.close(self._its)


def test_top_follows_the_window_and_quits(cache: Cache, cluster: LocalCluster) -> None:
    """Figures are there, change, and fit the window, whatever its size becomes; q ends it, with the terminal as it was."""
    cache.read_many([f"/seen/train/{number}" for number in range(6)])
    cache.stats()
    top = Terminal(cluster, 60, "top", "--interval", "0.3")
    try:
        picture = top.until(r"Last read[\s\S]*ago")
        assert "3 of 3 workers" in picture
        assert "Evicted" not in picture
        assert all(len(line.rstrip("\r")) <= 60 for line in picture.split("\n"))
        # Nothing that is typed is shown.
        assert not termios.tcgetattr(top._its)[3] & termios.ECHO
        top.resize(140)
        top.until("Evicted")
        top.press("s")
        top.until("by throughput")
        cache.read_many([f"/seen/train/{number}" for number in range(6)])
        cache.stats()
        top.until(r"50\.0% since start")
        top.press("q")
        assert 0 == top.end()
        assert top.before == termios.tcgetattr(top._its)
    finally:
        top.close()


def test_stats_can_be_watched_in_a_terminal(cache: Cache, cluster: LocalCluster) -> None:
    """Again and again, with what has been read meanwhile; no number is cut in a window of 80; Ctrl-C ends it with 130."""
    watch = Terminal(cluster, 80, "stats", "--watch", "0.3")
    try:
        first = watch.until(r"Lake bytes[\s\S]*total.*\n")
        assert all(len(line.rstrip("\r")) <= 80 for line in first.split("\n"))
        assert "60.0 MiB" in first
        before = cache.stats().total.hits
        cache.read_many([f"/seen/train/{number}" for number in range(6)])
        watch.until(rf"total +{before + 6} ")
        watch.press("\x03")
        assert 130 == watch.end()
        assert "Traceback" not in watch.text
    finally:
        watch.close()


@pytest.mark.parametrize("columns", [80, 140])
def test_report_and_doctor_are_readable(cache: Cache, cluster: LocalCluster, columns: int) -> None:
    """Both end by themselves, and say what there is: the workers, the mount, and that nothing is wrong."""
    del cache
    for command, expected in (("report", "3 of 3 workers alive"), ("doctor", "worker: 3 alive, all answer")):
        program = Terminal(cluster, columns, command)
        try:
            assert 0 == program.end(), program.text
            assert expected in program.text
            assert "Traceback" not in program.text
        finally:
            program.close()
