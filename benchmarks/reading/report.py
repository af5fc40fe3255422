"""How results are shown: JSON, a section of Markdown, and a picture of relative bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from benchmarks.measure import Bar, Finding, Target, findings, head, ratio_rows, table

_LEFT, _BARS, _ROW, _WIDTH = 230, 420, 18, 760
_STARTED_S = time.monotonic()
_OURS, _LIMIT, _OTHERS = "#1f77b4", "#7f7f7f", "#d9a441"


class Section(NamedTuple):
    """The targets of one workload, side by side."""

    key: str
    title: str
    unit: str
    targets: list[Target]
    bars: Sequence[Bar] = ()
    #: Whose speed is 1 in the table.
    base: str = "local files"

    def verdicts(self) -> list[dict[str, Any]]:
        return ratio_rows(self.targets, self.bars)


class Results(NamedTuple):
    """Everything that one run measured."""

    sections: list[Section]
    found: list[Finding]
    notes: list[str]

    def met(self) -> bool:
        """Whether every bar was kept."""
        rows = [row for section in self.sections for row in section.verdicts()]
        return all(row["met"] for row in rows) and all(finding.met is not False for finding in self.found)


def markdown(results: Results, command: str) -> str:
    """The section of `docs/measured.md`: machine, verdicts, a table of each workload, and the picture."""
    lines = [
        head("Reading, side by side", command, results.notes).rstrip("\n"),
        "",
        "### What must be shown",
        "",
        "| workload | compared | measured | bound | |",
        "|---|---|---:|---:|---|",
    ]
    for section in results.sections:
        for row in section.verdicts():
            verdict = "met" if row["met"] else "NOT met"
            measured = f"{row['ratio']:,.2f}x" if " / " in row["what"] else f"{row['ratio']:,.0f}/s"
            lines.append(f"| {section.title} | {row['what']} | {measured} | {row['bound']} | {verdict} |")
    lines.append("")
    lines += [table(section.title, section.unit, section.targets, base=section.base) for section in results.sections]
    if results.found:
        lines += ["### Figures", "", findings(results.found)]
    return "\n".join([*lines, "![relative speeds](images/reading.svg)", ""])


def picture(sections: Sequence[Section]) -> str:
    """An SVG: for each workload one bar a target, the longest is the fastest."""
    shapes: list[str] = []
    y = 10
    for section in sections:
        y += 22
        shapes.append(f'<text x="8" y="{y}" font-weight="bold">{escape(section.title)}</text>')
        top = max(target.rate for target in section.targets)
        for target in section.targets:
            y += _ROW
            width = max(1.0, _BARS * target.rate / top)
            colour = _OURS if target.name.startswith("raycache") else _OTHERS
            colour = _LIMIT if target.name.startswith("local") else colour
            shapes.append(f'<text x="{_LEFT - 8}" y="{y + 9}" text-anchor="end">{escape(target.name)}</text>')
            shapes.append(f'<rect x="{_LEFT}" y="{y - 2}" width="{width:.1f}" height="13" fill="{colour}"/>')
            figure = f"{target.rate:,.0f}" if top >= 100 else f"{target.rate:,.2f}"
            shapes.append(f'<text x="{_LEFT + width + 6:.1f}" y="{y + 9}">{figure} {escape(section.unit)}/s</text>')
        y += 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 10}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *shapes, "</svg>"]) + "\n"


def content(results: Results) -> dict[str, Any]:
    """Everything, with every single run, for JSON."""
    return {
        "notes": results.notes,
        "sections": [
            {
                "key": section.key,
                "title": section.title,
                "unit": section.unit,
                "targets": [{"name": target.name, "runs": target.runs} for target in section.targets],
                "bars": section.verdicts(),
            }
            for section in results.sections
        ],
        "findings": [finding._asdict() for finding in results.found],
    }


def say(text: str) -> None:
    """Tell whoever waits, with the seconds since the start."""
    print(f"{elapsed_s():6.1f} s  {text}", file=sys.stderr, flush=True)


def elapsed_s() -> float:
    """Since the benchmark was started."""
    return time.monotonic() - _STARTED_S
