"""The checkers of the rules on paths (quotas, TTLs), and of syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raycache.ranges import block_length
from raycache.rules import Matcher, quotas_of
from raycache.types import BlockId

from .checkers import Checker

if TYPE_CHECKING:
    from .cluster import Cluster
    from .worker import SimulatedWorker


class RulesAreKept(Checker):
    """What is cached below a path never exceeds its quota further than it did when the quota was set.

    Of one worker that is its share. Of all together it is the quota, where no worker comes or goes. And in the end
    nothing has outlived its TTL, and every worker knows the master's rules.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        #: (worker, quota) -> (version of the rules, bytes that may be taken).
        self._of_worker: dict[tuple[str, str], tuple[int, int]] = {}
        #: Quota -> the same for all.
        self._of_all: dict[str, tuple[int, int]] = {}

    def after_event(self, acted: list[SimulatedWorker]) -> None:
        """Weigh the workers that have just acted, and then all together."""
        for worker in acted:
            books = worker.service.rule_books
            taken = self._taken(worker)
            for base in books.limits:
                version, bound = self._of_worker.get((worker.name, base), (-1, 0))
                now = taken.get(base, 0)
                if version == books.version:
                    self.require(now <= bound, f"{worker.name} takes {now} bytes of {base}, {bound} are allowed")
                self._of_worker[worker.name, base] = (books.version, max(now, books.limits[base]))
        master = self.cluster.master
        if not acted or master is None or not self.cluster.plan.calm:
            return
        rules, workers = master.service.rules, self.cluster.live_workers()
        if any(worker.service.rule_books.version != rules.version for worker in workers):
            return
        for base, quota in quotas_of(rules).items():
            now = sum(self._taken(worker).get(base, 0) for worker in workers)
            version, bound = self._of_all.get(base, (-1, 0))
            if version == rules.version:
                self.require(now <= bound, f"all take {now} bytes of {base}, {bound} are allowed")
            self._of_all[base] = (rules.version, max(now, quota))

    def _taken(self, worker: SimulatedWorker) -> dict[str, int]:
        """By quota: readable blocks, and loads on their way."""
        books = worker.service.rule_books
        if not books.used():
            return {}
        taken: dict[str, int] = {}
        block_bytes = worker.limits.block_size_bytes
        table = worker.service._table
        for version in table.versions():
            file = table.file(version)
            mask = worker.held_masks([version])[0]
            size = sum(block_length(i, file.size_bytes, block_bytes) for i in range(mask.bit_length()) if mask >> i & 1)
            for base in books.of(file.uri).quotas:
                taken[base] = taken.get(base, 0) + size
        for load in worker.running.values():
            for item in load.items:
                for base in books.of(item.version.uri).quotas:
                    taken[base] = taken.get(base, 0) + item.length
        return taken

    def at_rest(self) -> None:
        """Everyone knows the rules, nothing is too old, and no quota is exceeded by what is not pinned."""
        master, now_s = self.cluster.master, self.cluster.engine.now_s
        assert master is not None
        rules = master.service.rules
        matcher = Matcher(rules)
        taken = dict.fromkeys(quotas_of(rules), 0)
        for worker in self.cluster.live_workers():
            known = worker.service.rule_books.version
            self.require(known == rules.version, f"{worker.name} knows rules {known}, they are at {rules.version}")
            for segment in worker.service._table.segments.values():
                for block, entry in segment.entries.items():
                    file_rules = matcher.of(entry.version.uri)
                    age_s = now_s - segment.loaded_at_s
                    # Ticks come once a second.
                    good = file_rules.pinned or file_rules.ttl_s is None or age_s <= file_rules.ttl_s + 1.5
                    self.require(
                        good, f"{worker.name} holds {BlockId(*block)} for {age_s} s, its TTL is {file_rules.ttl_s}"
                    )
                    for base in file_rules.quotas if not file_rules.pinned else ():
                        taken[base] += entry.length
        for base, quota in quotas_of(rules).items():
            self.require(taken[base] <= quota, f"{taken[base]} bytes of {base} are cached, its quota is {quota}")


class SyncsAreExact(Checker):
    """After a sync the cache knows exactly what the lake has, and no worker holds any other version."""

    def at_rest(self) -> None:
        """The lake has not changed for a while; one sync settles everything, the next finds nothing."""
        cluster = self.cluster
        lake, cache = cluster.lake, cluster.clients[0].cache
        files = [key for key in lake.history if lake.content(key) is not None]
        if not files:
            return
        cache.sync("/lake")
        again = cache.sync("/lake", dry_run=True)
        told = (again.added.files, again.changed.files, again.removed.files, again.unchanged.files)
        self.require(told == (0, 0, 0, len(files)), f"after a sync (added, changed, removed, unchanged) are {told}")
        cluster.engine.run_until(cluster.engine.now_s + 3.0)
        now = {lake.version(key).id() for key in files}
        for worker in cluster.live_workers():
            table = worker.service._table
            stale = [table.file(version).uri for version in table.versions() if version not in now]
            self.require(not stale, f"{worker.name} holds other versions of {stale} after a sync")
