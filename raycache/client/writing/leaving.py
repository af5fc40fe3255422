"""Whether an exception is on its way, asked by a file that somebody closes.

`with` tells the outermost object alone that its block failed. What lies below it is closed as after a good end: fsspec's
`OpenFile`, pyarrow's streams, pandas' handles and `ParquetWriter` all call `close()` from their `__exit__`. So a file that is
closed looks at the calls that led there: where one of them is that of a `with` block which an exception leaves, the file is
not whole.

An `except` and a `finally` around `close()` look the same from inside, and whoever closes a file in an `except` may mean it.
So only `with` counts.
"""

from __future__ import annotations

import dis
import sys
from types import FrameType

_WITH_EXCEPT_START = dis.opmap["WITH_EXCEPT_START"]


def leaves_with_block(known: BaseException | None) -> bool:
    """Whether this thread is inside the `__exit__` of a `with` block that an exception leaves.

    Args:
        known: what `sys.exception()` gave when the file was opened. A file that was opened while that exception was handled, to
            write a report of it for example, does not fail by it.

    Cost: one call unless an exception is being handled.
    """
    error = sys.exception()
    if error is None or error is known:
        return False
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # `inspect` reads source files
    while frame is not None:
        if frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _WITH_EXCEPT_START:
            return True
        frame = frame.f_back
    return False
