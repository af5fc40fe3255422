"""A full namespace forgets directories that nobody uses, and is exact about what it has forgotten."""

from __future__ import annotations

from raycache.errors import RaycacheError
from raycache.master.namespace import entries
from raycache.master.namespace.catalog import Catalog
from raycache.master.namespace.comparison import ListKeys, Sync
from raycache.master.namespace.forgetting import ClockHand
from raycache.master.namespace.keyspace import Coverage, Keyspace
from raycache.master.namespace.lister import KeyRange, Lister
from raycache.master.namespace.mount_table import Mounts
from raycache.messages import ListRequest, MountInfo, ResolveRequest, SyncRequest
from raycache.rules import Pattern
from raycache.types import FileKind, VersionId
from raycache.ufs.base import ObjectInfo
from raycache.ufs.memory import MemoryStorage

ROOT = "memory://full"


def entry(size: int) -> bytes:
    return entries.pack(ObjectInfo("k", size, '"e"', 1))


def three() -> Keyspace:
    """Three directories, one of them with another in it, listed at once."""
    store = Keyspace()
    names = ["a/1", "a/2", "b/1", "b/in/1", "b/in/2", "c/1"]
    store.learn_tree("", {name: entry(size) for size, name in enumerate(names, 1)}, Coverage(1, 1.0))
    return store


def known(store: Keyspace) -> list[str]:
    return [name for name in ("a/1", "a/2", "b/1", "b/in/1", "b/in/2", "c/1") if store.seen(name)]


def test_a_directory_in_use_is_spared_and_the_others_are_forgotten() -> None:
    """The hand comes by once; what is known of the directory in use answers as before."""
    store = three()
    hand = ClockHand(store)
    hand.touch("b/in/")
    hand.turn(100)
    assert ["b/in/1", "b/in/2"] == known(store)
    assert (FileKind.FILE, entry(5)) == store.stat("b/in/2")
    hand.turn(100)
    assert [] == known(store)


def test_a_forgotten_directory_is_still_there() -> None:
    """Its parent's listing is complete without a call; what stands in it is unknown, and not missing."""
    store = three()
    ClockHand(store).turn(100)
    assert ["a", "b", "c"] == [child.name for child in store.children("")]
    assert store.stat("a") == (FileKind.DIRECTORY, entries.DIRECTORY)
    assert not store.listed("a/", recursive=False)
    assert not store.listed("", recursive=True)
    assert not store.seen("a/absent")


def test_what_is_listed_again_is_known_again() -> None:
    """A directory by itself, or all of it; an older listing that comes late does not pass for the newest one."""
    store = three()
    ClockHand(store).turn(100)
    store.learn_level("a/", {"a/1": entry(1)}, [], Coverage(1, 3.0))
    assert store.listed("a/", recursive=False)
    assert not store.seen("b/1")
    store.learn_tree("b/", {"b/1": entry(3)}, Coverage(0, 0.5))
    assert not store.seen("b/1")
    store.learn_tree("", {"b/1": entry(3), "b/in/1": entry(4)}, Coverage(1, 4.0))
    assert 4.0 == store.listed_since_s("", recursive=True)
    assert ["b", "b/in/2"] == [name for name in ("b", "b/in/2") if store.seen(name)]
    assert store.stat("b/in/2")[0] is FileKind.MISSING


def test_a_turn_goes_over_as_many_keys_as_it_was_told() -> None:
    """A directory that was begun is forgotten at once, and gone after some turns."""
    store = Keyspace()
    store.learn_tree("", {f"d/{number:03}": entry(1) for number in range(100)}, Coverage(1, 1.0))
    hand = ClockHand(store)
    hand.turn(10)
    assert 91 == store.entries_count  # and the directory itself
    assert not store.seen("d/099")
    for _ in range(10):
        hand.turn(10)
    assert 1 == store.entries_count


def test_look_ups_of_single_keys_are_forgotten_the_oldest_first() -> None:
    """Also of keys where nothing stands."""
    store = Keyspace()
    for number in range(10):
        store.learn_head(f"k{number}", None, is_directory=False, asked=Coverage(1, float(number)))
    store.forget_look_ups(4, kept=3)
    assert [number >= 4 for number in range(10)] == [store.seen(f"k{number}") for number in range(10)]
    store.forget_look_ups(100, kept=3)
    assert 3 == len(store)


