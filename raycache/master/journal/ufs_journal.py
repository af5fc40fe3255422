"""A journal in objects of a lake: `<number>.record` with the records of one change, and `<number>.snapshot`, which stands
for all numbers up to its own.

Theory of operation. Objects cannot be appended to, so each change is an object, and all of them together are replaced by one
snapshot while the master runs, as soon as they are many: a restart reads one snapshot and some hundred records, side by side.

A record is created under its number, never put over another (`ufs.base.create`). Where that number is taken, the object says by
whom. By this master: its write had been answered as failed, and counts as such, so it is replaced. By another: that cache has
taken the journal over, and this one writes no more. Who begins takes over only from a cache that gives no sign of life: the
one that writes renews the object `-owner` every now and then, and its age is taken by the store's own clock.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from raycache.errors import ConflictError, NotFoundError
from raycache.master.journal.file_journal import FILE_NAME, KEPT
from raycache.master.journal.records import NOBODY, Found, Record, line_of, parse
from raycache.ufs.base import UnderStorage, create
from raycache.ufs.trees import pages

_OWNER = "-owner"
_PROBE = "-probe"
#: Objects since the last snapshot, beyond which another is written.
_OBJECTS_MAX = 200
_READS_INFLIGHT = 64
#: The owner renews its sign of life this often; one that is older than the second is dead.
SIGN_PERIOD_S = 15.0
SIGN_AGE_MAX_S = 60.0


class UfsJournal:
    """Objects below a prefix.

    Args:
        storage: where.
        prefix: a directory's key in it; "" for its root.
        owner: the incarnation of the master that writes: its cache's id, a dot, and its number.
        now_s: seconds, of which only differences count.
    """

    def __init__(
        self, storage: UnderStorage, prefix: str, owner: str = NOBODY, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self.place = f"{storage.root_uri}/{self._prefix}"
        self.damage: list[str] = []
        self._owner = owner
        self._now_s = now_s
        self._next: int | None = None
        self._objects = 0
        self._signed_s = float("-inf")

    @property
    def wants_compaction(self) -> bool:
        """See `Journal`."""
        return self._objects > _OBJECTS_MAX

    def append(self, *records: Record) -> None:
        """See `Journal.append`."""
        self._put("record", records)

    def look(self) -> Found:
        """See `Journal.look`."""
        sizes = self._sizes()
        snapshots = sorted((number for number, kind in sizes if kind == "snapshot"), reverse=True)
        first, found = 0, Found([], [], [])
        damage: list[str] = []
        for number in snapshots:
            one = self._read(number, "snapshot", sizes)
            if not (one.damage or one.torn):
                first, found = number + 1, one
                break
            damage.append(f"{self._key(number, 'snapshot')} is damaged; the one before it counts")
        numbers = sorted(number for number, kind in sizes if kind == "record" and number >= first)
        for before, after in itertools.pairwise([first - 1, *numbers] if snapshots else numbers):
            if after != before + 1 and not any(before < number < after for number in snapshots):
                damage.append(f"{self.place}: {after - before - 1} records are missing before {after}")
        with ThreadPoolExecutor(_READS_INFLIGHT, thread_name_prefix="raycache-journal") as pool:
            for number, one in zip(
                numbers, pool.map(lambda number: self._read(number, "record", sizes), numbers), strict=True
            ):
                if one.damage or one.torn:
                    damage.append(f"{self._key(number, 'record')} is damaged; what it said is lost")
                found = Found(found.records + one.records, [], found.owners + one.owners)
        self._next = max((number for number, _ in sizes), default=-1) + 1
        self._objects = len(numbers)
        return found._replace(damage=damage)

    def replay(self) -> list[Record]:
        """See `Journal.replay`. An object that is not whole is passed over, and said in `damage`."""
        found = self.look()
        self.damage = found.damage
        return found.records

    def compact(self, records: Sequence[Record]) -> None:
        """See `Journal.compact`."""
        old = self._sizes()
        self._put("snapshot", records)
        self._objects = 0
        self._storage.delete([self._key(*one) for one in sorted(old)])

    def clear(self) -> None:
        """See `Journal.clear`."""
        kept = [self._prefix + FILE_NAME + end for end in (KEPT, _OWNER, _PROBE)]
        self._storage.delete([*(self._key(*one) for one in sorted(self._sizes())), *kept])
        self._next, self._objects = None, 0

    def keep(self, record: Record) -> None:
        """See `Journal.keep`."""
        self._storage.put(self._prefix + FILE_NAME + KEPT, line_of(record, 0, self._owner))

    def kept(self) -> Record | None:
        """See `Journal.kept`."""
        return self._aside(KEPT)

    def claim(self) -> None:
        """See `Journal.claim`. Called again now and then, it is the sign of life."""
        now_s = self._now_s()
        if now_s - self._signed_s < SIGN_PERIOD_S:
            return
        key = self._prefix + FILE_NAME + _OWNER
        known = self._aside(_OWNER)
        cache_id = self._owner.partition(".")[0]
        if known is not None and known.get("cache_id") != cache_id:
            age_s = self._age_s(key)
            if age_s < SIGN_AGE_MAX_S:
                raise ConflictError(
                    f"the journal {self.place} belongs to a cache that wrote there {age_s:.0f} s ago; give each cache its "
                    f"own (setting journal). If that cache is dead, wait {SIGN_AGE_MAX_S - age_s:.0f} s"
                )
        self._storage.put(key, line_of({"cache_id": cache_id, "owner": self._owner}, 0, self._owner))
        self._signed_s = now_s

    def release(self) -> None:
        """See `Journal.release`."""
        self._storage.delete([self._prefix + FILE_NAME + _OWNER])

    def _age_s(self, key: str) -> float:
        """How old an object is, by the store's clock."""
        probe = self._prefix + FILE_NAME + _PROBE
        now_ns = self._storage.put(probe, b"\n").mtime_ns
        then_ns = self._storage.head(key).mtime_ns
        self._storage.delete([probe])
        if now_ns is None or then_ns is None:
            return SIGN_AGE_MAX_S  # a store without times: who takes over is seen by the number that is taken
        return max(0.0, (now_ns - then_ns) / 1e9)

    def _put(self, kind: str, records: Sequence[Record]) -> None:
        """Create the next object; whose number is taken, see the module's text."""
        if self._next is None:
            self._next = max((number for number, _ in self._sizes()), default=-1) + 1
        key = self._key(self._next, kind)
        data = b"".join(line_of(one, at, self._owner) for at, one in enumerate(records))
        try:
            create(self._storage, key, data)
        except ConflictError:
            owners = {*self._parsed(key, self._storage.head(key).size_bytes).owners}
            if owners - {self._owner} or self._owner == NOBODY:
                raise ConflictError(
                    f"the journal {self.place} was taken over by another cache ({', '.join(sorted(owners))}); this one "
                    "changes nothing any more: stop it, and give each cache its own (setting journal)"
                ) from None
            self._storage.put(key, data)
        self._next += 1
        self._objects += 1

    def _key(self, number: int, kind: str) -> str:
        return f"{self._prefix}{number:020d}.{kind}"

    def _sizes(self) -> dict[tuple[int, str], int]:
        """(number, kind) of every object: its bytes."""
        found: dict[tuple[int, str], int] = {}
        for page in pages(self._storage, self._prefix):
            for info in page.objects:
                name, _, kind = info.key[len(self._prefix) :].partition(".")
                if kind in ("record", "snapshot") and name.isdecimal():
                    found[int(name), kind] = info.size_bytes
        return found

    def _read(self, number: int, kind: str, sizes: dict[tuple[int, str], int]) -> Found:
        return self._parsed(self._key(number, kind), sizes[number, kind])

    def _parsed(self, key: str, size_bytes: int) -> Found:
        return parse(bytes(self._storage.read(key, 0, size_bytes)) if size_bytes else b"", key)

    def _aside(self, end: str) -> Record | None:
        key = self._prefix + FILE_NAME + end
        try:
            found = self._parsed(key, self._storage.head(key).size_bytes)
        except NotFoundError:
            return None
        return found.records[-1] if found.records else None
