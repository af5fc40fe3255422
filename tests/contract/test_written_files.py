"""Files that are written answer as Python's own do, and appear whole or not at all."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import OpenFile

from raycache.client.writing.whole_file import WholeFile
from tests.support.file_objects import THINGS_TO_WRITE, outcome
from tests.support.lone_filesystem import LoneFileSystem
from tests.support.lone_writer import LoneWriter

Opener = Callable[[str], Any]
COMPRESSIONS = [name for name in ("gzip", "bz2", "xz", "zip", "zstd", "lz4") if name in fsspec.available_compressions()]
TEXT = "first\nsecond ä\n" * 5_000


class Stop(Exception):
    """What cuts a writer off."""


class Unprintable:
    """What ends a CSV file half way."""

    def __str__(self) -> str:
        raise Stop


@pytest.fixture
def writer(tmp_path: Path) -> LoneWriter:
    (tmp_path / "lake").mkdir()
    return LoneWriter({"/lake": f"file://{tmp_path}/lake"})


@pytest.fixture
def fs(writer: LoneWriter) -> LoneFileSystem:
    return LoneFileSystem(writer)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture(params=["writes.open", "fs.open"])
def opened(request: pytest.FixtureRequest, writer: LoneWriter, fs: LoneFileSystem) -> Opener:
    """Both ways to a file object for bytes."""
    return writer.writes.open if request.param == "writes.open" else lambda path: fs.open(path, "wb")


def visible(lake: Path) -> list[str]:
    gc.collect()
    return sorted(path.name for path in lake.iterdir())


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """What Python writes to where nothing can be sought, and what arrived there."""
    source, target = os.pipe()
    arrived: list[bytes] = []
    with os.fdopen(source, "rb") as reading:
        thread = threading.Thread(target=lambda: arrived.append(reading.read()))
        thread.start()
        file = os.fdopen(target, "wb")

        def content() -> bytes:
            file.close()
            thread.join()
            return arrived[0]

        yield file, content
        content()


@pytest.mark.parametrize("name", THINGS_TO_WRITE)
def test_a_written_file_answers_as_open_does(lake: Path, opened: Opener, name: str) -> None:
    """Values, kinds of errors and what stands there afterwards: as of a file, or of a pipe, in which nobody seeks either."""
    work = THINGS_TO_WRITE[name]
    with (lake / "stock").open("wb") as stock:
        told = outcome(stock, work)
    allowed = [(told, (lake / "stock").read_bytes())]
    with _pipe() as (pipe, content):
        told = outcome(pipe, work)
        allowed += [(told, content()), ("unsupported", content()) if isinstance(told, str) else (told, content())]
    with opened("/lake/ours") as file:
        found = outcome(file, work)
    assert (found, (lake / "ours").read_bytes()) in allowed


@pytest.mark.parametrize("mode", ["w", "wt", "x", "xt"])
@pytest.mark.parametrize(
    "options", [{}, {"encoding": "utf-8-sig", "newline": "\r\n"}, {"encoding": "ascii", "errors": "replace"}]
)
def test_text_is_written_as_open_writes_it(lake: Path, fs: LoneFileSystem, mode: str, options: dict[str, str]) -> None:
    """Encoding, errors and newline, in every text mode; bytes are refused."""
    with (lake / "stock").open(mode, **options) as stock, fs.open("/lake/ours", mode, **options) as ours:
        assert stock.write(TEXT) == ours.write(TEXT)
        assert outcome(stock, lambda file: file.write(b"x")) == outcome(ours, lambda file: file.write(b"x"))
    assert (lake / "stock").read_bytes() == (lake / "ours").read_bytes()


@pytest.mark.parametrize("by_ending", [False, True])
@pytest.mark.parametrize("mode", ["wb", "xb", "w", "wt", "xt"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_compressed_is_there_when_its_block_has_ended(
    lake: Path, fs: LoneFileSystem, compression: str, mode: str, by_ending: bool
) -> None:
    """Bytes and text, named or inferred; another library reads them; `tell` counts what was given."""
    ending = {name: end for end, name in fsspec.utils.compressions.items()}[compression]
    path = lake / f"x.{ending}"
    data = TEXT.encode() if "b" in mode else TEXT
    with fs.open(f"/lake/{path.name}", mode, compression="infer" if by_ending else compression) as file:
        assert len(data) == file.write(data)
        assert [] == visible(lake)[1:] == [name for name in visible(lake) if not name.startswith(".raycache-tmp")]
        if "b" in mode:
            assert len(data) == file.tell()
    with fsspec.open(str(path), "rb", compression=compression) as stock:
        assert TEXT.encode() == stock.read()


def test_a_compression_that_nobody_knows_leaves_nothing(lake: Path, fs: LoneFileSystem) -> None:
    """And says so; "infer" of an ending that names none means none."""
    with pytest.raises(ValueError, match="lzx"):
        fs.open("/lake/x", "wb", compression="lzx")
    assert [] == visible(lake)
    with fs.open("/lake/x.dat", "w", compression="infer") as file:
        file.write("plain")
    assert b"plain" == (lake / "x.dat").read_bytes()


# --- what an exception cuts off -------------------------------------------------------------------------------------------


def by_itself(fs: LoneFileSystem, mode: str = "wb", compression: str | None = None) -> None:
    with fs.open("/lake/x", mode, compression=compression) as file:
        file.write(b"x" * 100_000 if "b" in mode else "x" * 100_000)
        raise Stop


def by_open_file(fs: LoneFileSystem, mode: str = "wb", compression: str | None = None) -> None:
    with OpenFile(fs, "/lake/x", mode, compression) as file:
        file.write(b"x" * 100_000 if "b" in mode else "x" * 100_000)
        raise Stop


def by_exit_stack(fs: LoneFileSystem) -> None:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(OpenFile(fs, "/lake/x", "w"))
        file.write("x")
        raise Stop


def by_closing(fs: LoneFileSystem) -> None:
    with contextlib.closing(pa.PythonFile(fs.open("/lake/x", "wb"), mode="w")) as file:
        file.write(b"x")
        raise Stop


def by_context_manager(fs: LoneFileSystem) -> None:
    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        file = fs.open("/lake/x", "wb")
        try:
            yield file
        finally:
            file.close()

    with opened() as file:
        file.write(b"x")
        raise Stop


def by_arrow(fs: LoneFileSystem) -> None:
    with pa.PythonFile(fs.client.writes.open("/lake/x"), mode="w") as file:
        file.write(b"x")
        raise Stop


def by_compressed_arrow(fs: LoneFileSystem) -> None:
    with pa.CompressedOutputStream(pa.PythonFile(fs.client.writes.open("/lake/x"), mode="w"), "gzip") as file:
        file.write(b"x")
        raise Stop


def by_parquet_writer(fs: LoneFileSystem) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with pq.ParquetWriter(pa.PythonFile(fs.client.writes.open("/lake/x"), mode="w"), table.schema) as file:
        file.write_table(table)
        raise Stop


def by_stacked_arrow(fs: LoneFileSystem) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with (
        pa.PythonFile(fs.client.writes.open("/lake/x"), mode="w") as stream,
        pa.ipc.new_file(stream, table.schema) as file,
    ):
        file.write_table(table)
        raise Stop


def by_zip(fs: LoneFileSystem) -> None:
    with fs.open("/lake/x", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "x")
        raise Stop


def by_pandas(fs: LoneFileSystem) -> None:
    frame = pd.DataFrame({"a": ["y" * 50] * 20_000 + [Unprintable()]})
    with OpenFile(fs, "/lake/x", "w") as file:
        frame.to_csv(file)


def by_text_above(fs: LoneFileSystem) -> None:
    with io.TextIOWrapper(fs.open("/lake/x", "wb")) as file:
        file.write("x")
        raise Stop


def by_gzip_above(fs: LoneFileSystem) -> None:
    with fs.open("/lake/x", "wb") as below, gzip.open(below, "wb") as file:
        file.write(b"x")
        raise Stop


def by_transaction(fs: LoneFileSystem) -> None:
    with fs.transaction, OpenFile(fs, "/lake/x", "wb") as file:
        file.write(b"x")
        raise Stop


def by_part_of_a_transaction(fs: LoneFileSystem) -> None:
    with fs.transaction:
        by_open_file(fs)


def by_transaction_of_whole_files(fs: LoneFileSystem) -> None:
    with fs.transaction:
        fs.open("/lake/x", "wb", compression="gzip").close()
        raise Stop


CUT_OFF: list[Callable[[LoneFileSystem], None]] = [
    by_itself,
    by_open_file,
    by_exit_stack,
    by_closing,
    by_context_manager,
    by_arrow,
    by_compressed_arrow,
    by_parquet_writer,
    by_stacked_arrow,
    by_zip,
    by_pandas,
    by_text_above,
    by_gzip_above,
    by_transaction,
    by_part_of_a_transaction,
    by_transaction_of_whole_files,
]


@pytest.mark.parametrize("call", CUT_OFF)
def test_what_an_exception_cuts_off_leaves_nothing(
    lake: Path, fs: LoneFileSystem, call: Callable[[LoneFileSystem], None]
) -> None:
    """Through whatever closes the file on the way out; an older file stays."""
    with pytest.raises(Stop):
        call(fs)
    assert [] == visible(lake)
    (lake / "x").write_bytes(b"older")
    with pytest.raises(Stop):
        call(fs)
    assert ["x"] == visible(lake)
    assert b"older" == (lake / "x").read_bytes()


@pytest.mark.parametrize("call", [by_itself, by_open_file])
@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_what_is_cut_off_compressed_leaves_nothing(
    lake: Path, fs: LoneFileSystem, call: Callable[..., None], mode: str, compression: str | None
) -> None:
    """In text mode, too; and nothing is said by what is collected afterwards (warnings are errors here)."""
    with pytest.raises(Stop):
        call(fs, mode, compression)
    assert [] == visible(lake)


@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_what_nobody_closes_leaves_nothing(lake: Path, fs: LoneFileSystem, mode: str, compression: str | None) -> None:
    """A file object that is dropped."""
    file = fs.open("/lake/x", mode, compression=compression)
    file.write(b"x" * 100_000 if "b" in mode else "x" * 100_000)
    del file
    assert [] == visible(lake)


def test_what_is_written_because_of_an_exception_is_there(lake: Path, fs: LoneFileSystem) -> None:
    """A report written while an exception is handled, also by what leaves a `with` block; a file that is closed on purpose."""

    class Reporting:
        def __enter__(self) -> None: ...

        def __exit__(self, *_error: object) -> None:
            with OpenFile(fs, "/lake/report", "w") as report:
                report.write("failed")

    with contextlib.suppress(Stop), Reporting():
        raise Stop
    unfinished = fs.open("/lake/unfinished", "wb")
    try:
        unfinished.write(b"half")
        raise Stop
    except Stop:
        with OpenFile(fs, "/lake/handled", "w") as handled:
            handled.write("x")
        with fs.open("/lake/too.gz", "w", compression="gzip") as handled:
            handled.write("x")
        unfinished.close()
    assert ["handled", "report", "too.gz", "unfinished"] == visible(lake)


def test_a_block_whose_exception_is_caught_inside_ends_well(lake: Path, fs: LoneFileSystem) -> None:
    """Only what leaves the block counts."""
    with OpenFile(fs, "/lake/x", "wb") as file:
        with contextlib.suppress(Stop):
            raise Stop
        file.write(b"x")
    assert ["x"] == visible(lake)


class FullDisk(WholeFile):
    """Takes so many bytes, and counts how it ends."""

    def __init__(self, room_bytes: int) -> None:
        super().__init__("full")
        self.room_bytes = room_bytes
        self.ends: list[str] = []

    def _append(self, view: memoryview) -> None:
        if len(view) > self.room_bytes:
            raise OSError(28, "full")
        self.room_bytes -= len(view)

    def _publish(self) -> None:
        self.ends.append("published")

    def _drop(self) -> None:
        self.ends.append("dropped")


def test_a_file_that_failed_to_take_bytes_is_given_up() -> None:
    """Once, at once; closing it then is harmless; what it cannot take at all changes nothing."""
    file = FullDisk(5)
    file.write(b"123")
    with pytest.raises(TypeError):
        file.write("text")  # type: ignore[arg-type]
    file.write(b"45")
    with pytest.raises(OSError, match="full"):
        file.write(b"6")
    assert file.closed
    file.close()
    file.abort()
    assert ["dropped"] == file.ends
