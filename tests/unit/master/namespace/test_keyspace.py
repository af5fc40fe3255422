"""What is known of a store's keys, and how late or racing answers are kept from undoing newer knowledge."""

from __future__ import annotations

import pytest

from raycache.master.namespace import entries
from raycache.master.namespace.keyspace import CHANGES_MAX, Child, Coverage, Keyspace, Replaced
from raycache.types import FileKind
from raycache.ufs.base import ObjectInfo

_MD5 = '"0123456789abcdef0123456789abcdef"'


def _entry(size: int) -> bytes:
    return entries.pack(ObjectInfo("k", size, _MD5, 1))


def _tree(store: Keyspace, prefix: str, generation: int = 1, asked_s: float = 1.0, **keys: int) -> list[Replaced]:
    """Learn a listing of everything below a prefix; "__" in a name stands for "/"."""
    found = {prefix + key.replace("__", "/"): _entry(size) for key, size in keys.items()}
    return store.learn_tree(prefix, found, Coverage(generation, asked_s))


@pytest.mark.parametrize(
    "etag",
    [_MD5, _MD5[:-1] + '-12"', "", "plain", '"é漢"', _MD5.upper(), '"0123456789abcdef0123456789abcdef-x"', 'W/"1"'],
)
def test_an_entry_gives_back_what_was_packed(etag: str) -> None:
    """No size, etag or mtime is changed by packing."""
    info = ObjectInfo("k", 1 << 45, etag, 1_700_000_000_123_456_789)
    assert (info.size_bytes, info.etag, info.mtime_ns) == entries.unpack(entries.pack(info))


def test_a_marker_is_the_directory_entry() -> None:
    """Whatever a marker object holds, it is a directory."""
    assert entries.DIRECTORY == entries.pack(ObjectInfo("dir/", 5, _MD5, 1))


def test_what_was_listed_answers_for_everything_below() -> None:
    """After a complete listing, what is not in it is known to be missing."""
    store = Keyspace()
    _tree(store, "d/", a=1, x__y=2)
    kinds = [store.stat(key)[0] for key in ("d/a", "d/x", "d/x/y", "d/zz", "d/x/zz")]
    assert [FileKind.FILE, FileKind.DIRECTORY, FileKind.FILE, FileKind.MISSING, FileKind.MISSING] == kinds
    assert [1.0, 1.0, 1.0] == [store.known_since_s(key) for key in ("d/a", "d/x/y", "d/x/zz")]
    assert 1.0 == store.listed_since_s("d/x/", recursive=True)
    assert [None, None] == [store.known_since_s(key) for key in ("d", "e")]
    assert store.listed_since_s("", recursive=False) is None


def test_a_one_level_listing_answers_for_children_only() -> None:
    """Child directories are known to be there, not what is in them."""
    store = Keyspace()
    store.learn_level("d/", {"d/a": _entry(1)}, ["d/x/"], Coverage(1, 1.0))
    assert [Child("a", _entry(1)), Child("x", entries.DIRECTORY)] == list(store.children("d/"))
    assert 1.0 == store.known_since_s("d/x")
    assert store.known_since_s("d/x/y") is None
    assert store.listed_since_s("d/", recursive=True) is None
    assert store.listed_since_s("d/x/", recursive=False) is None


def test_children_are_found_in_one_level() -> None:
    """Names before and after the slash in sort order are told apart; an object beside its prefix is there twice."""
    store = Keyspace()
    _tree(store, "", **{"a": 1, "a!": 2, "a__b": 3, "a__c__d": 4, "a0": 5, "b__": 0, "__c": 6})
    names = [(child.name, bool(child.entry)) for child in store.children("")]
    assert [("", False), ("a", True), ("a!", True), ("a", False), ("a0", True), ("b", False)] == names
    assert ["/c", "a", "a!", "a/b", "a/c/d", "a0", "b/"] == [key for key, _ in store.tree("")]


def test_a_listing_names_what_it_replaces() -> None:
    """Changed and removed files are named, new and unchanged ones are not."""
    store = Keyspace()
    _tree(store, "d/", same=1, changed=1, gone=1, x__gone=1)
    replaced = _tree(store, "d/", asked_s=2.0, same=1, changed=2, new=1)
    assert {"d/changed", "d/gone", "d/x/gone"} == {item.key for item in replaced}
    assert {_entry(1)} == {item.entry for item in replaced}


