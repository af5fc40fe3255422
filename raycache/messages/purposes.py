"""What blocks are asked for: the purposes of a `BlockRequest`, and what each of them means to the worker.

Theory of operation. A request has one purpose. Everything else that a worker has to know of the asker's intention stands
in the table `TERMS` below, so no two fields of a request can contradict each other. There are three families:

- A reader wants bytes: `READ_*`. It first asks a worker that is hinted to hold the blocks, or the worker that the hash
  names (READ). The latter may name another worker, which has claimed the extent: that one is asked with READ_CLAIMED. What another
  worker holds is asked of the reader's own worker with READ_COPY, together with the name of the holder. READ_HELD takes
  what is here and loads nothing; workers ask each other so. Were blocks loaded for such a request, workers could wait for
  each other in a circle.
- A reader is going to want bytes: `PREFETCH_*`. The same three ways, but nothing is handed out.
- A load job wants blocks to be resident: LOAD, and REPLICATE for further copies. CHECK and VERIFY ask afterwards whether
  they still are; VERIFY also compares what is on disk with its checksum, and a bad block counts as missing.

Beside its purpose a request has one claim for each block, since one call to a worker may carry blocks that it may send on
to another worker, and blocks that it must load.

The numbers of purposes and claims travel; the names do not.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Purpose(enum.IntEnum):
    """What blocks are asked for."""

    READ = 0
    READ_CLAIMED = 1
    READ_COPY = 2
    READ_HELD = 3
    PREFETCH = 4
    PREFETCH_CLAIMED = 5
    PREFETCH_COPY = 6
    LOAD = 7
    REPLICATE = 8
    CHECK = 9
    VERIFY = 10


class Claim(enum.IntEnum):
    """What the claim of another worker on a block's extent means to a request; see `workers/claims.py`."""

    #: Nothing: this worker loads the block. If it comes from the lake, the claim is forgotten.
    IGNORE = 0
    #: The asker follows it: the answer is ELSEWHERE and the name of the claimant. Without a claim, this worker loads.
    FOLLOW = 1
    #: As FOLLOW; and what nobody has or has claimed is claimed for the worker on the asker's node.
    CLAIM = 2


class Need(enum.IntEnum):
    """How much a missing block is needed, which decides what room is made for it. The most urgent asker decides for all."""

    #: A further copy: never from the lake, into free memory only, and the first to be evicted.
    WELCOME = 0
    #: Another worker can load it: into free memory only.
    WISHED = 1
    #: Whatever is coldest makes room. For a load job, only what was neither loaded nor used since the job began.
    NEEDED = 2


class Terms(NamedTuple):
    """What one purpose means to the worker."""

    #: The reply carries grants; else only states.
    hands_out: bool
    #: None: nothing is loaded.
    need: Need | None
    #: The request names another worker to fetch missing blocks from.
    has_source: bool
    #: The most that a request may say of claims.
    claims: Claim
    #: The request tells the age of its load job.
    of_job: bool
    #: What finds no room counts as refused in the worker's figures.
    counts_refusals: bool
    #: A reader wants it now: it tells what is worth keeping.
    is_read: bool


# fmt: off
#: By purpose.                   hands out  need   source  claims        of job  counts refusals  is read
TERMS: Mapping[int, Terms] = {
    Purpose.READ:             Terms(True,  Need.NEEDED,  False, Claim.CLAIM,  False, True, True),
    Purpose.READ_CLAIMED:     Terms(True,  Need.WISHED,  False, Claim.IGNORE, False, False, True),
    Purpose.READ_COPY:        Terms(True,  Need.WELCOME, True,  Claim.IGNORE, False, True, True),
    Purpose.READ_HELD:        Terms(True,  None,         False, Claim.IGNORE, False, False, False),
    Purpose.PREFETCH:         Terms(False, Need.NEEDED,  False, Claim.CLAIM,  False, True, False),
    Purpose.PREFETCH_CLAIMED: Terms(False, Need.WISHED,  False, Claim.IGNORE, False, False, False),
    Purpose.PREFETCH_COPY:    Terms(False, Need.WELCOME, True,  Claim.IGNORE, False, True, False),
    Purpose.LOAD:             Terms(False, Need.NEEDED,  False, Claim.FOLLOW, True,  True, False),
    Purpose.REPLICATE:        Terms(False, Need.NEEDED,  True,  Claim.IGNORE, True,  True, False),
    Purpose.CHECK:            Terms(False, None,         False, Claim.IGNORE, True,  False, False),
    Purpose.VERIFY:           Terms(False, None,         False, Claim.IGNORE, True,  False, False),
}
#: The same request, with nothing handed out.
PREFETCHING: Mapping[int, Purpose] = {
    Purpose.READ:         Purpose.PREFETCH,
    Purpose.READ_CLAIMED: Purpose.PREFETCH_CLAIMED,
    Purpose.READ_COPY:    Purpose.PREFETCH_COPY,
}
# fmt: on


def claim_column(claims: Iterable[Claim]) -> bytes:
    """The claims of a request's blocks; one byte where they are all the same, as they mostly are."""
    column = bytes(claims)
    return column[:1] if column.count(column[:1]) == len(column) else column
