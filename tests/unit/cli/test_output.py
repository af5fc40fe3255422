"""What the command line shows: sizes, times, shares, tables."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycache.cli.output import Column, Output, human_bytes, human_seconds, percent, printable
from raycache.settings import parse_size


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (200 << 30, "200.0 GiB"),
        (5000 << 40, "5000.0 TiB"),
        (12.6, "13 B"),
    ],
)
def test_sizes_have_one_decimal_and_the_largest_unit_below_them(size_bytes: float, expected: str) -> None:
    """A size is shown in the unit that makes it at least 1 and less than 1,000."""
    assert expected == human_bytes(size_bytes)


@given(st.integers(0, 1 << 50))
def test_a_shown_size_can_be_typed_again(size_bytes: int) -> None:
    """What the program prints as a size, its options read, to within the digits shown."""
    assert abs(parse_size(human_bytes(size_bytes)) - size_bytes) <= max(1, size_bytes * 0.05)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 m 00 s"),
        (59.99, "60.0 s"),
        (3661, "1 h 01 m"),
        (90000, "1 d 01 h"),
    ],
)
def test_durations_have_two_units(seconds: float | None, expected: str) -> None:
    """A duration is shown in at most two units."""
    assert expected == human_seconds(seconds)


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(0, 0, "-"), (0, 5, "0.0%"), (9999, 10000, "99.9%"), (5, 5, "100.0%")]
)
def test_a_share_of_100_percent_means_all(part: int, whole: int, expected: str) -> None:
    """Shares are rounded down, so that nothing incomplete reads 100.0%."""
    assert expected == percent(part, whole)


def test_names_cannot_drive_the_terminal() -> None:
    """Control characters of a key are shown as escapes, other scripts as they are."""
    assert printable("\x1b[2Jü 水\n\udcff") == "\\x1b[2Jü 水\\n\\udcff"


@pytest.mark.parametrize("terminal", [False, True])
def test_markup_in_names_is_shown_as_it_is(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that looks like rich's markup or like an emoji is shown letter by letter."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    Output().table([Column("Path")], [["/lake/[bold]x[/bold]:smile:"]])
    assert "/lake/[bold]x[/bold]:smile:" in capsys.readouterr().out


def test_text_for_programs_has_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal nothing is wrapped or cut, however long, and no blanks trail."""
    Output().table([Column("N", right=True), Column("Path")], [["1", "x" * 500], ["22", "y"]])
    assert f" N  Path\n 1  {'x' * 500}\n22  y\n" == capsys.readouterr().out


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_narrow_terminal_gets_more_tables_rather_than_cut_numbers(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number is whole, next to its name, whatever the width; a long text is folded."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    columns = [Column("Node"), *(Column(f"Number {index}", right=True) for index in range(6)), Column("Path")]
    names = ("first", "second")
    rows = [[name, *(str(10**index * 7) for index in range(6)), "/lake/" + "x" * 60] for name in names]
    Output().table(columns, rows)
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = out.splitlines()
    assert all(len(line) <= width for line in lines)
    for name in names:
        shown = [word for line in lines if line.strip().startswith(name) for word in line.split()[1:]]
        assert [row for row in shown if row.isdigit()] == [str(10**index * 7) for index in range(6)]
    assert 120 == out.count("x")
    assert (1 if width == 200 else 2) <= sum("Node" in line for line in lines)
