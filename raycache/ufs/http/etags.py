"""What stores' answers say of an object's version, in one spelling."""

from __future__ import annotations

from datetime import MINYEAR, datetime

from raycache.types import clamp_ns

_NS_PER_S = 1_000_000_000


def quoted(etag: str | None) -> str:
    """The etag in quotes, without the mark of a weak one; "" when there is none.

    Stores quote etags or not, call them weak or not, and differ in that between a listing, a HEAD and a GET. Proxies call
    one weak because they might have compressed the body; it still names the object's bytes.
    """
    if not etag:
        return ""
    if etag[0] == '"' == etag[-1]:
        return etag
    etag = etag.strip()
    return f'"{etag.removeprefix("W/").removeprefix("w/").strip(chr(34))}"'


def seconds_ns(moment: datetime | None) -> int | None:
    """Nanoseconds since the epoch, whole seconds: the only part that a listing and a HEAD agree on.

    None where there is none: some stores say the year 1 where they do not know.
    """
    if moment is None or moment.year == MINYEAR:
        return None
    return clamp_ns(int(moment.timestamp()) * _NS_PER_S)
