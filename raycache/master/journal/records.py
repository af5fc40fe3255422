"""The format of a journal: lines of records, with checksums, a version and the name of who wrote them.

Theory of operation. A line is `2 <number> <owner> <hash> <JSON>`: the version of the format, the line's number in its file or
object, the incarnation of the master that wrote it, and the xxh3 of all of this. A line that does not fit its hash was being
written when the master died, if it is the last; elsewhere it is damage, and so is a number that is missing. Damage costs the
records it is in, never the master; but it is said (`Found.damage`). Lines of the first format, a hash and JSON, are read, too.

A journal of a newer format is not read at all: half understood, it would be worse than none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import xxhash

from raycache.errors import InvalidRequestError

Record: TypeAlias = dict[str, Any]

FORMAT = 2
#: Who writes without a name: tests, and tools.
NOBODY = "-"
_HASH_DIGITS = 16
_FIELDS = 5


class Found(NamedTuple):
    """What stands in a journal."""

    #: Whole records, in order.
    records: list[Record]
    #: What is lost or does not belong, a line each; a torn last line is none.
    damage: list[str]
    #: Of each record: who wrote it, `NOBODY` in the first format.
    owners: list[str]
    #: Whether the last line was being written when its writer died.
    torn: bool = False


class Journal(Protocol):
    """What all journals promise. One process writes at a time; another that tries is refused (ConflictError)."""

    #: Where it is, for messages.
    place: str
    #: What `replay` found to be lost, a line each.
    damage: list[str]

    @property
    def wants_compaction(self) -> bool:
        """Whether so many records were appended since the last compaction that another is worth it."""
        ...

    def append(self, *records: Record) -> None:
        """Add records of JSON values, all or none; they are durable on return.

        Raises:
            UnavailableError, NoSpaceError, DeniedError: they are not written, as far as can be known.
            ConflictError: another cache writes here.
        """
        ...

    def replay(self) -> list[Record]:
        """All whole records, in order; `damage` says afterwards what was lost."""
        ...

    def look(self) -> Found:
        """What stands there; changes nothing, and may be called while another process writes."""
        ...

    def compact(self, records: Sequence[Record]) -> None:
        """Replace everything by these records: after a crash either the old or the new ones are there, whole."""
        ...

    def clear(self) -> None:
        """Remove everything, what is kept beside the records included."""
        ...

    def keep(self, record: Record) -> None:
        """Keep one record beside the others, in place of the one kept before; it need not survive the machine.

        Raises:
            UnavailableError, NoSpaceError, DeniedError: the one before is still there.
        """
        ...

    def kept(self) -> Record | None:
        """The record kept last; None when there is none that is whole."""
        ...

    def claim(self) -> None:
        """Become the one that writes here.

        Raises:
            ConflictError: another cache that lives does.
        """
        ...

    def release(self) -> None:
        """Let another one write."""
        ...


def line_of(record: Record, number: int, owner: str = NOBODY) -> bytes:
    """One record as a line."""
    text = json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=True)
    head = f"{FORMAT} {number} {owner or NOBODY}"
    digest = xxhash.xxh3_64_intdigest(f"{head} {text}".encode())
    return f"{head} {digest:0{_HASH_DIGITS}x} {text}\n".encode()


def parse(data: bytes, place: str) -> Found:
    """The whole records of some lines.

    Raises:
        InvalidRequestError: they are of a newer format.
    """
    records: list[Record] = []
    owners: list[str] = []
    damage: list[str] = []
    *lines, tail = data.split(b"\n")
    expected = 0
    for position, line in enumerate(lines, 1):
        read = _read(line, place)
        if read is None:
            damage.append(f"{place}: line {position} is damaged; what it said is lost")
            expected += 1
            continue
        number, owner, record = read
        if number is not None and number != expected:
            if number < expected:
                damage.append(f"{place}: line {position} is there twice, or out of order")
                continue
            damage.append(f"{place}: {number - expected} lines are missing before line {position}")
        expected = (expected if number is None else number) + 1
        records.append(record)
        owners.append(owner)
    return Found(records, damage, owners, torn=bool(tail))


def _read(line: bytes, place: str) -> tuple[int | None, str, Record] | None:
    """(number, owner, record) of a line; None when it does not fit its hash."""
    version, _, rest = line.partition(b" ")
    if len(version) == _HASH_DIGITS:  # of the first format
        whole = version.decode("ascii", "replace") == f"{xxhash.xxh3_64_intdigest(rest):0{_HASH_DIGITS}x}"
        return (None, NOBODY, json.loads(rest)) if whole else None
    fields = line.split(b" ", _FIELDS - 1)
    if len(fields) != _FIELDS or not (fields[0].isdigit() and fields[1].isdigit()):
        return None
    head, digest, text = b" ".join(fields[:3]), fields[3], fields[4]
    if digest.decode("ascii", "replace") != f"{xxhash.xxh3_64_intdigest(head + b' ' + text):0{_HASH_DIGITS}x}":
        return None
    if int(fields[0]) > FORMAT:
        raise InvalidRequestError(
            f"the journal {place} is of format {int(fields[0])}, and this version of raycache reads {FORMAT}; "
            "use the version that wrote it"
        )
    return int(fields[1]), fields[2].decode("ascii", "replace"), json.loads(text)
