"""Opens the journal that the setting names, and begins it: what earlier masters wrote, and this one's start."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from raycache import paths
from raycache.errors import ConflictError, InvalidRequestError, RaycacheError
from raycache.master.journal.file_journal import FILE_NAME, FileJournal
from raycache.master.journal.records import NOBODY, Journal, Record
from raycache.master.journal.ufs_journal import UfsJournal

_log = logging.getLogger(__name__)


class Beginning(NamedTuple):
    """What a master begins with."""

    #: Of earlier masters; and, last, this one's start, whether or not it could be written.
    records: list[Record]
    #: Why nothing can be written; "" where it can.
    problem: str
    #: What was kept beside the records; see `Journal.kept`.
    kept: Record | None


def open_journal(location: str, owner: str = NOBODY) -> Journal:
    """The journal at a place; nothing is read or written yet.

    Args:
        location: a directory of this machine, or a UFS URI to put objects below; credentials are the environment's.
        owner: the incarnation of the master that will write: its cache's id, a dot, and its number.

    Raises:
        InvalidRequestError: no location, or not one.
        UnavailableError, DeniedError: the store cannot be opened.
    """
    if not location:
        raise InvalidRequestError("setting journal is empty; give a directory of the head node, or a URI")
    if "://" in location:
        from raycache.ufs.open import open_storage

        root_uri, key = paths.split_uri(paths.normalise(location))
        return UfsJournal(open_storage(root_uri, {}), key, owner)
    return FileJournal(Path(location).expanduser() / FILE_NAME, owner)


def begin(journal: Journal, cache_id: str, start_ns: int) -> Beginning:
    """Take a journal over, and write down that a master has started.

    What can be read but not written is enough to begin with: the master answers, and refuses changes.

    Raises:
        ConflictError: it belongs to another cache, which lives.
        UnavailableError, DeniedError, InvalidRequestError: it cannot be read.
    """
    problem = ""
    try:
        journal.claim()
    except ConflictError:
        raise
    except RaycacheError as error:
        problem = str(error)
    records = journal.replay()
    for line in journal.damage:
        _log.error("%s", line)
    start: Record = {"op": "start", "start_ns": start_ns, "cache_id": cache_id}
    try:
        journal.append(start)
    except ConflictError:
        raise
    except RaycacheError as error:
        problem = str(error)
    try:
        kept = journal.kept()
    except RaycacheError as error:  # counts must not keep a cache from starting: it goes on without them
        _log.warning("what the master before had counted cannot be read: %s", error)
        kept = None
    return Beginning([*records, start], problem, kept)
