"""What the namespace forgets when it is full: by directory, roughly the least recently used one first. Pure.

Theory of operation. A clock (second chance): a hand goes over the keys of a store, over and over. A directory that was used
since the hand last came by is spared once; what stands directly in any other is forgotten (`Keyspace.uncover`, at once, then
`Keyspace.drop`, as the hand goes on). So forgetting costs a bounded time in each call, and nothing is kept per directory but
the names of those in use.

Forgetting is exact: what is known of other directories, of the directory's own existence and of its subdirectories holds.

Source: Corbató, "A Paging Experiment with the Multics System", 1968.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from raycache.master.namespace.keyspace import Keyspace

#: Directories in use that are known as such; beyond, none is.
_USED_MAX = 200_000
#: Listings of everything below a directory that are known as in use.
_TREES_MAX = 16


class ClockHand:
    """Goes over one store.

    Args:
        store: what is known of it.
    """

    def __init__(self, store: Keyspace) -> None:
        self._store = store
        self._key = ""
        self._used: dict[str, None] = {}
        self._trees: deque[str] = deque(maxlen=_TREES_MAX)
        #: The directory that was spared last, since the hand may stop in the middle of it.
        self._spared: str | None = None
        self._forgets = False

    def touch(self, prefix: str, *, recursive: bool = False) -> None:
        """A directory is used; recursive: with everything below it."""
        if recursive:
            self._trees.append(prefix)
            return
        if len(self._used) >= _USED_MAX:
            self._used.clear()
        self._used[prefix] = None

    def turn(self, steps: int, kept: Sequence[str] = ()) -> None:
        """Go on over some keys.

        Args:
            steps: how many.
            kept: prefixes below which nothing is forgotten.
        """
        dropped: list[str] = []
        # Entered anew in each turn: what the hand has begun to forget may have been learned again meanwhile.
        here: str | None = None
        for key in self._store.keys_from(self._key, steps):
            directory = key[: key.rfind("/") + 1]
            if directory != here:
                here = directory
                self._enter(directory, kept)
            if self._forgets and key != directory:
                dropped.append(key)
            self._key = key + "\0"
            steps -= 1
        if steps:  # the end: from the beginning again
            self._key, self._spared = "", None
            self._trees.clear()
        self._store.drop(dropped)

    def _enter(self, directory: str, kept: Sequence[str]) -> None:
        spared = directory in self._used or directory == self._spared
        self._used.pop(directory, None)
        if spared:
            self._spared = directory
        self._forgets = not (spared or directory.startswith((*kept, *self._trees)))
        if self._forgets:
            self._store.uncover(directory)
