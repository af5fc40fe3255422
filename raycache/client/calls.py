"""Calls from a client to the actors: the one place where Ray's errors become ours.

Every call has a timeout. Requests are blobs (`messages.encode`); replies of ordinary methods are blobs of
`(True, value)` or `(False, error)`, so that only the infrastructure's own failures travel as Ray exceptions.

Theory of operation. Handles belong to one cache, to one session of Ray and to one process, and are used for nothing else.
`Calls` is bound to all three. Before each call it looks whether Ray's session is still the one it was made in; an actor
that was found by the master's name is asked for its cache before it is used; the names of workers hold the id of theirs.
When the cache is not the same any more, or Ray was left, `Calls` has ended: it never calls again, and says so to its owner.
After a fork, the child has Ray's objects without Ray's threads: whoever would call Ray there would wait for ever.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import ray
import ray.exceptions

from raycache.client.ports import WorkerCall
from raycache.client.ray_side.ray_core import actor_named, future_of, got, mapped_in, ray_session, reply_of, submitted
from raycache.errors import NoCacheError, RaycacheError, SilentPeerError, UnavailableError
from raycache.hops.breaker import Breaker
from raycache.hops.patience import Hop, Limits, in_thread, outwait
from raycache.messages import MASTER_NAME, Hello, decode
from raycache.settings import Settings

#: How long a name look-up of an actor may be remembered after it failed; bounds the cost of a lost worker per read.
_ABSENT_S = 1.0
#: Of pulling objects, each twice as long as the one before.
_STEPS_MAX = 5
#: What reads ask the master: it is given up where it shows no sign of life, and the lake is asked.
_OF_READS = frozenset({"resolve", "list_directory", "holders"})


class Calls:
    """Handles of the cache's actors in this process. Safe to use from several threads.

    Raises:
        NoCacheError: see `ray_session`.
    """

    def __init__(self, master_timeout_s: float, worker_timeout_s: float, hop_timeout_s: float) -> None:
        self._master_timeout_s = master_timeout_s
        self._worker_timeout_s = worker_timeout_s
        self._hop_timeout_s = hop_timeout_s
        #: Workers that are not asked to serve reads for a while.
        self.breaker = Breaker(hop_timeout_s)
        self._session = ray_session()
        #: "" until it is known.
        self._cache_id = ""
        self._handles: dict[str, Any] = {}
        self._absent_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended: NoCacheError | None = None
        self._on_end: Callable[[], None] | None = None

    def bound(self, hello: Hello, settings: Settings) -> Calls:
        """The same way to the cache whose master has said `hello`, and never to another one."""
        calls = Calls(settings.master_timeout_s, settings.worker_timeout_s, settings.hop_timeout_s)
        calls._session = self._session
        calls._cache_id = hello.cache_id
        calls._handles = dict(self._handles)
        return calls

    def when_ended(self, hear: Callable[[], None]) -> None:
        """Have this called when there will be no more calls."""
        self._on_end = hear

    def check(self) -> None:
        """To be asked before Ray is.

        Raises:
            NoCacheError: this process has left the Ray cluster, or this is another process, or the cache is another one.
        """
        if self._ended is None:
            try:
                if ray_session() is self._session:
                    return
                ended = NoCacheError("this process has left its Ray cluster and joined another; connect again")
            except NoCacheError as error:
                ended = error
            self._end(ended)
        raise _again(self._ended)

    def _end(self, error: NoCacheError) -> None:
        self._ended = error
        if self._on_end is not None:
            self._on_end()

    def master(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Call the master and wait.

        Raises:
            UnavailableError: no answer in time.
            NoCacheError: no cache in this cluster, or another one than this was made for.
            RaycacheError: what the master answered.
        """
        timeout_s = self._master_timeout_s if timeout_s is None else timeout_s
        what = f"the cache master did not answer {method!r} within {timeout_s:g} s"
        for attempt in (1, 2):
            try:
                self.check()
                handle = self._master(timeout_s)
                call = submitted(handle, method, arguments)
                if method not in _OF_READS or not self._cache_id:
                    return unwrap(reply_of(call, timeout_s, in_place=not self._cache_id))
                (reply,) = self._outwait([self._hop(MASTER_NAME, future_of(call))], timeout_s)
                if isinstance(reply, Exception):
                    raise reply
                break
            except ray.exceptions.RayActorError as error:
                # This incarnation is gone for good; after a stop and a start there is another by that name.
                self._forget(MASTER_NAME)
                if attempt == 2:
                    raise _mapped(error, what) from error
            except Exception as error:  # Ray's errors have no common class; `_mapped` is their one place
                raise _mapped(error, what) from error
        return unwrap(reply)

    def workers(self, calls: Sequence[WorkerCall], timeout_s: float | None = None) -> list[Any]:
        """Call several workers at once and wait for all, for those that load over a slow link beyond the time-out.

        Returns:
            Shape (len(calls),): what each returned, or a RaycacheError in its place; never raises one.
        """
        timeout_s = self._worker_timeout_s if timeout_s is None else timeout_s
        results: list[Any] = [None] * len(calls)
        hops: dict[int, Hop] = {}
        for number, call in enumerate(calls):
            try:
                self.check()
                if call.method == "read" and not self.breaker.admits(call.actor_name, time.monotonic()):
                    raise SilentPeerError(f"worker {call.actor_name} was silent, and is left alone for a while")
                reference = submitted(self._worker(call.actor_name), call.method, call.arguments)
                hops[number] = self._hop(call.actor_name, future_of(reference))
            except Exception as error:  # a value here, as `_mapped` says
                results[number] = _mapped(error, f"worker {call.actor_name} cannot be reached")
        for number, result in zip(hops, self._outwait(list(hops.values()), timeout_s), strict=True):
            name = calls[number].actor_name
            if isinstance(result, ray.exceptions.RayActorError):
                self._forget(name)
            is_error = isinstance(result, Exception)
            results[number] = (
                _mapped(result, f"worker {name} did not answer {calls[number].method!r}") if is_error else result
            )
        return results

    def tell_workers(self, calls: Sequence[WorkerCall]) -> None:
        """Tell workers something; nobody waits for the answers, or for anything to arrive."""
        for call in calls:
            with contextlib.suppress(Exception):
                self.check()
                submitted(self._worker(call.actor_name), call.method, call.arguments)

    def tell_master(self, method: str, *arguments: Any) -> None:
        """Tell the master something; nobody waits for it to arrive."""
        with contextlib.suppress(Exception):
            self.check()
            submitted(self._master(self._master_timeout_s), method, arguments)

    def objects(self, references: Sequence[Any], peer: str = "", timeout_s: float | None = None) -> list[Any]:
        """Map objects of the object store into this process, or pull them here first.

        Args:
            references: shape (R,).
            peer: the worker on whose node they are; empty: this one's, where nothing is waited for.
            timeout_s: as long as the peer lives.

        Returns:
            Shape (R,): the arrays, zero-copy, or a RaycacheError in the place of each that is lost.
        """
        timeout_s = self._worker_timeout_s if timeout_s is None else timeout_s
        try:
            self.check()
            return self._pulled(list(references), peer, timeout_s) if peer else mapped_in(list(references), timeout_s)
        except SilentPeerError as error:
            return [error] * len(references)
        except Exception as error:  # one lost object must not take the others along: they are asked one by one
            if len(references) == 1:
                return [_mapped(error, "a segment could not be fetched from the object store")]
        return [self.objects([reference], peer, timeout_s)[0] for reference in references]

    def _pulled(self, references: list[Any], peer: str, timeout_s: float) -> list[Any]:
        """Objects of another node. Ray itself would wait for a node that is cut off until it counts as dead."""
        given_up = threading.Event()

        def pull() -> Any:
            # Who gives up leaves this thread behind, inside Ray: not for long, so it waits in steps, which a pull that is
            # under way does not survive. So each is twice as long as the one before.
            step_s = self._hop_timeout_s
            for _ in range(_STEPS_MAX):
                with contextlib.suppress(ray.exceptions.GetTimeoutError):
                    return got(references, step_s)
                if given_up.is_set():
                    break
                step_s *= 2
            raise ray.exceptions.GetTimeoutError("objects did not arrive in time")

        (result,) = self._outwait([self._hop(peer, in_thread(pull))], timeout_s)
        given_up.set()
        if isinstance(result, Exception):
            raise result
        return list(result)

    def _hop(self, name: str, answer: Future[Any]) -> Hop:
        """A question to an actor, and how to see whether it lives."""

        def ask_sign() -> Future[Any]:
            if name == MASTER_NAME:
                return future_of(submitted(self._handles[name], "hello"))
            return future_of(submitted(self._worker(name), "is_loading"))

        return Hop(name, answer, ask_sign)

    def _outwait(self, hops: list[Hop], timeout_s: float) -> list[Any]:
        """Wait as `outwait` does, and remember who was silent."""
        results = outwait(hops, Limits(self._hop_timeout_s, timeout_s), self.breaker.answered)
        for hop, result in zip(hops, results, strict=True):
            if isinstance(result, SilentPeerError):
                self.breaker.silent(hop.peer, time.monotonic())
            elif not isinstance(result, Exception):
                self.breaker.answered(hop.peer)
        return results

    def _master(self, timeout_s: float) -> Any:
        """The master of this cache: whoever bears its name is asked, once."""
        handle = self._handles.get(MASTER_NAME)
        if handle is None:
            handle = self._look_up(MASTER_NAME)
            if self._cache_id:
                hello: Hello = unwrap(reply_of(submitted(handle, "hello"), timeout_s))
                if hello.cache_id != self._cache_id:
                    self._end(NoCacheError("the cache was stopped, and another one runs in its place; connect again"))
                    self.check()
            self._handles[MASTER_NAME] = handle
        return handle

    def _worker(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = self._look_up(name)
        return handle

    def _look_up(self, name: str) -> Any:
        with self._lock:
            if self._absent_until.get(name, 0.0) > time.monotonic():
                raise UnavailableError(f"{name} is not there")
            try:
                if not self._cache_id:  # in place: see `reply_of`
                    return actor_named(name)
                return in_thread(lambda: actor_named(name)).result(self._hop_timeout_s)
            except ValueError as error:
                if len(self._absent_until) > 10_000:
                    self._absent_until.clear()
                self._absent_until[name] = time.monotonic() + _ABSENT_S
                if name == MASTER_NAME:
                    raise NoCacheError(
                        "no cache runs in this Ray cluster; call raycache.start() or run `raycache start`"
                    ) from error
                raise UnavailableError(f"{name} is not there") from error

    def _forget(self, name: str) -> None:
        with self._lock:
            self._handles.pop(name, None)


def _again(error: NoCacheError | None) -> NoCacheError:
    """The same error for another caller: each has its own traceback."""
    return NoCacheError(str(error))


def unwrap(reply: Any) -> Any:
    """Open a reply blob: the value, or the error raised."""
    good, value = decode(reply)
    if not good:
        raise value
    return value


def _mapped(error: Exception, what: str) -> RaycacheError:
    if isinstance(error, RaycacheError):
        return error
    if isinstance(error, ray.exceptions.GetTimeoutError):
        return UnavailableError(f"{what}; it is busy or gone, try again")
    if isinstance(error, (ray.exceptions.RayError, ValueError, RuntimeError, OSError)):
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return UnavailableError(f"{what}: {lines[0][:200]}")
    return UnavailableError(f"{what}: {type(error).__name__}")
