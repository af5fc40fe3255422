"""What is known of one store's keys: a sorted map of entries, and how far it can be trusted.

Theory of operation. Entries are sorted by key, so that everything below a prefix is one range, and the direct children
of a directory are found by skipping from one child to the next. A directory is a range of keys, or a key that ends in
"/" (a marker object, an empty directory of a disk, or a child seen in a one-level listing of its parent).

Knowledge is remembered apart from entries, as *coverage*: which key was looked up, which prefix was listed (one level,
or everything below), when it was asked, and at which generation. A key that is covered and has no entry is known to be
missing. The newest coverage of a key decides how old the answer is; the asker compares that with its mount's TTL.

A change (a key was written, or something below it) does not forget entries: it makes every coverage of an earlier generation
worthless for that key, for what is below it, and for the directories above it, which it may have made or removed.
Generations grow with each change and each request for a fresh answer; a look-up carries the generation it was asked at:

1. A asks for `d` at generation 4.   2. `d/x` is written: generation 5.   3. B asks for `d/x` at 5, finds it.
4. A's answer arrives: nothing at `d`. It must not remove `d/x`, since that is covered at a later generation.

So a result leaves alone what is covered at a later generation; and what it does change stays worthless if a later
change concerns it, so that the next asker asks again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sortedcontainers import SortedDict

from raycache.master.namespace.entries import DIRECTORY, is_empty, same_version
from raycache.master.namespace.packed_map import AFTER_SLASH, PackedMap, keys_below
from raycache.types import FileKind

#: Remembered changes; beyond, everything known before counts as changed.
CHANGES_MAX = 10_000
#: Changes of listed keys remembered for the next comparison; beyond, it starts from what is cached.
SINCE_MAX = 100_000


class Coverage(NamedTuple):
    """When something was asked; of two, the larger is the newer."""

    generation: int
    asked_s: float


class Child(NamedTuple):
    """A direct child of a directory. A name may be there twice: as a file and as a directory."""

    name: str
    #: The empty entry for a directory.
    entry: bytes


class Replaced(NamedTuple):
    """An entry that is no longer what stands at its key."""

    key: str
    entry: bytes


class Keyspace:
    """One UFS authority. A prefix is "" or ends in "/"; the key of a prefix is it without that slash.

    Args:
        generation: everything that was asked before it counts as changed.
    """

    def __init__(self, generation: int = 0) -> None:
        self._entries = PackedMap()
        self._heads: dict[str, Coverage] = {}
        self._levels: dict[str, Coverage] = {}
        self._trees: dict[str, Coverage] = {}
        #: Directories of which was forgotten what stands directly in them: no listing from above covers that any more.
        self._forgotten: SortedDict[str, None] = SortedDict()
        self._since: SortedDict[str, bytes] = SortedDict()
        #: Key -> generation of its last change.
        self._changes: SortedDict[str, int] = SortedDict()
        self._changes_floor = generation
        #: Of all results taken in: only an older result has to look at what it must leave alone.
        self._latest_generation = generation

    def __len__(self) -> int:
        """Everything remembered, for bounding it."""
        coverages = len(self._heads) + len(self._levels) + len(self._trees)
        return len(self._entries) + coverages + len(self._since) + len(self._forgotten)

    @property
    def entries_count(self) -> int:
        """Files and directories known."""
        return len(self._entries)

    # --- looking ------------------------------------------------------------------------------------------------------

    def stat(self, key: str) -> tuple[FileKind, bytes]:
        """What stands at a key, as last heard. A key that is both an object and a prefix is a file, unless it is empty."""
        entry = self._entries.get(key)
        if entry and not self.only_marks(key, entry):
            return FileKind.FILE, entry
        if key == "" or self._first(key + "/") is not None:
            return FileKind.DIRECTORY, DIRECTORY
        return FileKind.MISSING, DIRECTORY

    def children(self, prefix: str) -> Iterator[Child]:
        """The direct children of a directory, in key order.

        A child with an empty name (of keys such as `a//b`) has no path of its own; a listing of everything below shows
        what is in it.

        Cost: O(log n) a directory, O(1) a file.
        """
        start = prefix
        while True:
            for key in self._range(start, prefix):
                slash = key.find("/", len(prefix))
                if slash < 0:
                    if key != prefix:
                        yield Child(key[len(prefix) :], self._entries[key])
                    continue
                yield Child(key[len(prefix) : slash], DIRECTORY)
                start = key[:slash] + AFTER_SLASH
                break
            else:
                return

    def tree(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """(key, entry) of all files below a prefix, in key order."""
        for key in self._range(prefix, prefix):
            if entry := self._entries[key]:
                yield key, entry

    def names_below(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """(relative name, entry) of all files below a prefix, and of the directories in which there is nothing."""
        for key, following in itertools.pairwise(itertools.chain(self._range(prefix, prefix), ("",))):
            entry = self._entries[key]
            name = key[len(prefix) :].removesuffix("/")
            if entry and not self.only_marks(key, entry):
                yield name, entry
            elif not entry and name and not name.endswith("/") and not following.startswith(key):
                yield name, DIRECTORY

    def only_marks(self, key: str, entry: bytes) -> bool:
        """Whether an object has no bytes, but keys below it: then it is a directory, as some tools mark them."""
        return is_empty(entry) and self._first(key + "/") is not None

    def seen(self, key: str) -> bool:
        """Whether `key` has ever been covered: whether `stat` has a meaning."""
        return self._coverage(key) is not None

    def known_since_s(self, key: str) -> float | None:
        """When what `stat` says was asked; None when it is not known, or was changed since."""
        return self._valid(key, self._coverage(key))

    def listed(self, prefix: str, *, recursive: bool) -> bool:
        """Whether a prefix has ever been listed: whether `children` and `tree` are complete."""
        return self._list_coverage(prefix, recursive=recursive) is not None

    def listed_since_s(self, prefix: str, *, recursive: bool) -> float | None:
        """When a complete listing was asked; None when there is none, or something in it was changed since."""
        return self._valid(prefix.removesuffix("/"), self._list_coverage(prefix, recursive=recursive))

    # --- learning -----------------------------------------------------------------------------------------------------

    def learn_head(self, key: str, entry: bytes | None, *, is_directory: bool, asked: Coverage) -> list[Replaced]:
        """Take in the look-up of one key.

        Args:
            key: what was looked up.
            entry: of the object there, None without one.
            is_directory: whether anything is below it; of an object with bytes not looked for.
            asked: when.
        """
        if not self._older([key], asked) or not self._may_be(key, asked):
            return []
        self._latest_generation = max(self._latest_generation, asked.generation)
        self._heads[key] = asked
        if entry is not None:
            if is_directory and self._first(key + "/") is None:
                return self._put({key: entry, key + "/": DIRECTORY})
            below = self._range(key + "/", key + "/") if is_empty(entry) and not is_directory else ()
            return self._remove(self._older(below, asked)) + self._put({key: entry})
        replaced = self._remove([key] if key in self._entries else [])
        if key == "":
            return replaced
        if is_directory:
            return replaced + self._put({} if self._first(key + "/") is not None else {key + "/": DIRECTORY})
        return replaced + self._remove(self._older(self._range(key + "/", key + "/"), asked))

    def learn_tree(self, prefix: str, found: dict[str, bytes], asked: Coverage) -> list[Replaced]:
        """Take in a listing of everything below a prefix: key -> entry, markers included."""
        old = list(self._range(prefix, prefix))
        gone = [key for key in old if key not in found]
        if asked.generation < self._latest_generation:
            gone = self._older(gone, asked)
            found = {key: found[key] for key in self._older(found, asked) if self._may_be(key, asked)}
        replaced = self._remove(gone) + self._put(found)
        self._cover(self._trees, prefix, asked)
        return replaced

    def learn_level(
        self, prefix: str, found: dict[str, bytes], directories: list[str], asked: Coverage
    ) -> list[Replaced]:
        """Take in a one-level listing.

        Args:
            prefix: the directory.
            found: key -> entry of the objects directly below it, its own marker included.
            directories: prefixes of its children.
            asked: when.
        """
        found = found | dict.fromkeys(directories, DIRECTORY)
        gone: list[str] = [prefix] if prefix in self._entries and prefix not in found else []
        for name, entry in list(self.children(prefix)):
            key = prefix + name
            if entry and key not in found:
                gone.append(key)
            elif not entry and key + "/" not in found:
                gone.extend(self._range(key + "/", key + "/"))
        if asked.generation < self._latest_generation:
            gone = self._older(gone, asked)
            found = {key: found[key] for key in self._older(found, asked) if self._may_be(key, asked)}
        replaced = self._remove(gone) + self._put(found)
        self._cover(self._levels, prefix, asked)
        return replaced

    def learn_found(self, found: dict[str, bytes], asked: Coverage) -> list[Replaced]:
        """Take in a part of a listing: key -> entry, markers included. `forget_missing` and `cover` follow at its end."""
        if asked.generation < self._latest_generation:
            found = {key: found[key] for key in self._older(found, asked) if self._may_be(key, asked)}
        return self._put(found)

    def forget_missing(self, keys: Iterable[str], asked: Coverage) -> list[Replaced]:
        """A listing that is complete now had nothing at these keys."""
        gone = [key for key in keys if key in self._entries]
        if asked.generation < self._latest_generation:
            gone = self._older(gone, asked)
        return self._remove(gone)

    def cover(self, prefix: str, asked: Coverage) -> None:
        """Everything below a prefix has been learnt, part by part."""
        self._cover(self._trees, prefix, asked)

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def keys_from(self, key: str, limit: int) -> list[str]:
        """The next sorted keys from one on."""
        return list(itertools.islice(self._entries.irange(key), limit))

    def uncover(self, prefix: str) -> None:
        """Forget what stands directly in a directory: from now on it is not known. That the directory is there still is, and
        so is what stands in its subdirectories. Its entries are of no use any more; see `drop`.
        """
        self._levels.pop(prefix, None)
        if self._trees:
            self._forgotten[prefix] = None
        if prefix:
            self._entries.setdefault(prefix, DIRECTORY)

    def drop(self, keys: Iterable[str]) -> None:
        """Forget what stands at these keys, which `uncover` has made worthless, and that they were looked up."""
        for key in keys:
            self._heads.pop(key, None)
            self._since.pop(key, None)
            # What was listed below a file says that it is one only together with its entry.
            self._levels.pop(key + "/", None)
            self._trees.pop(key + "/", None)
            del self._entries[key]

    def forget_look_ups(self, count: int, kept: int = 10_000) -> None:
        """Forget the oldest look-ups of single keys, but for some of the latest."""
        for key in list(itertools.islice(self._heads, min(count, max(0, len(self._heads) - kept)))):
            del self._heads[key]

    # --- what has changed since the last comparison -------------------------------------------------------------------

    @property
    def entries(self) -> PackedMap:
        """Key -> entry of all that is known; to be read only."""
        return self._entries

    @property
    def since(self) -> SortedDict[str, bytes]:
        """Keys in listed prefixes that have changed since they were last compared -> the entry then ("" for none)."""
        return self._since

    def compared(self, keys: Iterable[str]) -> None:
        """A comparison has reported the changes of these keys."""
        for key in list(keys):
            self._since.pop(key, None)

    def _note(self, key: str, entry: bytes) -> None:
        """Remember what stood at a key before its first change, where a listing said so."""
        if key in self._since or self._tree_coverage(key[: key.rfind("/") + 1]) is None:
            return
        self._since[key] = entry
        if len(self._since) > SINCE_MAX:
            # From now on nothing counts as listed: the next comparison is with what is cached.
            self._since.clear()
            self._trees.clear()
            self._forgotten.clear()

    def change(self, key: str, generation: int) -> list[Replaced]:
        """`key` was written, or something below it: what is known of it is worth nothing from now on.

        Returns:
            The files known at and below it.
        """
        self._changes[key] = generation
        if len(self._changes) > CHANGES_MAX:
            self._changes.clear()
            self._changes_floor = generation
        prefix = key + "/" if key else ""
        here = [Replaced(key, entry)] if (entry := self._entries.get(key)) else []
        return here + [Replaced(below, entry) for below, entry in self.tree(prefix)]

    # --- coverage -----------------------------------------------------------------------------------------------------

    def _coverage(self, key: str) -> Coverage | None:
        """The newest coverage of a key; of a directory's marker, that of the directory."""
        key = key.removesuffix("/")
        best = self._heads.get(key)
        parent = key[: key.rfind("/") + 1]
        if key != "":
            best = _newer(best, self._levels.get(parent))
            return _newer(best, self._tree_coverage(parent))
        return _newer(_newer(best, self._levels.get("")), self._trees.get(""))

    def _list_coverage(self, prefix: str, *, recursive: bool) -> Coverage | None:
        if recursive and next(keys_below(self._forgotten, prefix, prefix), None) is not None:
            return None
        best = self._tree_coverage(prefix)
        return best if recursive else _newer(best, self._levels.get(prefix))

    def _tree_coverage(self, prefix: str) -> Coverage | None:
        """The newest listing of everything below `prefix` or a prefix above it, as far as it covers what stands in `prefix`."""
        return None if prefix in self._forgotten else self._newest_tree(prefix)

    def _newest_tree(self, prefix: str) -> Coverage | None:
        if not self._trees:
            return None
        best = self._trees.get(prefix)
        end = prefix.rfind("/", 0, max(0, len(prefix) - 1))
        while prefix:
            prefix = prefix[: end + 1]
            best = _newer(best, self._trees.get(prefix))
            end = prefix.rfind("/", 0, max(0, len(prefix) - 1))
        return best

    def _valid(self, key: str, covered: Coverage | None) -> float | None:
        if covered is None or covered.generation < self._changes_floor:
            return None
        if self._changes and self._changed_after(key, covered.generation):
            return None
        return covered.asked_s

    def _changed_after(self, key: str, generation: int) -> bool:
        """Whether `key`, something above it, or something below it, was changed after a generation."""
        end = len(key)
        while end > 0:
            if self._changes.get(key[:end], 0) > generation:
                return True
            end = key.rfind("/", 0, end)
        if self._changes.get("", 0) > generation:
            return True
        prefix = key + "/" if key else ""
        return any(self._changes[below] > generation for below in keys_below(self._changes, prefix, prefix))

    def _cover(self, coverages: dict[str, Coverage], prefix: str, asked: Coverage) -> None:
        if coverages is self._trees:
            newest = self._newest_tree(prefix)
            if newest is None or asked >= newest:  # else what was forgotten would count as known since the newest
                for again in list(keys_below(self._forgotten, prefix, prefix)):
                    del self._forgotten[again]
        coverages[prefix] = max(asked, coverages.get(prefix, asked))
        self._latest_generation = max(self._latest_generation, asked.generation)

    def _older(self, keys: Iterable[str], asked: Coverage) -> list[str]:
        """Those keys that are not covered at a later generation."""
        chosen = []
        for key in keys:
            covered = self._coverage(key)
            if covered is None or covered.generation <= asked.generation:
                chosen.append(key)
        return chosen

    def _may_be(self, key: str, asked: Coverage) -> bool:
        """Whether an answer may say that something stands at a key: not below a directory that a later one did not find."""
        if asked.generation >= self._latest_generation:
            return True
        end = key.rfind("/")
        while end > 0:
            covered = self._coverage(key[:end])
            if covered is not None and covered.generation > asked.generation and self._first(key[: end + 1]) is None:
                return False
            end = key.rfind("/", 0, end)
        return True

    # --- entries ------------------------------------------------------------------------------------------------------

    def _first(self, prefix: str) -> str | None:
        return next(self._range(prefix, prefix), None)

    def _range(self, start: str, prefix: str) -> Iterator[str]:
        """Keys from `start` to the end of a prefix."""
        return keys_below(self._entries, start, prefix)

    def _put(self, found: dict[str, bytes]) -> list[Replaced]:
        entries = self._entries
        replaced: list[Replaced] = []
        for key, entry in found.items():
            old = entries.get(key)
            if old == entry:
                continue
            if old and not (entry and same_version(old, entry)):
                replaced.append(Replaced(key, old))
            if self._trees and (old or entry):
                self._note(key, old or b"")
        entries.update(found)
        return replaced

    def _remove(self, keys: list[str]) -> list[Replaced]:
        entries = self._entries
        removed = [Replaced(key, entry) for key in keys if (entry := entries[key])]
        for key, entry in removed if self._trees else ():
            self._note(key, entry)
        for key in keys:
            del entries[key]
        return removed


def _newer(one: Coverage | None, other: Coverage | None) -> Coverage | None:
    if one is None or (other is not None and other > one):
        return other
    return one