def test_a_directory_missing_from_its_parents_listing_is_gone() -> None:
    """With everything known below it."""
    store = Keyspace()
    _tree(store, "d/", x__a=1, x__b=2, y=3)
    replaced = store.learn_level("d/", {"d/y": _entry(3)}, [], Coverage(1, 2.0))
    assert ["d/x/a", "d/x/b"] == [item.key for item in replaced]
    assert ["d/y"] == [key for key, _ in store.tree("")]


def test_a_large_prefix_can_be_replaced() -> None:
    """Many keys removed at once leave the others as they are."""
    store = Keyspace()
    store.learn_tree("d/", {f"d/{i:05d}": _entry(i) for i in range(5_000)}, Coverage(1, 1.0))
    store.learn_tree("e/", {"e/1": _entry(1)}, Coverage(1, 1.0))
    assert 5_000 == len(store.learn_tree("d/", {"d/x": _entry(1)}, Coverage(1, 2.0)))
    assert ["d/x", "e/1"] == [key for key, _ in store.tree("")]


def test_a_change_makes_the_key_and_its_surroundings_unknown() -> None:
    """The key, what is below it, and the directories above must be asked again; siblings not."""
    store = Keyspace()
    _tree(store, "", d__x__k=1, d__x__sibling=1, d__y=1, e=1)
    assert ["d/x/k"] == [item.key for item in store.change("d/x/k", 2)]
    known = {key: store.known_since_s(key) for key in ("d", "d/x", "d/x/k", "d/x/k/z", "d/x/sibling", "d/y", "e")}
    assert {"d": None, "d/x": None, "d/x/k": None, "d/x/k/z": None, "d/x/sibling": 1.0, "d/y": 1.0, "e": 1.0} == known
    assert [None, None, None] == [store.listed_since_s(p, recursive=True) for p in ("", "d/", "d/x/")]
    assert [None, None] == [store.listed_since_s(p, recursive=False) for p in ("", "d/x/")]


def test_a_change_of_a_directory_is_one_of_everything_below() -> None:
    """A removed directory names all its files."""
    store = Keyspace()
    _tree(store, "", d__a=1, d__x__b=1, da=1)
    assert ["d/a", "d/x/b"] == [item.key for item in store.change("d", 2)]
    assert store.known_since_s("d/x/b") is None
    assert 1.0 == store.known_since_s("da")


def test_asking_again_after_a_change_makes_it_known_again() -> None:
    """Knowledge of the change's generation or a later one counts."""
    store = Keyspace()
    _tree(store, "d/", k=1)
    store.change("d/k", 2)
    store.learn_head("d/k", _entry(2), is_directory=False, asked=Coverage(2, 5.0))
    assert 5.0 == store.known_since_s("d/k")
    assert store.listed_since_s("d/", recursive=True) is None
    _tree(store, "d/", generation=2, asked_s=6.0, k=2)
    assert 6.0 == store.listed_since_s("d/", recursive=True)


def test_a_late_look_up_does_not_remove_what_was_written_meanwhile() -> None:
    """Nothing at `d`, asked before `d/x` was written, arrives after `d/x` was found."""
    store = Keyspace()
    store.change("d/x", 2)
    store.learn_head("d/x", _entry(1), is_directory=False, asked=Coverage(2, 2.0))
    store.learn_head("d", None, is_directory=False, asked=Coverage(1, 1.0))
    assert (FileKind.FILE, _entry(1)) == store.stat("d/x")
    assert store.known_since_s("d") is None


def test_a_late_look_up_does_not_bring_back_an_older_version() -> None:
    """The answer of an earlier generation is dropped where a later one is known."""
    store = Keyspace()
    store.change("k", 2)
    store.learn_head("k", _entry(2), is_directory=False, asked=Coverage(2, 2.0))
    assert [] == store.learn_head("k", _entry(1), is_directory=False, asked=Coverage(1, 1.0))
    assert (FileKind.FILE, _entry(2)) == store.stat("k")
    assert 2.0 == store.known_since_s("k")


