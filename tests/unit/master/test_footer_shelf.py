"""Tables of footers: found by any of their files, bounded, the least lately wanted gone first."""

from __future__ import annotations

from raycache.master.footer_shelf import FooterShelf


def keys(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(16, "big") for number in numbers)


def test_a_table_is_found_by_each_of_its_files_and_given_once() -> None:
    """Whichever files are asked for."""
    shelf = FooterShelf()
    shelf.keep(keys(1, 2), b"first")
    shelf.keep(keys(3), b"second")
    assert [b"first"] == shelf.find(keys(2, 9, 1))
    assert [b"second", b"first"] == shelf.find(keys(3, 1))
    assert [] == shelf.find(keys(9))


def test_the_newer_table_of_a_file_is_given() -> None:
    """The older one still speaks of its other files."""
    shelf = FooterShelf()
    shelf.keep(keys(1, 2), b"old")
    shelf.keep(keys(2), b"new")
    assert [b"new"] == shelf.find(keys(2))
    assert [b"old"] == shelf.find(keys(1))


def test_what_was_wanted_least_lately_goes_first() -> None:
    """Asking for a table keeps it."""
    shelf = FooterShelf(bytes_max=3_000)
    shelf.keep(keys(1), b"a" * 1_000)
    shelf.keep(keys(2), b"b" * 1_000)
    shelf.find(keys(1))
    shelf.keep(keys(3), b"c" * 1_000)
    assert [b"a" * 1_000, b"c" * 1_000] == shelf.find(keys(1, 2, 3))
    assert shelf.used_bytes <= 3_000


def test_a_table_that_came_later_is_found_after_the_older_one_went() -> None:
    """Removing a table forgets no file that another one speaks of."""
    shelf = FooterShelf(bytes_max=2_500)
    shelf.keep(keys(1), b"a" * 1_000)
    shelf.keep(keys(1), b"b" * 1_000)
    shelf.keep(keys(2), b"c" * 1_000)
    assert [b"b" * 1_000] == shelf.find(keys(1))


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out() -> None:
    """One giant does not empty the shelf."""
    shelf = FooterShelf(bytes_max=1_500)
    shelf.keep(keys(1), b"a")
    shelf.keep(keys(2), b"b" * 2_000)
    assert ([b"a"], []) == (shelf.find(keys(1)), shelf.find(keys(2)))


def test_many_files_count_although_their_table_is_short() -> None:
    """What it takes to find tables is bounded, too."""
    shelf = FooterShelf(bytes_max=100_000)
    for start in range(0, 10_000, 100):
        shelf.keep(keys(*range(start, start + 100)), b"")
    assert shelf.used_bytes <= 100_000
    assert 0 < len(shelf._table_of) <= 1_000
