"""`make bench-docs`: put what was measured into `docs/measured.md`, and four of its figures into the README. Measures nothing.

Each workload of `python -m benchmarks` leaves its section of the page in `benchmarks/results/`. The page has the sections of
all workloads; one that was not run again stays as it is. So figures stand in one place, with the command that measured them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
PAGE, README, PICTURE = ROOT / "docs/measured.md", ROOT / "README.md", ROOT / "docs/images/reading.svg"

#: Workloads, in the order of their sections. "by_hand" has no command and stays as it is.
ORDER = (
    "reading",
    "epochs",
    "hosts",
    "locality",
    "load",
    "sync",
    "scale",
    "endpoint",
    "overhead",
    "dashboard",
    "by_hand",
)
_HEAD = """# Measured

All figures stand on this page, each below the command that measured it. `make bench-docs` writes it from what the benchmarks
have left; [benchmarks](benchmarks.md) says how they measure.

"""
_SECTION = re.compile(r"^<!-- section: (\w+) -->\n", re.MULTILINE)
_FIGURES = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


class Figure(NamedTuple):
    """One row of the README's table: cells of the page, and the command that measures them."""

    what: str
    #: With a `{}` for each cell.
    text: str
    #: (section, heading of the table or "", label of the row, column).
    cells: tuple[tuple[str, str, str, str], ...]
    command: str


_SMALL = "100 KB files in random order, batches of 256"
FIGURES = (
    Figure(
        "Files of 100 KB, warm, in random order",
        "{}/s, {}x of local files",
        (("reading", _SMALL, "raycache", "files/s"), ("reading", _SMALL, "raycache", "x of local files")),
        "make bench-full",
    ),
    Figure(
        "Ray Data over parquet, warm, three nodes",
        "{} MB/s, {}x of local files",
        (
            ("epochs", "Speeds", "raycache warm", "MB/s"),
            ("epochs", "Speeds", "raycache warm", "x of local files"),
        ),
        "make bench-full",
    ),
    Figure(
        "Tasks, bytes on the node that has the file",
        "{}; scheduled by Ray {}",
        (
            ("locality", "", "3 nodes, raycache.read_parquet, warm: tasks, bytes local", "measured"),
            ("locality", "", "3 nodes, Ray's scheduling, warm: tasks, bytes local", "measured"),
        ),
        "make bench-locality",
    ),
    Figure(
        "Bytes out of S3 / bytes loaded, with readers",
        "{}",
        (("load", "", "32 files of 62.5 MB, with readers: bytes out of S3", "measured"),),
        "make bench-load",
    ),
)


def sections(page: str) -> dict[str, str]:
    """The text of each section by its workload."""
    parts = _SECTION.split(page)[1:]
    return {name: text.strip("\n") + "\n" for name, text in zip(parts[::2], parts[1::2], strict=True)}


def assemble(page: str, found: Mapping[str, str]) -> str:
    """The page with the sections that were found; the others as they stand."""
    kept = {**sections(page), **found}
    texts = {name: kept[name].strip("\n") for name in ORDER if name in kept}
    return _HEAD + "\n".join(f"<!-- section: {name} -->\n{text}\n" for name, text in texts.items())


def cell(page: str, section: str, heading: str, row: str, column: str) -> str:
    """One cell of a table of the page.

    Raises:
        KeyError: there is no such cell.
    """
    text = sections(page)[section]
    if heading:
        text = text.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    columns: list[str] = []
    for line in text.splitlines():
        cells = [part.strip() for part in line.strip("|").split("|")] if line.startswith("|") else []
        if column in cells:
            columns = cells
        elif columns and cells[:1] == [row]:
            return cells[columns.index(column)]
    raise KeyError(
        f"docs/measured.md, section {section}: no row {row!r} with {column!r}; run the whole benchmark again"
    )


def figures(page: str) -> str:
    """The table of the README, from the page."""
    rows = (f"| {f.what} | {f.text.format(*(cell(page, *at) for at in f.cells))} | `{f.command}` |" for f in FIGURES)
    return "\n".join(["| | measured | by |", "|---|---|---|", *rows]) + "\n"


def fill(readme: str, table: str) -> str:
    """The README with this table between its markers."""
    return _FIGURES.sub(lambda match: f"{match[1]}{table}{match[2]}", readme)


def main() -> None:
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(RESULTS.glob("*.md"))}
    page = assemble(PAGE.read_text(encoding="utf-8"), found)
    PAGE.write_text(page, encoding="utf-8")
    README.write_text(fill(README.read_text(encoding="utf-8"), figures(page)), encoding="utf-8")
    if (RESULTS / "reading.svg").exists():
        shutil.copy(RESULTS / "reading.svg", PICTURE)
    print(f"docs/measured.md: {', '.join(name for name in ORDER if name in found) or 'nothing'} measured since")


if __name__ == "__main__":
    main()
