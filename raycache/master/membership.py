"""Which worker lives on which node: the nodes Ray reports, and the heartbeats of the workers.

Theory of operation. Each live node should have one worker. Each incarnation of a worker has an epoch; epochs grow for
as long as the cache exists, over restarts of the master too, since they start from the time of its start. The states
of a node's worker, and what moves it between them:

    STARTING   an actor was asked for; it has not spoken yet
    LIVE       it takes part in placement
    SILENT     no heartbeat for too long; it may come back until another is started
    LOST       its actor ended, or never started

`_MOVES` is the table. A LOST worker is started again, at a new epoch, after a back-off that doubles with each failure in
a row. A SILENT one holds all that it has cached, and its actor lives, as far as Ray knows: it is given `REPLACE_TIMEOUTS`
times the time-out to speak again, and only then ended and replaced. Messages of an epoch that has ended, or that is older
than the current one, are refused; the sender ends itself.

The detector suspects itself first. Silence is measured between looks, so a look that comes late shifts all clocks by the
master's own absence. When more than `DOUBT_SHARE` of the live workers are silent at once, or of the nodes vanish at once,
the master's own ears are the likelier cause: the workers are asked directly, the nodes looked for again, and only what is
still missing after that is believed. An empty list of nodes is never believed, since the master is on one of them.

A restarted master knows no worker, but they are there: for a while, the *settling*, it starts none on nodes that have
not spoken, and takes each one that speaks over as it is (`AdoptWorker`). Meanwhile it gives out no new view, since a
view of half the workers would move half the blocks; settling ends early when every node has spoken.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from raycache.messages import WORKER_NAME_PREFIX
from raycache.types import MembershipView, WorkerId, WorkerView

#: A start that has not been answered after this long has failed.
START_TIMEOUT_S = 120.0
RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0
#: A worker that has lived this long has not failed in a row.
STEADY_S = 60.0
#: How long a restarted master waits to hear of the workers it had.
SETTLING_S = 10.0
#: Between two looks at the nodes; more than that, and it was the master that was away.
AWAY_MIN_S = 2.0
#: More than this share of the workers, or of the nodes, and more than one, is not lost without a second look.
DOUBT_SHARE = 1 / 3
#: How long many nodes must be gone until that is believed.
NODES_DOUBT_S = 5.0
#: A silent worker is ended and replaced after so many times the heartbeat time-out.
REPLACE_TIMEOUTS = 8.0


class StartWorker(NamedTuple):
    """Start a worker's actor on its node."""

    worker: WorkerId
    epoch: int
    actor_name: str


class AdoptWorker(NamedTuple):
    """A worker of an earlier master has spoken: find its actor, and watch it."""

    worker: WorkerId
    epoch: int
    actor_name: str


class ForgetWorker(NamedTuple):
    """The worker's node is gone."""

    worker: WorkerId
    epoch: int


class AskWorker(NamedTuple):
    """Too many are silent at once: ask this one for its word."""

    worker: WorkerId
    epoch: int
    actor_name: str


class EndWorker(NamedTuple):
    """It has been silent for so long that another takes its place: end its actor, which holds memory and disk."""

    worker: WorkerId
    epoch: int
    actor_name: str


Effect: TypeAlias = StartWorker | AdoptWorker | ForgetWorker | AskWorker | EndWorker


class WorkerState(enum.Enum):
    """See the module's text."""

    STARTING = "starting"
    LIVE = "live"
    SILENT = "silent"
    LOST = "lost"


class Event(enum.Enum):
    """What happens to a worker."""

    SPOKE = "spoke"
    #: Nothing heard for too long.
    QUIET = "quiet"
    ENDED = "ended"
    #: The back-off is over.
    RETRY = "retry"


_MOVES: dict[tuple[WorkerState, Event], WorkerState] = {
    (WorkerState.STARTING, Event.SPOKE): WorkerState.LIVE,
    (WorkerState.STARTING, Event.QUIET): WorkerState.LOST,
    (WorkerState.STARTING, Event.ENDED): WorkerState.LOST,
    (WorkerState.LIVE, Event.SPOKE): WorkerState.LIVE,
    (WorkerState.LIVE, Event.QUIET): WorkerState.SILENT,
    (WorkerState.LIVE, Event.ENDED): WorkerState.LOST,
    (WorkerState.SILENT, Event.SPOKE): WorkerState.LIVE,
    (WorkerState.SILENT, Event.ENDED): WorkerState.LOST,
    (WorkerState.SILENT, Event.RETRY): WorkerState.STARTING,
    (WorkerState.LOST, Event.RETRY): WorkerState.STARTING,
}


@dataclasses.dataclass(slots=True)
class _Worker:
    epoch: int
    state: WorkerState
    #: When it spoke last, or was asked for.
    heard_s: float
    #: When it came to its state.
    since_s: float
    #: 0 until it has said.
    weight_bytes: int = 0
    failures: int = 0
    retry_at_s: float = 0.0
    adopt: bool = False
    #: When it was asked for its word, as one of too many that were silent at once.
    asked_s: float | None = None


