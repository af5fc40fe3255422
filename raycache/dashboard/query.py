"""What a browser asks for: one view, sorted, filtered, one page of it. Everything out of bounds is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from raycache.errors import InvalidRequestError

VIEWS = ("overview", "nodes", "data", "kept", "jobs", "readers", "missed", "sizes")
ROWS_PER_PAGE = 50
TEXT_LENGTH_MAX = 200
PATH_LENGTH_MAX = 2_000
_PAGES_MAX = 1_000_000


class Query(NamedTuple):
    """One view of the page."""

    view: str = "overview"
    #: The name of a column; empty: as the view likes it.
    sort: str = ""
    descending: bool = False
    #: From 0.
    page: int = 0
    #: Only rows that contain this, in any case.
    text: str = ""
    #: Of a directory, for the view `data`.
    path: str = "/"


def read_query(parameters: Mapping[str, str]) -> Query:
    """Read the parameters of a request.

    Raises:
        InvalidRequestError: an unknown parameter or view, a bad number, a text that is too long.
    """
    unknown = sorted(set(parameters) - {"view", "sort", "desc", "page", "q", "path"})
    if unknown:
        raise InvalidRequestError(f"unknown parameter {unknown[0][:40]!r}; known are view, sort, desc, page, q, path")
    view = parameters.get("view", "overview")
    if view not in VIEWS:
        raise InvalidRequestError(f"unknown view {view[:40]!r}; known are {', '.join(VIEWS)}")
    page = parameters.get("page", "0")
    if not (page.isascii() and page.isdigit() and len(page) <= 7 and int(page) < _PAGES_MAX):
        raise InvalidRequestError("parameter page must be a number, 0 or more")
    descending = parameters.get("desc", "0")
    if descending not in ("0", "1"):
        raise InvalidRequestError("parameter desc must be 0 or 1")
    for name, limit in (("sort", 40), ("q", TEXT_LENGTH_MAX), ("path", PATH_LENGTH_MAX)):
        if len(parameters.get(name, "")) > limit:
            raise InvalidRequestError(f"parameter {name} is longer than {limit} characters")
    path = parameters.get("path", "/")
    if "\0" in path:
        raise InvalidRequestError("parameter path is not a path")
    return Query(view, parameters.get("sort", ""), descending == "1", int(page), parameters.get("q", ""), path)
