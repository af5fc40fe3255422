"""`docs/measured.md` is put together from what benchmarks left; the README shows four figures of it."""

from __future__ import annotations

import re

import pytest

from benchmarks import measured
from benchmarks.measure import Finding, findings, head

PAGE = measured.assemble(
    "",
    {
        "sync": head("Sync", "python -m benchmarks sync") + findings([Finding("time", "1.4 s")]),
        "reading": "## Reading\n\n### Small\n\n| target | files/s |\n|---|---:|\n| raycache | 1 |\n\n### Large\n\n"
        "| target | MB/s | share |\n|---|---:|---:|\n| raycache | 2 | 3.0 |\n",
    },
)


def test_a_section_that_was_measured_again_is_replaced_and_the_others_stay() -> None:
    """Every section stands once, in the same order whatever was measured; one that was not measured stays, word for word."""
    page = measured.assemble(PAGE, {"reading": "## Reading, later\n", "load": "## Loads\n\n\n"})
    assert ["reading", "load", "sync"] == re.findall(r"section: (\w+)", page)
    assert {**measured.sections(PAGE), "reading": "## Reading, later\n", "load": "## Loads\n"} == measured.sections(
        page
    )
    assert measured.assemble(page, {}) == page


def test_what_is_no_section_is_left_out() -> None:
    """A stray file among the results does not get onto the page."""
    assert measured.assemble(PAGE, {"notes": "## Notes\n"}) == PAGE


def test_a_section_says_its_command_and_machine() -> None:
    """Each figure stands below the command that measured it."""
    text = measured.sections(PAGE)["sync"]
    assert "`python -m benchmarks sync`" in text
    assert "cores" in text.partition("Machine: ")[2].partition("\n")[0]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (("reading", "Small", "raycache", "files/s"), "1"),
        (("reading", "Large", "raycache", "share"), "3.0"),
        (("sync", "", "time", "measured"), "1.4 s"),
    ],
)
def test_a_cell_is_found_by_section_table_row_and_column(at: tuple[str, str, str, str], expected: str) -> None:
    """Rows of the same name in other tables are not taken for it."""
    assert measured.cell(PAGE, *at) == expected


@pytest.mark.parametrize(
    "at", [("reading", "Small", "raycache", "MB/s"), ("sync", "", "speed", "measured"), ("load", "", "x", "measured")]
)
def test_a_missing_cell_is_an_error(at: tuple[str, str, str, str]) -> None:
    """The README never shows a figure that the page does not have."""
    with pytest.raises(KeyError):
        measured.cell(PAGE, *at)


def test_the_page_is_as_the_tool_writes_it() -> None:
    """`make bench-docs` changes nothing when nothing was measured."""
    page = measured.PAGE.read_text(encoding="utf-8")
    assert measured.assemble(page, {}) == page


def test_the_readme_shows_the_figures_of_the_page() -> None:
    """Its four figures are those of the page, and no others are between its markers."""
    table = measured.figures(measured.PAGE.read_text(encoding="utf-8"))
    readme = measured.README.read_text(encoding="utf-8")
    assert measured.fill(readme, table) == readme
    assert f"<!-- figures -->\n{table}<!-- end of figures -->" in readme
