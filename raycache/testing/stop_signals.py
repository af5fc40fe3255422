"""Which signals end a program that has started servers and clusters, and how it ends."""

from __future__ import annotations

import signal
from typing import Any, Self


class StopSignals:
    """Let SIGTERM unwind the stack as Ctrl-C does, and let a second signal not cut the unwinding short."""

    def __enter__(self) -> Self:
        self._saved = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self._saved:
            signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, _frame: Any) -> None:
        for each in self._saved:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)
