"""Calls from a client to the actors: the one place where Ray's errors become ours.

Every call has a timeout. Requests are blobs (`messages.encode`); replies of ordinary methods are blobs of
`(True, value)` or `(False, error)`, so that only the infrastructure's own failures travel as Ray exceptions.

Theory of operation. Handles belong to one cache, to one session of Ray and to one process, and are used for nothing else.
`Calls` is bound to all three. Before each call it looks whether Ray's session is still the one it was made in; an actor
that was found by the master's name is asked for its cache before it is used; the names of workers hold the id of theirs.
When the cache is not the same any more, or Ray was left, `Calls` has ended: it never calls again, and says so to its owner.
After a fork, the child has Ray's objects without Ray's threads: whoever would call Ray there would wait for ever.

Ray's core ends the process, without a word, when a thread calls it after `ray.shutdown()` has taken it down. So every call into it
is made within `_inside`, and whoever leaves Ray waits until nobody is there.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
import ray.exceptions
from ray._private import worker as ray_worker
from ray._private.worker import WORKER_MODE, global_worker
from ray.actor import ActorMethod

from raycache.client.ports import WorkerCall
from raycache.errors import NoCacheError, RaycacheError, UnavailableError
from raycache.messages import MASTER_NAME, RAY_NAMESPACE, Hello, decode

#: Waits for objects that the main thread of a process may hand to other threads at once.
_WAITERS = 8
#: A waiting thread that is held up itself is given up after this much more.
_WAIT_MARGIN_S = 5.0
#: How long a name look-up of an actor may be remembered after it failed; bounds the cost of a lost worker per read.
_ABSENT_S = 1.0
#: A worker that does not say within this that it is loading is not waited for any more.
_ALIVE_S = 5.0
#: How many worker time-outs a call may take while the worker is loading.
_WAITS_MAX = 20

#: Whoever leaves Ray waits at most so long for threads that are inside it.
_LEAVING_S = 5.0

#: As they are below Ray's public names, which start a cluster of one's own where there is none.
_ray_get, _ray_get_actor = inspect.unwrap(ray.get), inspect.unwrap(ray.get_actor)
_ray_call = getattr(ActorMethod._remote, "__wrapped__", ActorMethod._remote)  # noqa: SLF001
_waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="raycache-wait")
#: The session of Ray that this process has from the one it was forked from.
_inherited: Any = None


class _Inside:
    """The threads that are inside Ray's core."""

    def __init__(self) -> None:
        self._threads = 0
        self._leaving = False
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            if self._leaving:
                raise NoCacheError("this process is leaving its Ray cluster")
            ray_session()
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._threads -= 1
            if self._leaving:
                self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Once nobody is inside, or has not come out in time, nobody goes in."""
        with self._changed:
            self._leaving = True
            self._changed.wait_for(lambda: not self._threads, _LEAVING_S)
        try:
            yield
        finally:
            self._leaving = False


_inside = _Inside()


def _leave_alone(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Ray's own `disconnect`, which comes before its core is taken down, while nobody is inside."""

    @functools.wraps(stock)
    def disconnect(*arguments: Any, **named: Any) -> Any:
        with _inside.closed():
            return stock(*arguments, **named)

    return disconnect


ray_worker.disconnect = _leave_alone(ray_worker.disconnect)


