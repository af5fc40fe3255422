"""What a read does with a worker's answer for one part: a table, by the purpose of the call and the state answered.

Theory of operation. A read asks for four purposes: READ of holders and of the worker that the hash names, READ_CLAIMED of a
claimant, READ_COPY of its own worker, and PREFETCH of a holder that turned out not to have what was to be copied from it.
Any other purpose is a mistake of the caller. What is served ends the part; what is refused mostly sends it to the under
storage, since the next worker would have to ask that one too. A claimant or the own worker may refuse without harm: they
were asked on top of the others, and those are asked then.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from raycache.errors import InvalidRequestError
from raycache.messages import Purpose


class NextStep(enum.Enum):
    """What is done with the part."""

    #: Its bytes are in a grant.
    SERVE = "serve"
    #: It is copied again, now that the holder has it.
    COPY = "copy"
    #: The holder loads it first; where it has done so before, the holder is asked for the bytes.
    FILL = "fill"
    #: Its claimant is asked. If the call has told the worker to ignore claims, this is a BYPASS.
    FOLLOW = "follow"
    #: The worker that the hash names is asked again, and the claim is forgotten.
    RETURN = "return"
    #: Its next candidate is asked.
    NEXT = "next"
    #: It is read from the under storage.
    BYPASS = "bypass"
    #: Its version is stale: the caller resolves the path again.
    RESOLVE = "resolve"


SERVE, COPY, FILL, FOLLOW, RETURN, NEXT, BYPASS, RESOLVE = NextStep

# fmt: off
#: By purpose, in the order of `BlockState`:
#:                       HIT_MEMORY HIT_DISK LOADED COPIED NO_SPACE CHANGED  GONE     FAILED  ELSEWHERE
STEPS: Mapping[int, tuple[NextStep, ...]] = {
    Purpose.READ:         (SERVE,     SERVE,   SERVE, SERVE, BYPASS,  RESOLVE, RESOLVE, BYPASS, FOLLOW),
    Purpose.READ_CLAIMED: (SERVE,     SERVE,   SERVE, SERVE, RETURN,  RESOLVE, RESOLVE, RETURN, BYPASS),
    Purpose.READ_COPY:    (SERVE,     SERVE,   SERVE, SERVE, NEXT,    RESOLVE, RESOLVE, FILL,   NEXT),
    Purpose.PREFETCH:     (COPY,      COPY,    COPY,  COPY,  BYPASS,  RESOLVE, RESOLVE, BYPASS, FOLLOW),
}
# fmt: on


def steps_of(purpose: int) -> tuple[NextStep, ...]:
    """The row of the table.

    Raises:
        InvalidRequestError: a read asks for no such purpose.
    """
    steps = STEPS.get(purpose)
    if steps is None:
        raise InvalidRequestError(f"a read does not ask with purpose {purpose}; see {__name__}")
    return steps
