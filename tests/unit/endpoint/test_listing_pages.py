"""Pages of listings, compared with the plainest way to cut them."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from raycache.endpoint.protocol.listing_pages import SortedKeys
from raycache.messages import ListedRow
from raycache.types import FileKind

KEYS = st.lists(st.text("ab/.\U0001f600", min_size=1, max_size=6), unique=True, max_size=30)


def entries(keys: list[str], prefix: str, delimiter: str, after: str) -> list[str]:
    """Keys and common prefixes behind `after`, as the API reference words it."""
    found: dict[str, None] = {}
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = key[: end + len(delimiter)] if end >= 0 else key
        if entry > after:
            found[entry] = None
    return list(found)


@given(
    KEYS,
    st.text("ab/", max_size=3),
    st.sampled_from(["", "/", "a", "ab"]),
    st.text("ab/.", max_size=4),
    st.integers(1, 5),
)
@example(["a/b", "a/c", "b"], "", "/", "a/", 1)
@example(["a/b", "a/c", "b"], "", "/", "a/b", 5)
def test_pages_are_those_of_the_plain_way(
    keys: list[str], prefix: str, delimiter: str, after: str, keys_max: int
) -> None:
    """Whatever the delimiter and the start; page after page gives each entry once, in order."""
    rows = SortedKeys([(key, ListedRow(key, FileKind.FILE, 1, "", 0)) for key in keys])
    found: list[str] = []
    following = after
    while True:
        page = rows.page(prefix, delimiter, following, keys_max)
        assert len(page.objects) + len(page.prefixes) <= keys_max
        found += sorted([key for key, _ in page.objects] + page.prefixes, key=str.encode)
        if not page.next_after:
            break
        following = page.next_after
    assert entries(keys, prefix, delimiter, after) == found