class Calls:
    """Handles of the cache's actors in this process. Safe to use from several threads.

    Raises:
        NoCacheError: see `ray_session`.
    """

    def __init__(self, master_timeout_s: float, worker_timeout_s: float) -> None:
        self._master_timeout_s = master_timeout_s
        self._worker_timeout_s = worker_timeout_s
        self._session = ray_session()
        #: "" until it is known.
        self._cache_id = ""
        self._handles: dict[str, Any] = {}
        self._absent_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended: NoCacheError | None = None
        self._on_end: Callable[[], None] | None = None

    def bound(self, hello: Hello, master_timeout_s: float, worker_timeout_s: float) -> Calls:
        """The same way to the cache whose master has said `hello`, and never to another one."""
        calls = Calls(master_timeout_s, worker_timeout_s)
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
                call = _submitted(handle, method, arguments)
                reply = _reply(call, timeout_s, in_place=not self._cache_id)
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
        deadline = time.monotonic() + timeout_s
        pending: list[Any] = []
        for call in calls:
            try:
                self.check()
                pending.append(_submitted(self._worker(call.actor_name), call.method, call.arguments))
            except Exception as error:  # a value here, as `_mapped` says
                pending.append(_mapped(error, f"worker {call.actor_name} cannot be reached"))
        results: list[Any] = []
        for call, reference in zip(calls, pending, strict=True):
            if isinstance(reference, RaycacheError):
                results.append(reference)
                continue
            try:
                results.append(self._answer(call.actor_name, reference, max(0.0, deadline - time.monotonic())))
            except Exception as error:  # a value here, as `_mapped` says
                if isinstance(error, ray.exceptions.RayActorError):
                    self._forget(call.actor_name)
                results.append(_mapped(error, f"worker {call.actor_name} did not answer {call.method!r}"))
        return results

    def tell_workers(self, calls: Sequence[WorkerCall]) -> None:
        """Tell workers something; nobody waits for the answers, or for anything to arrive."""
        for call in calls:
            with contextlib.suppress(Exception):
                self.check()
                _submitted(self._worker(call.actor_name), call.method, call.arguments)

    def tell_master(self, method: str, *arguments: Any) -> None:
        """Tell the master something; nobody waits for it to arrive."""
        with contextlib.suppress(Exception):
            self.check()
            _submitted(self._master(self._master_timeout_s), method, arguments)

    def objects(self, references: Sequence[Any], timeout_s: float | None = None) -> list[Any]:
        """Map objects of the object store into this process, or pull them here first.

        Returns:
            Shape (len(references),): the arrays, zero-copy, or a RaycacheError in the place of each that is lost.
        """
        timeout_s = self._worker_timeout_s if timeout_s is None else timeout_s
        try:
            self.check()
            return _mapped_in(list(references), timeout_s)
        except Exception as error:  # one lost object must not take the others along: they are asked one by one
            if len(references) == 1:
                return [_mapped(error, "a segment could not be fetched from the object store")]
        return [self.objects([reference], timeout_s)[0] for reference in references]

    def _answer(self, name: str, reference: Any, timeout_s: float) -> Any:
        """Wait for a worker; longer than that as long as it says that the lake is still bringing something.

        Loads end in bounded time, since the lake's own time-outs are for what does not move. To give a slow link up would
        be to read everything once more over the same link.
        """
        for _ in range(_WAITS_MAX):
            try:
                return _reply(reference, timeout_s)
            except ray.exceptions.GetTimeoutError:
                if not self._is_loading(name):
                    raise
            timeout_s = self._worker_timeout_s
        return _reply(reference, timeout_s)

    def _is_loading(self, name: str) -> bool:
        try:
            return bool(_reply(_submitted(self._worker(name), "is_loading"), min(_ALIVE_S, self._worker_timeout_s)))
        except Exception:  # whatever keeps it from saying so
            return False

    def _master(self, timeout_s: float) -> Any:
        """The master of this cache: whoever bears its name is asked, once."""
        handle = self._handles.get(MASTER_NAME)
        if handle is None:
            handle = self._look_up(MASTER_NAME)
            if self._cache_id:
                hello: Hello = unwrap(_reply(_submitted(handle, "hello"), timeout_s))
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
                with _inside:
                    return _ray_get_actor(name, namespace=RAY_NAMESPACE)
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


