"""What a client asks of the actors, as protocols. `calls.Calls` answers with Ray, the simulator and tests without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class WorkerCall(NamedTuple):
    """One call to one worker."""

    actor_name: str
    method: str
    arguments: tuple[Any, ...]


class MasterCalls(Protocol):
    """The way to the master."""

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Call the master and wait.

        Raises:
            UnavailableError: no answer in time.
            RaycacheError: what the master answered.
        """
        ...

    def tell_master(self, method: str, *arguments: Any) -> None:
        """Tell the master something; nobody waits for the answer."""
        ...


class WorkerCalls(Protocol):
    """The way to the workers, and to the object store."""

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        """Call workers at once; shape (len(calls),): a RaycacheError in the place of a result that did not come."""
        ...

    def tell_workers(self, calls: Sequence[WorkerCall]) -> None:
        """Tell workers something; nobody waits for the answers."""
        ...

    def objects(self, references: Sequence[Any], peer: str = "", timeout_s: float | None = None) -> list[Any]:
        """Map objects, of a peer's node or this one, here; shape (len(references),): a RaycacheError in the place of a lost one."""
        ...


class ActorCalls(MasterCalls, WorkerCalls, Protocol):
    """Both."""
