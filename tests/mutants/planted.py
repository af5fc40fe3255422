"""The faults: each one text of one file, replaced by another that a programmer might well have written.

Most are in code that decides (no Ray, no I/O), the others in the few lines by which data outlive a crash. Tests are those that
one would expect to catch a fault; that they do is what the run shows.
"""

from __future__ import annotations

from typing import NamedTuple

MASTER = "tests/unit/master"
SPACE = f"{MASTER}/namespace tests/property/test_namespace.py"
LOADS = f"{MASTER}/loads tests/unit/workers/test_claims.py"
JOURNAL = f"tests/contract/test_journal.py {MASTER}/test_scribe.py"
GROUND = "tests/unit/test_foundation.py tests/unit/test_digests.py tests/unit/test_paths.py"
WORKER = "tests/unit/workers tests/property/test_worker_service.py"
SIMULATION = "tests/simulation/test_simulation.py tests/simulation/test_planted_faults.py"


class Mutation(NamedTuple):
    """One fault."""

    #: What goes wrong, in a few words.
    what: str
    path: str
    #: Stands in the file exactly once.
    old: str
    new: str
    #: Files or directories of tests.
    tests: str
    #: Why it may survive; "" where it must be caught.
    excuse: str = ""


MEMBERS = f"{MASTER}/test_membership.py {MASTER}/test_worker_keeper.py {MASTER}/test_service.py"