class Membership:
    """All workers.

    Args:
        first_number: epochs and view ids are larger than it; the time of the master's start in nanoseconds.
        heartbeat_timeout_s: silence after which a worker counts as lost.
        restarted: an earlier master of this cache may have left workers.
        cache_id: for the names of the workers' actors.
    """

    def __init__(
        self, first_number: int, heartbeat_timeout_s: float, *, restarted: bool = False, cache_id: str = ""
    ) -> None:
        self._cache_id = cache_id
        self._last_epoch = first_number
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._settling = restarted
        self._settled_at_s: float | None = None
        self._workers: dict[WorkerId, _Worker] = {}
        #: None until Ray's nodes have been seen once.
        self._nodes: tuple[WorkerId, ...] | None = None
        #: Nodes that are not in Ray's list, but are not believed to be gone yet: since when.
        self._vanished_s: dict[WorkerId, float] = {}
        self._looked_s: float | None = None
        self._view = MembershipView(first_number, ())

    # --- events -------------------------------------------------------------------------------------------------------

    def nodes_changed(self, nodes: Sequence[WorkerId], now_s: float) -> list[Effect]:
        """Compare the live nodes with the workers; to be called every half second or so, also without a change.

        Args:
            nodes: Ray's live nodes.
            now_s: the time.

        Returns:
            What to do, in order.
        """
        self._suspect_self(now_s)
        if not nodes:
            return []
        self._nodes = self._believed(nodes, now_s)
        live = set(self._nodes)
        gone = [worker for worker in self._workers if worker not in live]
        effects: list[Effect] = [ForgetWorker(worker, self._workers.pop(worker).epoch) for worker in gone]
        self._settle(now_s)
        effects += self._silence(now_s)
        for node in self._nodes:
            known = self._workers.get(node)
            if known is None:
                if not self._settling:
                    known = self._workers[node] = _Worker(0, WorkerState.LOST, now_s, now_s)
                    effects += self._start(node, known, now_s)
            elif known.state in (WorkerState.SILENT, WorkerState.LOST) and now_s >= known.retry_at_s:
                effects += self._start(node, known, now_s)
            elif known.adopt:
                known.adopt = False
                effects.append(AdoptWorker(node, known.epoch, self._actor_name(node, known.epoch)))
        self._refresh_view()
        return effects

    def spoke(self, worker: WorkerId, epoch: int, weight_bytes: int, now_s: float) -> bool:
        """A worker registered or sent a heartbeat.

        Args:
            worker: its node.
            epoch: its incarnation.
            weight_bytes: capacity of all its tiers. The first one of an epoch counts: a weight that follows every
                change of the quota would move blocks about.
            now_s: the time.

        Returns:
            Whether it is the node's current worker. A refused one should end itself.
        """
        known = self._workers.get(worker)
        if known is None or epoch > known.epoch:
            if self._nodes is not None and worker not in self._nodes:
                return False
            # An earlier master's: those that this one started are in the table, with the largest epoch of all.
            known = self._workers[worker] = _Worker(epoch, WorkerState.STARTING, now_s, now_s, adopt=True)
            self._last_epoch = max(self._last_epoch, epoch)
        if epoch != known.epoch or (known.state, Event.SPOKE) not in _MOVES:
            return False
        # Most heartbeats change nothing of the view, and making it again costs time for each worker.
        seen = known.state, known.weight_bytes
        self._move(known, Event.SPOKE, now_s)
        known.heard_s = now_s
        known.asked_s = None
        known.weight_bytes = known.weight_bytes or weight_bytes
        if seen != (known.state, known.weight_bytes):
            self._refresh_view()
        return True

    def alive(self, worker: WorkerId, epoch: int, now_s: float) -> None:
        """A live worker's process runs, although its event loop may be too busy for a heartbeat."""
        known = self._workers.get(worker)
        if known is not None and known.epoch == epoch and known.state is WorkerState.LIVE:
            known.heard_s, known.asked_s = now_s, None

    def ended(self, worker: WorkerId, epoch: int, now_s: float) -> bool:
        """A worker's actor ended, or could not be started. Late news of an older epoch change nothing.

        Returns:
            Whether it was the node's current worker.
        """
        known = self._workers.get(worker)
        if known is None or known.epoch != epoch:
            return False
        self._move(known, Event.ENDED, now_s)
        self._refresh_view()
        return True

    # --- looking ------------------------------------------------------------------------------------------------------

    def view(self) -> MembershipView:
        """The live workers."""
        return self._view

    def news(self, view_id: int) -> MembershipView | None:
        """The view for a caller that knows `view_id`; None when that is current, or while settling."""
        return None if self._settling or view_id == self._view.view_id else self._view

    @property
    def settling(self) -> bool:
        """Whether workers of an earlier master may not have spoken yet."""
        return self._settling

    def missing(self) -> tuple[int, int]:
        """(live nodes without a live worker, live workers); (1, 0) before the nodes were first seen."""
        alive = len(self._view.workers)
        return (1, 0) if self._nodes is None else (len(self._nodes) - alive, alive)

    def states(self, now_s: float) -> list[tuple[WorkerId, int, str, float]]:
        """(worker, epoch, state, seconds since it was heard), sorted by worker."""
        return [
            (worker, known.epoch, known.state.value, max(0.0, now_s - known.heard_s))
            for worker, known in sorted(self._workers.items())
        ]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _suspect_self(self, now_s: float) -> None:
        """Shift all clocks by the time that this master was away: what was said meanwhile is still to be read."""
        away_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        self._looked_s = now_s
        if away_s <= AWAY_MIN_S:
            return
        for known in self._workers.values():
            known.heard_s = min(now_s, known.heard_s + away_s)
            known.retry_at_s += away_s if known.state is WorkerState.SILENT else 0.0
            known.asked_s = None if known.asked_s is None else min(now_s, known.asked_s + away_s)
        self._vanished_s = dict.fromkeys(self._vanished_s, now_s)
        if self._settled_at_s is not None:
            self._settled_at_s += away_s

    def _believed(self, nodes: Sequence[WorkerId], now_s: float) -> tuple[WorkerId, ...]:
        """Ray's live nodes, with those of them that may just be missing from this list."""
        found = set(nodes)
        gone = [node for node in self._nodes or () if node not in found]
        self._vanished_s = {node: self._vanished_s.get(node, now_s) for node in gone}
        if _is_doubtful(len(gone), len(self._nodes or ())):
            found.update(node for node in gone if now_s - self._vanished_s[node] < NODES_DOUBT_S)
        return tuple(sorted(found))

    def _silence(self, now_s: float) -> list[Effect]:
        """Notice who has not spoken for too long; whom to ask before that is believed."""
        effects: list[Effect] = []
        live = {node: known for node, known in self._workers.items() if known.state is WorkerState.LIVE}
        quiet = [node for node, known in live.items() if now_s - known.heard_s > self._heartbeat_timeout_s]
        doubtful = _is_doubtful(len(quiet), len(live))
        for node in quiet:
            known = live[node]
            if doubtful and known.asked_s is None:
                known.asked_s = now_s
                effects.append(AskWorker(node, known.epoch, self._actor_name(node, known.epoch)))
            if not doubtful or now_s - (known.asked_s or 0.0) > self._heartbeat_timeout_s:
                self._move(known, Event.QUIET, now_s)
        for known in self._workers.values():
            if known.state is WorkerState.STARTING and now_s - known.heard_s > START_TIMEOUT_S:
                self._move(known, Event.QUIET, now_s)
        return effects

    def _start(self, node: WorkerId, known: _Worker, now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        if known.state is WorkerState.SILENT:
            effects.append(EndWorker(node, known.epoch, self._actor_name(node, known.epoch)))
        self._move(known, Event.RETRY, now_s)
        self._last_epoch += 1
        known.epoch = self._last_epoch
        known.heard_s = now_s
        known.weight_bytes = 0
        known.adopt = False
        known.asked_s = None
        return [*effects, StartWorker(node, known.epoch, self._actor_name(node, known.epoch))]

    def _move(self, known: _Worker, event: Event, now_s: float) -> None:
        state = _MOVES.get((known.state, event))
        if state is None or state is known.state:
            return
        if state in (WorkerState.SILENT, WorkerState.LOST):
            steady = known.state is WorkerState.LIVE and now_s - known.since_s >= STEADY_S
            known.failures = 1 if steady else known.failures + 1
            pause_s = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(10, known.failures - 1))
            if state is WorkerState.SILENT:
                pause_s = max(pause_s, (REPLACE_TIMEOUTS - 1) * self._heartbeat_timeout_s)
            known.retry_at_s = now_s + pause_s
        known.state = state
        known.since_s = now_s

    def _actor_name(self, worker: WorkerId, epoch: int) -> str:
        return actor_name(self._cache_id, worker, epoch)

    def _settle(self, now_s: float) -> None:
        if not self._settling:
            return
        if self._settled_at_s is None:
            self._settled_at_s = now_s + SETTLING_S
        spoken = all(node in self._workers for node in self._nodes or ())
        self._settling = not spoken and now_s < self._settled_at_s

    def _refresh_view(self) -> None:
        workers = tuple(
            WorkerView(worker, known.epoch, max(1, known.weight_bytes), self._actor_name(worker, known.epoch))
            for worker, known in sorted(self._workers.items())
            if known.state is WorkerState.LIVE
        )
        if workers != self._view.workers:
            self._view = MembershipView(self._view.view_id + 1, workers)


def _is_doubtful(lost: int, of: int) -> bool:
    """Whether so many at once are rather a fault of the one who looks."""
    return lost > max(1, DOUBT_SHARE * of)


def actor_name(cache_id: str, worker: WorkerId, epoch: int) -> str:
    """The name of one incarnation's actor: nobody who knows it ever reaches a later one, or one of another cache."""
    return f"{WORKER_NAME_PREFIX}{cache_id}-{worker}-{epoch}"