def ray_session() -> Any:
    """What stands for this process's session of Ray: another object after another `ray.init`.

    Raises:
        NoCacheError: Ray was left, or this process was forked from one that had joined.
    """
    session = getattr(global_worker, "gcs_client", None)
    if session is None or not global_worker.connected:
        raise NoCacheError("this process has left its Ray cluster; call ray.init(), or raycache.connect()")
    if session is _inherited:
        raise NoCacheError(
            "this process was forked from one that had joined a Ray cluster, which Ray does not survive; start the cache with "
            'endpoint=True, or this process with the method "spawn": multiprocessing.get_context("spawn"), or '
            'DataLoader(..., multiprocessing_context="spawn")'
        )
    return session


def is_forked() -> bool:
    """Whether this process has its session of Ray from the one it was forked from, and none of its own."""
    return _inherited is not None and getattr(global_worker, "gcs_client", None) is _inherited


def _after_fork() -> None:
    global _inherited, _inside, _waiters  # noqa: PLW0603  # this process has other ones
    _inside = _Inside()
    _inherited = getattr(global_worker, "gcs_client", None)
    _waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="raycache-wait")


os.register_at_fork(after_in_child=_after_fork)


def _again(error: NoCacheError | None) -> NoCacheError:
    """The same error for another caller: each has its own traceback."""
    return NoCacheError(str(error))


def _submitted(handle: Any, method: str, arguments: Sequence[Any] = ()) -> Any:
    """The reference of a call's answer. Whoever leaves Ray between a check and this gets an error, and not a new cluster."""
    with _inside:
        return _ray_call(getattr(handle, method), list(arguments), {})


def _reply(reference: Any, timeout_s: float, *, in_place: bool = False) -> Any:
    """Wait for what an actor answers, outside of Ray.

    Ray tells a future; this thread waits for that. So no task's CPU is given away meanwhile (see `_mapped_in`), and whoever
    leaves Ray finds no thread of ours inside its core, which it takes down without looking: that would end the process.

    Args:
        in_place: wait in Ray. A `Cache` among a task's arguments connects while Ray holds a lock that its other threads
            would need: neither would ever go on.

    Raises:
        GetTimeoutError: no answer in time.
    """
    if in_place:
        return _got(reference, timeout_s)
    with _inside:
        future = reference.future()
    try:
        return future.result(timeout_s)
    except TimeoutError as error:
        raise ray.exceptions.GetTimeoutError(f"no answer within {timeout_s:g} s") from error


def _mapped_in(references: list[Any], timeout_s: float) -> list[Any]:
    """`ray.get` of objects in the store, without giving this task's CPU away while it waits.

    When the main thread of a task blocks, Ray lends the task's CPU to another one, and starts a process for it if need
    be. For waits of a millisecond that costs far more than it gives, and too many tasks run in the end. Ray does so
    for the main thread only; so another thread waits. (A future for each object, as in `_reply`, takes five times as long.)
    """
    if threading.current_thread() is threading.main_thread():
        try:
            waiting = _waiters.submit(_got, references, timeout_s)
        except RuntimeError:  # the interpreter is ending: no more threads
            return list(_got(references, timeout_s))
        return list(waiting.result(timeout_s + _WAIT_MARGIN_S))
    return list(_got(references, timeout_s))


def _got(references: Any, timeout_s: float) -> Any:
    with _inside:
        return _ray_get(references, timeout=timeout_s)


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


def own_node_id() -> str:
    """The Ray node id (hex) of this process."""
    with _inside:
        return str(ray.get_runtime_context().get_node_id())


def task_identity() -> tuple[str, str]:
    """(Ray job id, name of the task or actor method) of the calling thread; see `task_name`. About a microsecond."""
    with _inside:
        return str(ray.get_runtime_context().get_job_id()), task_name()


def in_worker() -> bool:
    """Whether this process runs Ray tasks or actors, and is no driver."""
    return bool(global_worker.mode == WORKER_MODE)


def task_name() -> str:
    """The name of the task or actor method of the calling thread. About 0.2 us.

    It is "driver" in a driver, and empty in a thread, or an async method, that Ray knows nothing of.
    """
    return str(global_worker.current_task_name) if global_worker.mode == WORKER_MODE else "driver"
