"""Which results are kept, and who is making one: rules, no clock and no I/O.

Theory of operation. Whoever needs a result claims it. If it is there, it is told where; if nobody is making it, the claim is
granted for a while, renewed by the one who makes it; anybody else is told that it is taken, and asks again. A claim that is
not renewed in time ends: the next one to ask takes over. So a result is made once in the whole cluster, and nobody waits for
one who is dead. Whoever was too slow may hand its result in all the same: the same fingerprint means the same content, and
the later one stands.

What is known of results is what their file versions say; so after a restart it is told again by the workers that hold them.
A result of which no worker holds a block any more counts as lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from raycache.messages.keeping import CLAIM_S, ClaimReply, ClaimState, KeptDataset, KeptResult

#: Results known at most; the least lately wanted are forgotten first.
RESULTS_MAX = 500_000
#: How finely the files of a dataset are cut, remembered of as many datasets.
_CUTS_MAX = 10_000


class _Tally:
    """What happened to one dataset."""

    __slots__ = ("hits", "last_s", "lost", "made", "saved_cpu_s", "taken_over", "waited")

    def __init__(self) -> None:
        self.hits = self.made = self.waited = self.taken_over = self.lost = 0
        self.saved_cpu_s = 0.0
        self.last_s = -1.0


class KeptResults:
    """The results of one cache.

    Args:
        results_max: known at most.
    """

    def __init__(self, results_max: int = RESULTS_MAX) -> None:
        self._results_max = results_max
        #: By key; the least lately wanted first.
        self._results: dict[str, KeptResult] = {}
        #: By key: who makes it, and until when.
        self._claims: dict[str, tuple[str, float]] = {}
        #: By key and claimant: it waits.
        self._waiting: set[tuple[str, str]] = set()
        self._tallies: dict[str, _Tally] = {}
        self._cuts: dict[str, int] = {}
        #: Keys by origin.
        self._of_origin: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: str) -> KeptResult | None:
        """The result there is."""
        return self._results.get(key)

    def of(self, dataset: str) -> list[KeptResult]:
        """All results of a dataset."""
        return [result for result in self._results.values() if dataset_of(result.key) == dataset]

    def cut(self, dataset: str, wanted: int) -> int:
        """How finely the files of a dataset are cut: what whoever came first has wanted."""
        if len(self._cuts) >= _CUTS_MAX and dataset not in self._cuts:
            del self._cuts[next(iter(self._cuts))]
        return self._cuts.setdefault(dataset, wanted)

    # --- claims -------------------------------------------------------------------------------------------------------

    def claim(self, key: str, claimant: str, now_s: float, *, gone: str = "") -> ClaimReply:
        """Somebody needs a result.

        Args:
            key: of the result.
            claimant: who asks; the same name again is the same asker.
            now_s: monotonic.
            gone: the etag of the result that the asker could not read.
        """
        tally = self._tally(key, now_s)
        known = self._results.get(key)
        if known is not None and known.etag == gone:
            self.lose(key)
            known = None
        if known is not None:
            self._results[key] = self._results.pop(key)
            return ClaimReply(int(ClaimState.KEPT), known)
        holder, until_s = self._claims.get(key, ("", 0.0))
        if holder not in ("", claimant):
            if now_s < until_s:
                if (key, claimant) not in self._waiting:
                    self._waiting.add((key, claimant))
                    tally.waited += 1
                return ClaimReply(int(ClaimState.TAKEN))
            tally.taken_over += 1
        self._claims[key] = claimant, now_s + CLAIM_S
        return ClaimReply(int(ClaimState.GRANTED))

    def renew(self, keys: list[str], claimant: str, now_s: float) -> None:
        """Whoever makes these is alive."""
        for key in keys:
            if self._claims.get(key, ("", 0.0))[0] == claimant:
                self._claims[key] = claimant, now_s + CLAIM_S

    def release(self, key: str, claimant: str) -> None:
        """It is not made after all, or not kept; the next one to ask makes it."""
        if self._claims.get(key, ("", 0.0))[0] == claimant:
            del self._claims[key]

    def keep(self, result: KeptResult, now_s: float) -> list[KeptResult]:
        """A result was made, and workers hold it.

        Returns:
            Those that are forgotten for it.
        """
        tally = self._tally(result.key, now_s)
        tally.made += 1
        self._claims.pop(result.key, None)
        self._waiting = {waiting for waiting in self._waiting if waiting[0] != result.key}
        return self.note(result)

    # --- results ------------------------------------------------------------------------------------------------------

    def note(self, result: KeptResult) -> list[KeptResult]:
        """There is such a result; gives those that are forgotten for it."""
        self._remove(result.key)
        self._results[result.key] = result
        if result.origin:
            self._of_origin.setdefault(result.origin, {})[result.key] = None
        forgotten = []
        while len(self._results) > self._results_max:
            forgotten.append(self._results[next(iter(self._results))])
            self._remove(forgotten[-1].key)
        return forgotten

    def superseded_by(self, result: KeptResult) -> list[KeptResult]:
        """The results that one that was just made stands for: of the same files in older versions, or by other transforms.

        Whoever still wants one of them finds it, as long as nothing else needs its room.
        """
        return [self._results[key] for key in self._of_origin.get(result.origin, ()) if key != result.key]

    def _remove(self, key: str) -> bool:
        known = self._results.pop(key, None)
        if known is not None and (keys := self._of_origin.get(known.origin)) is not None:
            keys.pop(key, None)
            if not keys:
                del self._of_origin[known.origin]
        return known is not None

    def used(self, key: str, now_s: float) -> None:
        """Somebody has read a result instead of making it."""
        tally = self._tally(key, now_s)
        known = self._results.get(key)
        if known is not None:
            tally.hits += 1
            tally.saved_cpu_s += known.cpu_s

    def lose(self, key: str) -> None:
        """A result is no longer held by anybody."""
        if self._remove(key):
            self._tallies.setdefault(dataset_of(key), _Tally()).lost += 1

    def drop(self, dataset: str) -> list[KeptResult]:
        """Forget a dataset; gives its results."""
        dropped = self.of(dataset)
        for result in dropped:
            self._remove(result.key)
        self._cuts.pop(dataset, None)
        self._tallies.pop(dataset, None)
        return dropped

    def datasets(self, now_s: float) -> list[KeptDataset]:
        """All datasets, by name."""
        sums: dict[str, list[float]] = {name: [0, 0, 0, 0.0] for name in self._tallies}
        for result in self._results.values():
            row = sums.setdefault(dataset_of(result.key), [0, 0, 0, 0.0])
            for position, amount in enumerate((1, result.size_bytes, result.rows, result.cpu_s)):
                row[position] += amount
        return [self._dataset(name, row, now_s) for name, row in sorted(sums.items())]

    def _dataset(self, name: str, row: list[float], now_s: float) -> KeptDataset:
        tally = self._tallies.get(name) or _Tally()
        groups, size_bytes, rows, cpu_s = row
        idle_s = -1.0 if tally.last_s < 0 else now_s - tally.last_s
        counts = (tally.hits, tally.made, tally.waited, tally.taken_over, tally.lost)
        return KeptDataset(name, int(groups), int(size_bytes), int(rows), cpu_s, tally.saved_cpu_s, *counts, idle_s)

    def _tally(self, key: str, now_s: float) -> _Tally:
        tally = self._tallies.setdefault(dataset_of(key), _Tally())
        tally.last_s = now_s
        return tally

    def __iter__(self) -> Iterator[KeptResult]:
        return iter(self._results.values())


def dataset_of(key: str) -> str:
    """The dataset that a result belongs to."""
    return key.partition("/")[0]