class Full:
    """A catalog with room for fifty, over a lake of two hundred files in twenty directories."""

    def __init__(self) -> None:
        self.lake = MemoryStorage(ROOT)
        for number in range(200):
            self.lake.put(f"d{number % 20:02}/f{number:03}", b"x")
        mounts = Mounts()
        mounts.put(MountInfo("/m", ROOT, {}, 60.0, readonly=True))
        self.catalog = Catalog(mounts, lambda _: (), remembered_max=50)
        self.lister = Lister(lambda _: self.lake, 2)

    def remembered(self) -> int:
        return sum(len(store) for store in self.catalog._stores.values())

    def list(self, path: str) -> list[str]:
        request = ListRequest(path, recursive=False)
        errors: dict[object, RaycacheError] = {}
        for need, result in self.lister.fetch(self.catalog.list_needs(request, 0.0)).items():
            self.catalog.fetched(need, result)
        return self.catalog.listing(request, errors, 0.0).names  # type: ignore[arg-type]

    def sync(self) -> tuple[Sync, list[VersionId], int]:
        """A sync, what it has told to be gone, and the most that was remembered meanwhile."""
        request = SyncRequest([Pattern(ROOT)], dry_run=False, files_max=1_000)
        sync, gone, most = self.catalog.begin_sync(request.patterns[0], request, 1.0), list[VersionId](), 0
        for step in sync.steps(gone.extend):
            if isinstance(step, ListKeys):
                token, after = None, ""
                while True:
                    page = self.lake.list(step.prefix, token=token, limit=10)
                    token, last = page.next_token, page.objects[-1].key if page.next_token else None
                    found = {info.key: entries.pack(info) for info in page.objects}
                    step.take(KeyRange(after, last, found))
                    most, after = max(most, self.remembered()), last or ""
                    if token is None:
                        break
        return sync, gone, most


def test_the_bound_is_kept_by_listings_and_the_used_ones_stay() -> None:
    """Twenty directories are listed, one of them again and again: that one is never asked for twice."""
    full = Full()
    for number in range(20):
        assert 10 == len(full.list("/m/d00"))
        assert 10 == len(full.list(f"/m/d{number:02}"))
        assert full.remembered() <= 50 + 12
    assert not full.catalog.list_needs(ListRequest("/m/d00", recursive=False), 0.0)
    assert full.catalog.list_needs(ListRequest("/m/d01", recursive=False), 0.0)


def test_a_sync_keeps_the_bound() -> None:
    """It counts all files right, remembers what there is room for, and takes nothing unknown for known."""
    full = Full()
    sync, gone, most = full.sync()
    assert (200, []) == (sync.result().added.files, gone)
    assert most <= 50 + 12
    store = full.catalog._stores[ROOT]
    assert not store.listed("", recursive=True)
    paths = [f"/m/d{number % 20:02}/f{number:03}" for number in range(200)]
    request = ResolveRequest(paths, 0, 0)
    for need, result in full.lister.fetch(full.catalog.resolve_needs(request, 1.0)).items():
        assert result.found, need
    unknown = [key for key in ("d00/f000", "d19/f199") if not store.seen(key)]
    assert unknown


def test_a_sync_within_the_bound_is_as_before() -> None:
    """All is known afterwards, and the next one compares with it."""
    full = Full()
    full.catalog.remembered_max = 1_000
    full.sync()
    full.lake.delete(["d00/f000"])
    sync, gone, _ = full.sync()
    assert (0, 199, 1) == (sync.result().added.files, sync.result().unchanged.files, sync.result().removed.files)
    assert 1 == len(gone)


def test_a_file_that_was_listed_as_a_directory_is_forgotten_with_that() -> None:
    """Nothing is below it since it is a file; without its entry that would mean that nothing is there."""
    store = Keyspace()
    store.learn_level("a/", {}, [], Coverage(1, 1.0))
    store.learn_head("a", entry(1), is_directory=False, asked=Coverage(1, 1.0))
    ClockHand(store).turn(1)
    assert not store.listed("a/", recursive=False)


def test_what_was_learned_again_while_the_hand_stood_in_it_is_not_dropped() -> None:
    """Or it is forgotten anew: no key is gone from a directory that counts as known."""
    store = Keyspace()
    store.learn_level("", {"a": entry(1)}, [], Coverage(1, 1.0))
    hand = ClockHand(store)
    hand.turn(1)
    store.learn_level("", {"a": entry(1), "a0": entry(2)}, [], Coverage(2, 2.0))
    hand.turn(1)
    assert not store.seen("a0") or store.stat("a0")[0] is FileKind.FILE


def test_a_directory_in_use_is_spared_as_a_whole() -> None:
    """Also when the hand stops in the middle of it."""
    store = Keyspace()
    store.learn_tree("", {f"d/{number:03}": entry(1) for number in range(50)}, Coverage(1, 1.0))
    hand = ClockHand(store)
    hand.touch("d/")
    for _ in range(5):
        hand.turn(9)
    assert 50 == store.entries_count
    hand.turn(100)
    hand.turn(100)
    assert 1 == store.entries_count
