"""A listing as rows: what it has, and the directories that its names only imply."""

from __future__ import annotations

from raycache.messages import ListedRow, ListReply
from raycache.types import FileKind, FileVersion

FILE, DIRECTORY = FileKind.FILE, FileKind.DIRECTORY


def listing(*names: str) -> ListReply:
    count = len(names)
    sizes = list(range(count))
    return ListReply(list(names), [FILE] * count, sizes, ["e"] * count, [7] * count, "s3://bucket/d", 1.0)


def test_rows_are_the_columns_turned() -> None:
    """One row an entry, in their order; an entry's version has its URI."""
    reply = listing("a", "b c")
    assert [ListedRow("a", FILE, 0, "e", 7), ListedRow("b c", FILE, 1, "e", 7)] == list(reply.rows())
    assert FileVersion("s3://bucket/d/b c", 1, "e", 7) == reply.version(list(reply.rows())[1])


def test_implied_directories_come_first_and_once() -> None:
    """A name that is a file is none, even if something is below it."""
    rows = list(listing("a", "a/x", "d/e/f", "d/e/g", "d/h").rows(implied=True))
    assert [("d/e", DIRECTORY), ("d", DIRECTORY)] == [(row.name, row.kind) for row in rows[:2]]
    assert ["a", "a/x", "d/e/f", "d/e/g", "d/h"] == [row.name for row in rows[2:]]