PLANTED: tuple[Mutation, ...] = (
    # --- what outlives a crash ---
    Mutation("no second look at HDFS and GCS files after a read", "raycache/ufs/arrow.py",
             "        if version is not None:\n            check_version", "        if version is None:\n            check_version",
             "tests/unit/ufs/test_versions.py"),
    Mutation("a half record stays after a failed append", "raycache/master/journal/file_journal.py",
             "                    os.ftruncate(descriptor, size)\n", "", JOURNAL),
    Mutation("the journal is not synced", "raycache/master/journal/file_journal.py",
             "    if sync:\n        os.fsync(descriptor)\n\n\ndef _sync", "\n\ndef _sync", JOURNAL),
    Mutation("the journal's directory is not synced", "raycache/master/journal/file_journal.py",
             "            if new:\n                _sync_directory", "            if not new:\n                _sync_directory", JOURNAL),
    Mutation("the local writer does not sync", "raycache/ufs/local_writer.py",
             "                    os.fsync(self._stream.fileno())", "                    pass", "tests/unit/ufs/test_local.py"),
    Mutation("the namespace's bound never acts", "raycache/master/namespace/catalog.py",
             "        while steps > 0 and self.is_full:", "        while steps > 0 and not self.is_full and False:", SPACE),
    Mutation("a disk trailer's lengths are not compared with the file", "raycache/workers/stores/disk.py",
             " and trailer.data_bytes + trailer.footer_bytes + _TRAILER.size == size_bytes:", ":",
             "tests/unit/workers/stores/test_disk.py"),
    Mutation("`Locator.forget` leaves what lies below", "raycache/client/locator.py",
             "            for name, meta in list(self._metas.items()):\n"
             "                if meta.path in dropped or meta.path.startswith(below):",
             "            for name, meta in list(self._metas.items()):\n                if meta.path in dropped:",
             "tests/unit/client"),
    Mutation("invalidations beyond the first 10,000 are never told", "raycache/master/service.py",
             "        known.heard = self._invalidated_start + until\n",
             "        known.heard = self._invalidated_start + len(self._invalidated)\n", f"{MASTER}/test_service.py"),
    Mutation("`move` deletes sources after a failed copy", "raycache/client/writes.py",
             "        moved = self._copy(places, copy_to_move)\n        self.delete([source.path for (source, _), done in "
             "zip(places, moved, strict=True) if done])",
             "        try:\n            self._copy(places, copy_to_move)\n        finally:\n"
             "            self.delete([source.path for source, _ in places])", "tests/unit/client"),
    # --- journal ---
    Mutation("a number that is taken is overwritten, whoever has it", "raycache/master/journal/ufs_journal.py",
             "            if owners - {self._owner} or self._owner == NOBODY:", "            if self._owner == NOBODY:", JOURNAL),
    Mutation("who begins takes a living cache's journal", "raycache/master/journal/ufs_journal.py",
             "            if age_s < SIGN_AGE_MAX_S:", "            if age_s < 0:", JOURNAL),
    Mutation("damage in the middle is passed over in silence", "raycache/master/journal/records.py",
             '            damage.append(f"{place}: line {position} is damaged; what it said is lost")\n', "", JOURNAL),
    Mutation("a missing line is not missed", "raycache/master/journal/records.py",
             "        if number is not None and number != expected:", "        if number is not None and number < expected:", JOURNAL),
    Mutation("a newer format is read as if it were this one", "raycache/master/journal/records.py",
             "    if int(fields[0]) > FORMAT:", "    if int(fields[0]) > FORMAT + 1:", JOURNAL),
    Mutation("a damaged snapshot counts", "raycache/master/journal/ufs_journal.py",
             "            if not (one.damage or one.torn):", "            if one is not None:", JOURNAL),
    Mutation("records before the snapshot are replayed, too", "raycache/master/journal/ufs_journal.py",
             'if kind == "record" and number >= first)', 'if kind == "record")', JOURNAL),
    Mutation("after a failed write the next one is just added", "raycache/master/journal/scribe.py",
             "            self._doubtful = True\n            self._say(error)", "            self._say(error)", JOURNAL),
    Mutation("a write that hangs is waited for by all", "raycache/master/journal/scribe.py",
             "        if self._hung is not None and not self._hung.done():", "        if self._hung is not None and self._hung.done():",
             JOURNAL),
    Mutation("a stopped cache writes on", "raycache/master/journal/scribe.py",
             '            self._lost, self.problem = True, "the cache is stopped"', '            self.problem = "the cache is stopped"',
             JOURNAL),
    # --- members ---
    Mutation("a master that was away counts its absence as silence", "raycache/master/membership.py",
             "        if away_s <= AWAY_MIN_S:", "        if away_s >= 0:", MEMBERS),
    Mutation("a deaf master gives up everybody", "raycache/master/membership.py",
             "    return lost > max(1, DOUBT_SHARE * of)", "    return lost > of", MEMBERS),
    Mutation("an empty list of nodes is believed", "raycache/master/membership.py",
             "        if not nodes:\n            return []\n", "", MEMBERS),
    Mutation("nodes that stay away are waited for for ever", "raycache/master/membership.py",
             "if now_s - self._vanished_s[node] < NODES_DOUBT_S)", "if now_s >= self._vanished_s[node])", MEMBERS),
    Mutation("a silent worker is replaced at once", "raycache/master/membership.py",
             "                pause_s = max(pause_s, (REPLACE_TIMEOUTS - 1) * self._heartbeat_timeout_s)",
             "                pause_s = min(pause_s, (REPLACE_TIMEOUTS - 1) * self._heartbeat_timeout_s)", MEMBERS),
    Mutation("a worker that is replaced is not ended", "raycache/master/membership.py",
             "        if known.state is WorkerState.SILENT:\n            effects.append", "        if known.adopt:\n            effects.append",
             MEMBERS),
    Mutation("late news of an old end end the present worker", "raycache/master/membership.py",
             "        if known is None or known.epoch != epoch:\n            return False\n        self._move(known, Event.ENDED",
             "        if known is None:\n            return False\n        self._move(known, Event.ENDED", MEMBERS),
    Mutation("a view is given out while workers are still to speak", "raycache/master/membership.py",
             "return None if self._settling or view_id", "return None if view_id", MEMBERS),
    Mutation("every heartbeat moves blocks", "raycache/master/membership.py",
             "        known.weight_bytes = known.weight_bytes or weight_bytes", "        known.weight_bytes = weight_bytes", MEMBERS),
    # --- quotas, writes, locations ---
    Mutation("a worker's own bound limits itself", "raycache/master/quotas.py",
             "        self._forget(name)\n        if not self._quotas", "        if not self._quotas", f"{MASTER}/test_quotas.py"),
    Mutation("limits grow while some have not spoken", "raycache/master/quotas.py",
             "if complete and theirs.workers == others else had", "if complete else had", f"{MASTER}/test_quotas.py"),
    Mutation("what a worker holds is no bound", "raycache/master/quotas.py",
             "            bounds[base] = max(limit, had, heartbeat.quota_used[base])", "            bounds[base] = max(limit, had)",
             f"{MASTER}/test_quotas.py"),
    Mutation("a worker whose lease is over is waited for", "raycache/master/written.py",
             "any(known.position < position and now_s < known.spoke_s + LEASE_S for", "any(known.position < position for",
             f"{MASTER}/test_written.py"),
    Mutation("who lacks too much is told nothing", "raycache/master/written.py",
             "            return [EVERYTHING] if self.position > position else []", "            return []", f"{MASTER}/test_written.py"),
    Mutation("a lost worker's blocks stay known", "raycache/master/locations.py",
             "        self._let_go(self._slot_of.pop(worker, None))\n", "        self._slot_of.pop(worker, None)\n",
             f"{MASTER}/test_locations.py"),
    # --- namespace ---
    Mutation("an older answer undoes a newer one", "raycache/master/namespace/keyspace.py",
             "            if covered is None or covered.generation <= asked.generation:", "            if True:", SPACE),
    Mutation("what lies below a written directory stays valid", "raycache/master/namespace/keyspace.py",
             "            if self._changes.get(key[:end], 0) > generation:", "            if self._changes.get(key, 0) > generation:", SPACE),
    Mutation("a written file leaves its directory's listing valid", "raycache/master/namespace/keyspace.py",
             "        return any(self._changes[below] > generation for below in keys_below(self._changes, prefix, prefix))",
             "        return False", SPACE),
    Mutation("a forgotten directory counts as listed", "raycache/master/namespace/keyspace.py",
             "        return None if prefix in self._forgotten else self._newest_tree(prefix)",
             "        return self._newest_tree(prefix)", SPACE),
    Mutation("a listing with forgotten parts counts as whole", "raycache/master/namespace/keyspace.py",
             "        if recursive and next(keys_below(self._forgotten, prefix, prefix), None) is not None:",
             "        if recursive and prefix in self._forgotten:", SPACE),
    Mutation("a forgotten directory is gone from its parent", "raycache/master/namespace/keyspace.py",
             "        if prefix:\n            self._entries.setdefault(prefix, DIRECTORY)\n", "", SPACE),
    Mutation("a late listing makes what was forgotten as good as new", "raycache/master/namespace/keyspace.py",
             "            if newest is None or asked >= newest:", "            if True:", SPACE),
    Mutation("directories in use are forgotten like others", "raycache/master/namespace/forgetting.py",
             "        spared = directory in self._used or directory == self._spared", "        spared = False", SPACE),
    Mutation("a directory that was used once is spared for ever", "raycache/master/namespace/forgetting.py",
             "        self._used.pop(directory, None)\n", "", SPACE),
    Mutation("a sync takes in what there is no room for", "raycache/master/namespace/comparison.py",
             "        if self._may_learn():\n            return found", "        self._may_learn()\n        return found", SPACE),
    Mutation("a sync without room counts as a listing", "raycache/master/namespace/comparison.py",
             "                self._store.uncover(directory)", "                pass", SPACE),
    Mutation("a metadata TTL is for ever", "raycache/master/namespace/catalog.py",
             "            if since_s is None or since_s + place.mount.metadata_ttl_s <= now_s:", "            if since_s is None:", f"{SPACE} {MASTER}/test_service.py"),
    Mutation("a self-mount wins over an explicit one", "raycache/master/namespace/mount_table.py",
             "                    return mounts[min(mounts)], path", "                    return mounts[max(mounts)], path", SPACE),
    Mutation("an unmounted URI is still found", "raycache/master/namespace/mount_table.py",
             "        if not same:\n            del self._by_uri[mount.uri]\n", "", SPACE),
    Mutation("mounts beside a path count as below it", "raycache/master/namespace/mount_table.py",
             "        return [mounted[len(base) :] for mounted in below if mounted != base]",
             "        return [mounted[len(base) :] for mounted in below]", SPACE),
    # --- rules ---
    Mutation("a wider rule leaves the narrower ones", "raycache/rules.py",
             "        return [*self._at(rule.kind, rule.pattern.base), *self._below(rule.kind, rule.pattern.base)]",
             "        return [*self._at(rule.kind, rule.pattern.base)]", "tests/unit/test_rules.py tests/property/test_rule_set.py"),
    Mutation("the oldest of several globs holds", "raycache/rules.py",
             "                        if position > latest[rule.kind][0] and rule.pattern.names(uri):",
             "                        if rule.pattern.names(uri):", "tests/unit/test_rules.py tests/property/test_rule_set.py"),
    Mutation("a glob is looked for by more than it begins with", "raycache/paths.py",
             "    return glob if found is None else glob[: found.start()]", "    return glob if found is None else glob[: found.end()]",
             "tests/unit/test_rules.py tests/property/test_rule_set.py"),
    # --- loads ---
    Mutation("a batch comes back and its place stays taken", "raycache/master/loads/board.py",
             "        if taken < BATCHES_INFLIGHT_MAX and name in self._live:\n            self._open[name] = None\n", "", LOADS),
    Mutation("an ended job's places stay taken", "raycache/master/loads/board.py",
             "                self._back(job_id, batch_id)\n            del self._on_way[job_id]", "                pass\n            del self._on_way[job_id]",
             LOADS),
    Mutation("the lowest priority goes first", "raycache/master/loads/board.py",
             "(-job.request.priority, job.inflight_at(worker))", "(job.request.priority, job.inflight_at(worker))", LOADS),
    Mutation("the window of a load is never full", "raycache/master/loads/window.py",
             "not (self.is_through or self._backlog.waiting >= window)", "not self.is_through", LOADS),
    Mutation("all of a load is planned in one turn", "raycache/master/loads/window.py",
             "        while self.is_filling and self._backlog.waiting - start < PLANNED_PER_TURN:", "        while self.is_filling:", LOADS),
    Mutation("a retried piece follows a hint again", "raycache/master/loads/window.py",
             "            holders = () if piece.attempts else", "            holders = () if piece.sent_on else", LOADS,
             excuse="a hint that was wrong is dropped by the worker's next report; the attempts bound the rest"),
    Mutation("a lost worker's work is not looked at again", "raycache/master/loads/job.py",
             "                self._lost = True", "                self._lost = False", LOADS),
    Mutation("complaints of the lake slow nothing down", "raycache/master/loads/pacing.py",
             "                self.window = max(1.0, now / 2)", "                self.window = max(1.0, now)", LOADS),
    Mutation("a bandwidth is given back twice", "raycache/master/loads/pacing.py",
             "        self._level_bytes = min(self._burst_bytes, self._level_bytes - size_bytes)",
             "        self._level_bytes = self._level_bytes - size_bytes", LOADS,
             excuse="what is given back never exceeds what was taken, so the level stays below the burst anyway"),
    Mutation("a page closes before its last block", "raycache/master/loads/backlog.py",
             "        opened.pending_blocks -= piece.block_count", "        opened.pending_blocks -= piece.block_count + 1", LOADS),
    # --- the ground ---
    Mutation("candidates are not checked against the rest", "raycache/hashing.py",
             "    certain = (counts >= count) & (scores[last] > rest) if len(scores)", "    certain = (counts >= count) if len(scores)",
             GROUND),
    Mutation("weights do not count", "raycache/hashing.py",
             "    result: npt.NDArray[np.float64] = -weights / np.log(uniform)",
             "    result: npt.NDArray[np.float64] = -1.0 / np.log(uniform) + 0 * weights", GROUND),
    Mutation("a removal leaves later digests of its run unfound", "raycache/digests.py",
             "            if (later - keys[later]) & mask >= (later - hole) & mask:", "            if False:", GROUND),
    Mutation("the last block is as long as the others", "raycache/ranges.py",
             "    return min(block_size_bytes, file_size_bytes - index * block_size_bytes)", "    return block_size_bytes", GROUND),
    Mutation("an extent's last block belongs to the next", "raycache/ranges.py",
             "    every = (1 << blocks_per_extent) - 1", "    every = (1 << (blocks_per_extent - 1)) - 1", GROUND),
    Mutation("retries go on for ever", "raycache/ufs/retry.py",
             "            return late or used_up", "            return late",
             "tests/unit/ufs/test_retry.py"),
    Mutation("silent attempts use retries up", "raycache/ufs/retry.py",
             "                silences += 1", "                pass",
             "tests/unit/ufs/test_retry.py"),
    Mutation("a silent peer is asked on and on", "raycache/hops/breaker.py",
             "        if now_s < rest.until_s:", "        if False:",
             "tests/unit/test_hops.py"),
    Mutation("a silent peer is waited for", "raycache/hops/patience.py",
             "            if not sign.done():", "            if False:",
             "tests/unit/test_hops.py"),
    # --- workers and readers ---
    Mutation("a claim outlives `free`", "raycache/workers/claims.py",
             "        self._young.remove(key)\n        self._old.remove(key)", "        self._young.remove(key)", WORKER,
             excuse="only after 2^19 claims is there anything in the old generation"),
    Mutation("more is reserved than is free", "raycache/workers/tiers/ledger.py",
             '        assert 0 <= size_bytes <= self.free_bytes, self._story("reserve", size_bytes)\n', "", WORKER,
             excuse="an assertion: only a fault elsewhere would meet it"),
    Mutation("bytes that arrived stay reserved", "raycache/workers/tiers/ledger.py",
             "        self.reserved_bytes -= size_bytes\n        self.used_bytes += size_bytes", "        self.used_bytes += size_bytes",
             WORKER),
    Mutation("why a block went is the first reason, not the last", "raycache/workers/tiers/absences.py",
             "        self._gone[block] = reason\n", "        self._gone.setdefault(block, reason)\n", "tests/unit/client"),
    Mutation("a reader trusts a log without a lease", "raycache/client/freshness.py",
             "            self.trusted = until_s > now_s", "            self.trusted = True", "tests/unit/client"),
    Mutation("an answer older than a write is remembered", "raycache/client/freshness.py",
             "            if count > len(self._recent):\n                return [EVERYTHING]\n", "", "tests/unit/client"),
    Mutation("parts of two segments are joined as one", "raycache/client/reading/spans.py",
             "        if span.base is not base or span.start != end:", "        if span.start != end:", "tests/unit/client/reading"),
    Mutation("half of a block is asked for in pages", "raycache/client/reading/pages.py",
             "    if 2 * wanted.bit_count() * page_size_bytes >= grid.length(block, size_bytes):",
             "    if wanted.bit_count() * page_size_bytes > grid.length(block, size_bytes):", "tests/unit/client/reading"),
    Mutation("a task moves while its node is free", "raycache/raydata/queueing/dispatch.py",
             "        charged = node if self._free(node) >= 1 else max(self._cpus, key=self._free)",
             "        charged = max(self._cpus, key=self._free)", "tests/unit/raydata"),
    Mutation("a bin is closed only when it is too full", "raycache/raydata/parquet/bins.py",
             "        if self._open.get(lane) and held + size_bytes / 2 > limit:", "        if self._open.get(lane) and held > limit:",
             "tests/unit/raydata"),
)  # fmt: skip
