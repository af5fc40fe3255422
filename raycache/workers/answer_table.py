"""What a worker does with one block that it is asked for: a table, by the purpose of the request and where the block is.

Theory of operation. `Presence` says where a block is when it is looked up. The table says what is done then; a block that
has to wait for its check is looked up once more when the check has ended. SERVE and REFUSE decide the block, SEND_ON names
the worker that has claimed its extent, JOIN and LOAD wait for a flight. What room a load may make, where its bytes come
from and what the reply carries is a matter of the purpose alone, see `messages/purposes.py`.

Only requests that follow claims find a block CLAIMED. For the others the table says None: they may not ask to follow
claims (`BlockRequest.refusal`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from raycache.messages import Purpose


class Presence(enum.IntEnum):
    """Where a block is, for this worker."""

    #: In a segment here.
    HERE = 0
    #: In a segment that an earlier incarnation has left on disk; its checksum has not been compared.
    UNCHECKED = 1
    #: On its way.
    COMING = 2
    #: Not here, and its extent is claimed for another worker.
    CLAIMED = 3
    #: Not here.
    ABSENT = 4


class Answer(enum.Enum):
    """What is done with the block."""

    #: It is served from its segment, or said to be here.
    SERVE = "serve"
    #: It waits for the check of its segment.
    CHECK = "check"
    #: As CHECK, once for each request, if there is a copy on disk; then as SERVE.
    RECHECK = "recheck"
    #: It waits for its flight.
    JOIN = "join"
    #: ELSEWHERE: the asker goes to the claimant.
    SEND_ON = "send on"
    #: A flight is opened for it.
    LOAD = "load"
    #: NO_SPACE: nothing is loaded for this request.
    REFUSE = "refuse"


SERVE, CHECK, RECHECK, JOIN, SEND_ON, LOAD, REFUSE = Answer

# fmt: off
#: By purpose, in the order of `Presence`:
#:                           HERE     UNCHECKED  COMING  CLAIMED  ABSENT
ANSWERS: Mapping[int, tuple[Answer | None, ...]] = {
    Purpose.READ:             (SERVE,   CHECK,     JOIN,   SEND_ON, LOAD),
    Purpose.READ_CLAIMED:     (SERVE,   CHECK,     JOIN,   None,    LOAD),
    Purpose.READ_COPY:        (SERVE,   CHECK,     JOIN,   None,    LOAD),
    Purpose.READ_HELD:        (SERVE,   CHECK,     REFUSE, None,    REFUSE),
    Purpose.PREFETCH:         (SERVE,   CHECK,     JOIN,   SEND_ON, LOAD),
    Purpose.PREFETCH_CLAIMED: (SERVE,   CHECK,     JOIN,   None,    LOAD),
    Purpose.PREFETCH_COPY:    (SERVE,   CHECK,     JOIN,   None,    LOAD),
    Purpose.LOAD:             (SERVE,   CHECK,     JOIN,   SEND_ON, LOAD),
    Purpose.REPLICATE:        (SERVE,   CHECK,     JOIN,   None,    LOAD),
    Purpose.CHECK:            (SERVE,   CHECK,     REFUSE, None,    REFUSE),
    Purpose.VERIFY:           (RECHECK, RECHECK,   REFUSE, None,    REFUSE),
}
# fmt: on
