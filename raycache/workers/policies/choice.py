"""Which policy would do best here, and how much other sizes would give: miniatures on a sample of what is asked for.

Theory of operation. Every policy runs in miniature at the size of the cache, and at `SIZES` times that. What they hit is
counted in windows, as long as half of what the cache has room for. By how much a policy does better than the one in force,
beyond `MARGIN`, is summed up over windows, never below zero; the policy in force gives way to the first that is better over the
last windows together (a loop may hit all that a policy has kept of it in one of them), and whose sum comes to
`ENOUGH`, or, after each change for a while, to twice as much. So a change that is worth nothing is not made, nor one for a passing burst; but what readers do now that loops
instead is followed within about as many references as there are entries in the cache.

Nothing here knows what the cache holds: miniatures see what is asked for, whatever becomes of it.

Sources: miniature simulations (Waldspurger et al., USENIX ATC 2017), on the sample of `references`; cumulative sums (Page,
Biometrika 1954).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from raycache.messages import PolicyChange
from raycache.workers.policies.miniature import Miniature
from raycache.workers.policies.references import References
from raycache.workers.policies.table import POLICIES

#: Sizes that miniatures have, as multiples of the cache's. Ends with the largest.
SIZES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: What another policy does better in one window counts from here on, in hits of all bytes asked for; and what that must sum to.
MARGIN = 0.02
ENOUGH = 0.3
_ENOUGH_MAX = 4.8
#: What is left of the raised one after a window.
_CALMING = 0.99
#: Of the memory of what was hit lately, beside that of the rates that are said.
_LATELY = 0.85
_WINDOW_MIN = 48
_DECAY = 0.93
#: Changes that are remembered.
_HISTORY_MAX = 32


class _Course:
    """One miniature, and what it hit."""

    def __init__(self, policy: str, size: float) -> None:
        self.size = size
        self.cache: Miniature[int] = Miniature(POLICIES[policy], 0.0)
        #: Of the open window, and of all, decayed: bytes hit.
        self.window_bytes = 0
        self.hit_bytes = 0.0
        #: Hits of all bytes asked for, lately.
        self.lately = 0.0


class PolicyChoice:
    """Chooses for one worker.

    Args:
        eviction: a policy, or "auto": any, LRU at first.
    """

    def __init__(self, eviction: str) -> None:
        self.is_free = eviction == "auto"
        self.policy = "lru" if self.is_free else eviction
        self.references = References()
        self.history: deque[PolicyChange] = deque(maxlen=_HISTORY_MAX)
        self.changes = 0
        self._courses = {name: [_Course(name, size) for size in SIZES] for name in POLICIES}
        self._capacity_bytes = 0
        self._window_count = 0
        self._window_bytes = 0
        #: Decayed; and since the start.
        self._asked_bytes = 0.0
        self.references_seen = 0
        self.asked_bytes = 0
        #: By policy, by how much it did better than the one in force of late.
        self._lead = dict.fromkeys(POLICIES, 0.0)
        self._enough = ENOUGH

    def look(self, capacity_bytes: int, now_s: float) -> str | None:
        """Run the miniatures on what was asked for since the last look; to be called every second or so.

        Args:
            capacity_bytes: of both tiers.
            now_s: for the history.

        Returns:
            The policy to go on with, when it is another.
        """
        if capacity_bytes != self._capacity_bytes:
            self._capacity_bytes = capacity_bytes
            self._resize()
        before = self.policy
        for key, size_bytes in self.references.take():
            self._window_count += 1
            self._window_bytes += size_bytes
            for courses in self._courses.values():
                for course in courses:
                    if course.cache.refer(key, size_bytes):
                        course.window_bytes += size_bytes
            if self._window_count >= max(_WINDOW_MIN, self.sampled // 2):
                self._close_window(now_s)
        if self.references.adapt(max(len(courses[-1].cache) for courses in self._courses.values())):
            self._resize()
        return self.policy if self.policy != before else None

    @property
    def sampled(self) -> int:
        """Blocks of the sample that fit into the cache as it is."""
        return max(len(course.cache) for course in self._at(1.0).values())

    def rates(self, size: float = 1.0) -> Mapping[str, float]:
        """By policy, hits of all bytes asked for lately, at one of `SIZES`."""
        asked_bytes = self._asked_bytes + self._window_bytes
        if not asked_bytes:
            return dict.fromkeys(POLICIES, 0.0)
        return {name: (course.hit_bytes + course.window_bytes) / asked_bytes for name, course in self._at(size).items()}

    def _at(self, size: float) -> Mapping[str, _Course]:
        return {
            name: next(course for course in courses if course.size == size) for name, courses in self._courses.items()
        }

    def _resize(self) -> None:
        threshold, scaled_bytes = self.references.threshold, self.references.share * self._capacity_bytes
        for course in self._all():
            course.cache.resize(course.size * scaled_bytes, lambda key: key < threshold)

    def _all(self) -> Iterable[_Course]:
        return (course for courses in self._courses.values() for course in courses)

    def _close_window(self, now_s: float) -> None:
        self.references_seen += self._window_count
        self.asked_bytes += int(self._window_bytes / self.references.share)
        window_bytes = max(1, self._window_bytes)
        window = {name: course.window_bytes / window_bytes for name, course in self._at(1.0).items()}
        self._asked_bytes = _DECAY * self._asked_bytes + self._window_bytes
        for course in self._all():
            course.hit_bytes = _DECAY * course.hit_bytes + course.window_bytes
            course.lately = _LATELY * course.lately + (1 - _LATELY) * course.window_bytes / window_bytes
            course.window_bytes = 0
        self._window_count = self._window_bytes = 0
        for name, rate in window.items():
            self._lead[name] = max(0.0, self._lead[name] + rate - window[self.policy] - MARGIN)
        # The first of equals.
        best = max(self._lead, key=lambda name: self._lead[name])
        self._enough = max(ENOUGH, self._enough * _CALMING)
        lately = {name: course.lately for name, course in self._at(1.0).items()}
        if self.is_free and self._lead[best] >= self._enough and lately[best] >= lately[self.policy] + MARGIN:
            rates = self.rates()
            self.history.append(PolicyChange(now_s, self.policy, best, rates[self.policy], rates[best]))
            self.policy, self._lead = best, dict.fromkeys(POLICIES, 0.0)
            self.changes += 1
            self._enough = min(2 * self._enough, _ENOUGH_MAX)
