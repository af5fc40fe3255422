"""Where the bytes of parts are, and one buffer of many parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa


class Span(NamedTuple):
    """Where the bytes of one part are: `base[start : start + length]`."""

    base: pa.Buffer
    start: int
    length: int


def joined(spans: list[Span]) -> pa.Buffer:
    """One buffer of all spans (one or more): a slice where they lie one after the other in one base, else a copy."""
    base, start, length = spans[0]
    end = start + length
    contiguous = True
    for span in spans[1:]:
        if span.base is not base or span.start != end:
            contiguous = False
            break
        end += span.length
    if contiguous:
        return base if start == 0 and end == base.size else base.slice(start, end - start)
    whole = np.empty(sum(span.length for span in spans), dtype=np.uint8)
    position = 0
    for span in spans:
        whole[position : position + span.length] = np.frombuffer(span.base, np.uint8, span.length, span.start)
        position += span.length
    return pa.py_buffer(whole)
