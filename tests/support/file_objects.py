"""What is asked of file objects: tables of things to do with one, each compared with what Python's own answer."""

from __future__ import annotations

import array
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

CONTENT = b"first line\nsecond\r\n\nno end \xff\x00 here\n" + bytes(range(256)) * 700 + b"\nlast"


def outcome(file: Any, work: Callable[[Any], Any]) -> Any:
    """What doing it gives: a value, or the kind of error, as far as callers tell errors apart."""
    try:
        found = work(file)
    except io.UnsupportedOperation:
        return "unsupported"
    except TypeError:
        return "TypeError"
    except (ValueError, OSError) as error:
        # A raw file answers a negative position with EINVAL, a buffered one and BytesIO with a ValueError.
        return "ValueError" if isinstance(error, ValueError) or error.errno == 22 else type(error).__name__
    except AttributeError:
        return "AttributeError"
    except StopIteration:
        return "StopIteration"
    return bytes(found) if isinstance(found, (bytearray, memoryview)) else found


def _into(file: Any, target: Any) -> tuple[int, bytes]:
    return file.readinto(target), bytes(memoryview(target).cast("B")) if memoryview(target).nbytes else b""


def _closed(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def closed(file: Any) -> Any:
        file.close()
        return work(file)

    return closed


def _after(position: int, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def moved(file: Any) -> Any:
        file.seek(position)
        return work(file), file.tell()

    return moved


END = len(CONTENT)
#: By name: something to do with a file that was just opened.
THINGS_TO_DO: dict[str, Callable[[Any], Any]] = {
    "all of it": lambda file: file.read(),
    "none": lambda file: (file.read(0), file.tell()),
    "None means all": lambda file: file.read(None),
    "negative means all": lambda file: file.read(-7),
    "some": lambda file: (file.read(5), file.read(3), file.tell()),
    "a numpy size": lambda file: (file.read(np.int64(5)), file.tell()),
    "a numpy position": lambda file: (file.seek(np.uint16(9)), file.read(4), file.tell()),
    "a bool": lambda file: file.read(True),
    "half a byte": lambda file: file.read(1.5),
    "a word": lambda file: file.read("5"),
    "half a position": lambda file: file.seek(1.5),
    "past the end": _after(END + 10, lambda file: (file.read(), file.read(3), file.readline())),
    "the end": _after(END, lambda file: file.read(1)),
    "from the end": lambda file: (file.seek(-4, 2), file.read()),
    "from here": lambda file: (file.seek(4), file.seek(3, 1), file.read(2)),
    "before the start": lambda file: file.seek(-1),
    "before the start, from the end": lambda file: file.seek(-END - 1, 2),
    "whence 9": lambda file: file.seek(0, 9),
    "position after a refused seek": lambda file: (file.read(3), outcome(file, lambda f: f.seek(-1)), file.tell()),
    "lines": list,
    "readlines": lambda file: file.readlines(),
    "readlines, about 12": lambda file: file.readlines(12),
    "lines, then bytes": lambda file: (file.readline(), file.read(3), file.readline(), file.tell()),
    "a line, back, a line": lambda file: (file.readline(), file.seek(2), file.readline()),
    "part of a line": lambda file: (file.readline(4), file.readline(100), file.readline(0), file.tell()),
    "a line of numpy size": lambda file: file.readline(np.int32(4)),
    "a line of None": lambda file: file.readline(None),
    "next": lambda file: (next(file), file.tell()),
    "next at the end": _after(END, next),
    "the line behind the end": _after(END, lambda file: file.readline()),
    "into memory": lambda file: _into(file, bytearray(7)),
    "into no memory": lambda file: (_into(file, bytearray()), file.tell()),
    "into an empty array": lambda file: (file.readinto(np.empty(0, np.uint8)), file.tell()),
    "into integers": lambda file: _into(file, array.array("i", [0, 0, 0])),
    "into a numpy array": lambda file: _into(file, np.zeros(9, np.uint8)),
    "into two dimensions": lambda file: (file.readinto(np.zeros((2, 3), np.uint8)), file.tell()),
    "into more than there is": _after(END - 3, lambda file: _into(file, bytearray(9))),
    "into bytes": lambda file: file.readinto(b"1234"),
    "into a number": lambda file: file.readinto(5),
    "readinto1": lambda file: (file.readinto1(bytearray(4)), file.tell()),
    "read1": lambda file: (file.read1(6), file.tell()),
    "peek moves nothing": lambda file: (file.peek(3)[:3], file.tell()),
    "write": lambda file: file.write(b"x"),
    "writelines": lambda file: file.writelines([b"x"]),
    "truncate": lambda file: file.truncate(3),
    "detach is refused or gives the file": lambda file: (file.readable(), file.writable(), file.seekable()),
    "in a with block": lambda file: file.__enter__() is file,
    "is open": lambda file: file.closed,
    "closing twice": lambda file: (file.close(), file.close(), file.closed),
    "no terminal": lambda file: file.isatty(),
    "flush": lambda file: file.flush(),
    "text above it": lambda file: io.TextIOWrapper(file, encoding="latin-1", newline="").read(30),
    "closed: read": _closed(lambda file: file.read()),
    "closed: read nothing": _closed(lambda file: file.read(0)),
    "closed: tell": _closed(lambda file: file.tell()),
    "closed: seek": _closed(lambda file: file.seek(0)),
    "closed: readline": _closed(lambda file: file.readline()),
    "closed: readline of nothing": _closed(lambda file: file.readline(0)),
    "closed: next": _closed(next),
    "closed: readlines": _closed(lambda file: file.readlines()),
    "closed: readinto": _closed(lambda file: file.readinto(bytearray(3))),
    "closed: readinto nothing": _closed(lambda file: file.readinto(bytearray())),
    "closed: peek": _closed(lambda file: file.peek()),
    "closed: read1": _closed(lambda file: file.read1(3)),
    "closed: readable": _closed(lambda file: file.readable()),
    "closed: seekable": _closed(lambda file: file.seekable()),
    "closed: writable": _closed(lambda file: file.writable()),
    "closed: write": _closed(lambda file: file.write(b"x")),
    "closed: with": _closed(lambda file: file.__enter__()),
    "closed: flush": _closed(lambda file: file.flush()),
}


def _changing(file: Any, data: bytearray) -> Any:
    """What was written is what it was then, whatever becomes of the memory."""
    taken = file.write(data)
    data[:] = bytes(len(data))
    return taken


def _text_above(file: Any) -> None:
    with io.TextIOWrapper(file, encoding="utf-16", newline="\r\n") as text:
        text.write("ä\nb\n")


#: By name: something to do with a file that was just opened for writing.
THINGS_TO_WRITE: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda file: (file.write(b"abc"), file.write(b""), file.tell()),
    "a bytearray that changes": lambda file: _changing(file, bytearray(b"abc")),
    "much that changes": lambda file: _changing(file, bytearray(b"abc" * 500_000)),
    "a memoryview": lambda file: file.write(memoryview(b"abcdef")[2:4]),
    "an array": lambda file: (file.write(array.array("i", [1, 2, 3])), file.tell()),
    "an empty array": lambda file: (file.write(array.array("d")), file.tell()),
    "a numpy array": lambda file: (file.write(np.arange(6, dtype=np.int16).reshape(2, 3)), file.tell()),
    "a numpy array of none": lambda file: file.write(np.empty((0, 3))),
    "an arrow buffer": lambda file: file.write(pa.py_buffer(b"abc")),
    "every second one": lambda file: file.write(np.arange(6, dtype=np.uint8)[::2]),
    "text": lambda file: file.write("abc"),
    "a number": lambda file: file.write(5),
    "None": lambda file: file.write(None),
    "nothing at all": lambda file: file.tell(),
    "after what was refused": lambda file: (file.write(b"ab"), outcome(file, lambda f: f.write("c")), file.write(b"d")),
    "lines": lambda file: (file.writelines([b"a\n", memoryview(b"b"), b""]), file.tell()),
    "lines of a generator": lambda file: file.writelines(bytes([value]) for value in range(5)),
    "lines of text": lambda file: file.writelines(["a"]),
    "no lines": lambda file: file.writelines(5),
    "flush": lambda file: (file.write(b"ab"), file.flush(), file.write(b"c")),
    "seek": lambda file: (file.write(b"ab"), file.seek(0)),
    "seek to where it stands": lambda file: file.seek(0, 1),
    "truncate": lambda file: (file.write(b"ab"), file.truncate(1)),
    "read": lambda file: file.read(),
    "read some": lambda file: file.read(3),
    "read1": lambda file: file.read1(3),
    "readinto": lambda file: file.readinto(bytearray(3)),
    "readline": lambda file: file.readline(),
    "readlines": lambda file: file.readlines(),
    "next": next,
    "abilities": lambda file: (file.readable(), file.writable(), file.seekable()),
    "in a with block": lambda file: file.__enter__() is file,
    "is open": lambda file: (file.closed, file.mode),
    "closing twice": lambda file: (file.close(), file.close(), file.closed),
    "no terminal": lambda file: file.isatty(),
    "text above it": _text_above,
    "closed: write": _closed(lambda file: file.write(b"x")),
    "closed: write nothing": _closed(lambda file: file.write(b"")),
    "closed: writelines": _closed(lambda file: file.writelines([b"x"])),
    "closed: tell": _closed(lambda file: file.tell()),
    "closed: seek": _closed(lambda file: file.seek(0)),
    "closed: flush": _closed(lambda file: file.flush()),
    "closed: writable": _closed(lambda file: file.writable()),
    "closed: readable": _closed(lambda file: file.readable()),
    "closed: seekable": _closed(lambda file: file.seekable()),
    "closed: isatty": _closed(lambda file: file.isatty()),
    "closed: with": _closed(lambda file: file.__enter__()),
}