def test_a_late_listing_leaves_newer_knowledge_alone() -> None:
    """Neither a file written nor one deleted meanwhile is undone, and both listings must be asked for again."""
    for learn in ("tree", "level"):
        store = Keyspace()
        _tree(store, "d/", old=1, deleted=1)
        store.change("d/new", 2)
        store.change("d/deleted", 2)
        store.learn_head("d/new", _entry(9), is_directory=False, asked=Coverage(2, 2.0))
        store.learn_head("d/deleted", None, is_directory=False, asked=Coverage(2, 2.0))
        found = {"d/old": _entry(3), "d/deleted": _entry(1)}
        if learn == "tree":
            store.learn_tree("d/", found, Coverage(1, 1.5))
        else:
            store.learn_level("d/", found, [], Coverage(1, 1.5))
        assert ["d/new", "d/old"] == [key for key, _ in store.tree("d/")]
        assert (FileKind.FILE, _entry(3)) == store.stat("d/old")
        assert store.listed_since_s("d/", recursive=False) is None


def test_an_answer_asked_before_a_change_is_used_but_not_kept() -> None:
    """Whoever asked gets it; the next one asks again."""
    store = Keyspace()
    store.change("k", 2)
    store.learn_head("k", _entry(1), is_directory=False, asked=Coverage(1, 1.0))
    assert store.seen("k")
    assert (FileKind.FILE, _entry(1)) == store.stat("k")
    assert store.known_since_s("k") is None


def test_more_changes_than_can_be_remembered_change_everything() -> None:
    """The memory of changes is bounded; beyond, everything is asked again."""
    store = Keyspace()
    _tree(store, "", z=1)
    for i in range(CHANGES_MAX):
        store.change(f"a/{i}", 2)
    assert 1.0 == store.known_since_s("z")
    store.change("a/last", 2)
    assert store.known_since_s("z") is None
    _tree(store, "", generation=2, asked_s=3.0, z=1)
    assert 3.0 == store.known_since_s("z")


def test_the_root_is_a_directory() -> None:
    """Also when it is empty."""
    store = Keyspace()
    assert FileKind.DIRECTORY == store.stat("")[0]
    assert store.known_since_s("") is None
    store.learn_head("", None, is_directory=True, asked=Coverage(1, 1.0))
    assert 1.0 == store.known_since_s("")


def test_a_listing_of_everything_names_empty_directories_once() -> None:
    """Directories in which there is nothing are named, however they were learnt; those that names imply are not."""
    store = Keyspace()
    found = {"d/a": _entry(1), "d/x/y": _entry(2), "d/e/": entries.DIRECTORY, "d/f/g/": entries.DIRECTORY}
    store.learn_tree("d/", found, Coverage(1, 1.0))
    store.learn_level("d/", {"d/a": _entry(1)}, ["d/x/", "d/e/", "d/f/"], Coverage(1, 2.0))
    assert [("a", True), ("e", False), ("f/g", False), ("x/y", True)] == [
        (name, bool(entry)) for name, entry in store.names_below("d/")
    ]


def test_an_empty_object_with_keys_below_is_a_directory() -> None:
    """For look-ups and listings alike; with bytes it is a file, and without keys below it an empty one."""
    store = Keyspace()
    _tree(store, "", marks=0, marks__x=1, both=5, both__x=1, empty=0)
    kinds = [store.stat(key)[0] for key in ("marks", "both", "empty")]
    assert [FileKind.DIRECTORY, FileKind.FILE, FileKind.FILE] == kinds
    assert ["both", "both/x", "empty", "marks/x"] == [name for name, _ in store.names_below("")]
    store.learn_head("marks", _entry(0), is_directory=False, asked=Coverage(2, 2.0))
    assert FileKind.FILE == store.stat("marks")[0]
    store.learn_head("marks", _entry(0), is_directory=True, asked=Coverage(3, 3.0))
    assert FileKind.DIRECTORY == store.stat("marks")[0]


def test_a_late_listing_brings_no_directory_back_that_a_newer_one_did_not_find() -> None:
    """`d/` is listed at generation 1, and emptied; its parent is listed at 2, without it; then the answer of 1 arrives."""
    store = Keyspace()
    store.change("d/x", 2)
    store.learn_level("", {}, [], Coverage(2, 2.0))
    store.learn_level("d/", {"d/x": _entry(1)}, [], Coverage(1, 1.0))
    assert [] == list(store.children(""))
    store.learn_head("d/y", _entry(1), is_directory=False, asked=Coverage(1, 1.0))
    assert [] == list(store.children(""))
    store.learn_level("", {}, ["d/"], Coverage(3, 3.0))
    store.learn_head("d/x", _entry(1), is_directory=False, asked=Coverage(2, 2.5))
    assert [Child("d", entries.DIRECTORY)] == list(store.children(""))
    assert store.stat("d/x")[0] is FileKind.FILE
