"""Listings of S3 stores that misbehave: complete, or an error; and every key as it is."""

from __future__ import annotations

import itertools
from urllib.parse import quote, quote_plus

import pytest

from raycache.errors import UnavailableError
from raycache.ufs.s3.storage import S3Storage
from tests.support.exact_s3 import Manners
from tests.support.s3_wire import Wire

KEYS = [f"n/{number}" for number in range(7)]
#: What some encoder, or some decoder, changes.
ODD_KEYS = ["s/a b", "s/a%20b", "s/a%2Bb", "s/a%2bb", "s/a+b", "s/a%25", "s/dt=2024-01-01 00%3A00", "s/e\u0301", "s/ü"]


def keys_of(storage: S3Storage, prefix: str, limit: int = 2) -> list[str]:
    """All keys, by the tokens that come; no listing here has more than 20 pages."""
    keys: list[str] = []
    token = None
    for _ in range(20):
        page = storage.list(prefix, token=token, limit=limit)
        assert page.objects or page.next_token is None
        keys += [info.key for info in page.objects]
        token = page.next_token
        if token is None:
            return keys
    raise AssertionError("the listing does not end")


@pytest.fixture
def full(wire: Wire) -> Wire:
    for key in KEYS:
        wire.server.lake.put(key, b"x")
    wire.storage = wire.open()
    return wire


class TestCompleteness:
    def test_truncated_without_a_token(self, full: Wire) -> None:
        """A page that says that there is more, and not how to ask for it, is no end of a listing."""
        full.server.manners = Manners(gives_token=lambda token: None)
        with pytest.raises(UnavailableError, match="does not say how to ask"):
            keys_of(full.storage, "n/")
        assert keys_of(full.storage, "n/", limit=7) == KEYS

    def test_the_same_token_again(self, full: Wire) -> None:
        """A token that leads to itself is an error, not a listing without an end."""
        full.server.manners = Manners(gives_token=lambda token: "t", hears_token=lambda token: "n/1")
        with pytest.raises(UnavailableError, match="same continuation token"):
            keys_of(full.storage, "n/")

    def test_a_token_that_is_not_heard(self, full: Wire) -> None:
        """The first page again and again, with ever new tokens, is an error, too."""
        numbers = itertools.count()
        full.server.manners = Manners(gives_token=lambda token: f"t{next(numbers)}", hears_token=lambda token: None)
        with pytest.raises(UnavailableError, match="same keys again"):
            keys_of(full.storage, "n/")

    @pytest.mark.parametrize("limit", [1, 3])
    @pytest.mark.parametrize("start_after", ["", "n/1"])
    def test_empty_pages(self, full: Wire, limit: int, start_after: str) -> None:
        """An empty page with a token is no end, and no empty directory: it is asked on."""
        full.server.manners = Manners(empty_pages=3)
        first = full.storage.list("n/", limit=limit, start_after=start_after)
        assert first.objects[0].key == ("n/2" if start_after else "n/0")
        assert keys_of(full.storage, "n/", limit) == KEYS
        assert full.storage.list("", delimiter=True, limit=limit).prefixes[0] == "a/"
        assert full.storage.list("nothing/").next_token is None

    def test_no_listing(self, full: Wire) -> None:
        """An answer that is no listing is no empty listing."""
        full.server.failures.extend([(200, "Whatever")] * 4)
        with pytest.raises(UnavailableError):
            full.storage.list("")

    def test_its_price(self, full: Wire) -> None:
        """A listing costs one request a page, whatever keys people have who have no spaces and no pluses in them."""
        for key in ("year=2024/month=1/x", "day=2024-01-01T00:00:00Z/ü"):
            full.server.lake.put(key, b"x")
        full.asked()
        assert len(keys_of(full.storage, "", limit=2)) == 11
        assert full.asked() == {"LIST": 6}


class TestSpelling:
    @pytest.mark.parametrize("says_encoded", [True, False])
    @pytest.mark.parametrize("spells_keys", [quote_plus, quote, lambda key: quote(key, safe="/+$&=:@"), str])
    def test_whatever_it_says(self, full: Wire, spells_keys: object, says_encoded: bool) -> None:
        """Keys arrive as they are, however a store spells them and whatever it says of that."""
        full.server.manners = Manners(spells_keys=spells_keys, says_encoded=says_encoded)
        for key in ODD_KEYS:
            full.server.lake.put(key, b"x")
            for prefix in ("s/", "", key[:3], key):  # what it is first asked decides what it learns first
                assert keys_of(full.open(), prefix, limit=20) == sorted(
                    info.key for info in full.server.lake.list(prefix).objects
                )
            full.server.lake.delete([key])
        for key in ODD_KEYS:
            full.server.lake.put(key, b"x")
        assert keys_of(full.open(), "s/", limit=3) == sorted(ODD_KEYS)

    @pytest.mark.parametrize("spells_keys", [quote_plus, lambda key: quote(key, safe="/+$&=:@"), str])
    def test_directories(self, full: Wire, spells_keys: object) -> None:
        """Names of directories are spelled as keys are."""
        for name in ("p/a b/x", "p/a+b/x", "p/a%20b/x", "p/a%2Fb/x"):
            full.server.lake.put(name, b"x")
        full.server.manners = Manners(spells_keys=spells_keys)
        page = full.open().list("p/", delimiter=True)
        assert page.prefixes == ["p/a b/", "p/a%20b/", "p/a%2Fb/", "p/a+b/"]

    def test_asked_once(self, full: Wire) -> None:
        """What a store means by a plus is found out once."""
        full.server.lake.put("p/a+b", b"x")
        full.server.lake.put("p/a b", b"x")
        storage = full.open()
        full.asked()
        for _ in range(3):
            assert keys_of(storage, "p/", limit=10) == ["p/a b", "p/a+b"]
        assert full.asked()["LIST"] <= 3 + 2
