"""What this node's readers have counted, on its way to the master. Pure.

The sum goes with every heartbeat, so a lost one loses nothing. Counts per reader (job, task, dataset) go as numbered
batches instead: a table of every reader there ever was would grow without end. A batch is repeated until a heartbeat
that carried it was accepted; the master takes each number once.

A heartbeat names the deliveries that have come into its sum since the last one arrived: a reader whose worker died before
it could answer asks the master, which then knows whether that delivery has been counted.
"""

from __future__ import annotations

from raycache.messages import LATENCY_BOUNDS_S, OTHER_READERS, Deliveries, Delivery, ReadCounters, ReadTag

#: Readers counted one by one in a batch; all others count as one.
READERS_MAX = 256
#: Batches that may wait for the master; while it is away, what is read joins the next one.
BATCHES_MAX = 8


class Readings:
    """The counts of one worker incarnation."""

    def __init__(self) -> None:
        #: Of all readers, since the start.
        self.total = ReadCounters()
        self._deliveries = Deliveries()
        #: Taken in since the last heartbeat that arrived: (reader, number).
        self.unconfirmed: dict[str, int] = {}
        #: Shape (14,), since the start; see `Counts.latencies`.
        self.latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)
        #: By Ray job and dataset, not exported yet.
        self._unexported: dict[tuple[str, str], ReadCounters] = {}
        self._open: dict[ReadTag, ReadCounters] = {}
        self._batches: list[tuple[int, list[tuple[ReadTag, ReadCounters]]]] = []
        self._number = 0

    def add(self, delivery: Delivery) -> None:
        """Take a reader's counts in, once."""
        if not self._deliveries.is_new(delivery):
            return
        self.unconfirmed[delivery.reader] = delivery.number
        counts = delivery.counts
        self.total = self.total.plus(counts.total())
        if counts.latencies:
            self.latencies = [a + b for a, b in zip(self.latencies, counts.latencies, strict=True)]
        for tag, counters in counts.readers:
            known = tag if tag in self._open or len(self._open) < READERS_MAX else OTHER_READERS
            self._open[known] = self._open.get(known, ReadCounters()).plus(counters)
            read = (tag.job, tag.dataset)
            if read not in self._unexported and len(self._unexported) >= READERS_MAX:
                read = (OTHER_READERS.job, OTHER_READERS.dataset)
            self._unexported[read] = self._unexported.get(read, ReadCounters()).plus(counters)

    def take_unexported(self) -> dict[tuple[str, str], ReadCounters]:
        """What was read since the last call, by (Ray job, dataset): for the metrics."""
        taken, self._unexported = self._unexported, {}
        return taken

    def batches(self) -> list[tuple[int, list[tuple[ReadTag, ReadCounters]]]]:
        """What to send with the next heartbeat."""
        if self._open and len(self._batches) < BATCHES_MAX:
            self._number += 1
            self._batches.append((self._number, list(self._open.items())))
            self._open = {}
        return list(self._batches)

    def arrived(
        self, batches: list[tuple[int, list[tuple[ReadTag, ReadCounters]]]], deliveries: dict[str, int]
    ) -> None:
        """A heartbeat with these batches and deliveries was accepted."""
        self.unconfirmed = {r: n for r, n in self.unconfirmed.items() if n > deliveries.get(r, 0)}
        if batches:
            self._batches = [batch for batch in self._batches if batch[0] > batches[-1][0]]
