"""Ray as this package calls it: below the public names, never after it was left, and never in the way of whoever leaves it.

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
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
import ray.exceptions
from ray._private import worker as ray_worker
from ray._private.worker import WORKER_MODE, global_worker
from ray.actor import ActorMethod

from raycache.errors import NoCacheError
from raycache.messages import RAY_NAMESPACE

#: Waits for objects that the main thread of a process may hand to other threads at once.
_WAITERS = 8
#: A waiting thread that is held up itself is given up after this much more.
_WAIT_MARGIN_S = 5.0
#: An object of this node that has not come within this is asked for again, then after twice as long.
_ASK_AGAIN_S = 1.0
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


def submitted(handle: Any, method: str, arguments: Sequence[Any] = ()) -> Any:
    """The reference of a call's answer. Whoever leaves Ray between a check and this gets an error, and not a new cluster."""
    with _inside:
        return _ray_call(getattr(handle, method), list(arguments), {})


def actor_named(name: str) -> Any:
    with _inside:
        return _ray_get_actor(name, namespace=RAY_NAMESPACE)


def future_of(reference: Any) -> Future[Any]:
    """What an actor answers; see `reply_of`."""
    with _inside:
        return reference.future()  # type: ignore[no-any-return]


def reply_of(reference: Any, timeout_s: float, *, in_place: bool = False) -> Any:
    """Wait for what an actor answers, outside of Ray.

    Ray tells a future; this thread waits for that. So no task's CPU is given away meanwhile (see `mapped_in`), and whoever
    leaves Ray finds no thread of ours inside its core, which it takes down without looking: that would end the process.

    Args:
        in_place: wait in Ray. A `Cache` among a task's arguments connects while Ray holds a lock that its other threads
            would need: neither would ever go on.

    Raises:
        GetTimeoutError: no answer in time.
    """
    if in_place:
        return got(reference, timeout_s)
    try:
        return future_of(reference).result(timeout_s)
    except TimeoutError as error:
        raise ray.exceptions.GetTimeoutError(f"no answer within {timeout_s:g} s") from error


def mapped_in(references: list[Any], timeout_s: float) -> list[Any]:
    """`ray.get` of objects in the store, without giving this task's CPU away while it waits.

    When the main thread of a task blocks, Ray lends the task's CPU to another one, and starts a process for it if need
    be. For waits of a millisecond that costs far more than it gives, and too many tasks run in the end. Ray does so
    for the main thread only; so another thread waits. (A future for each object, as in `reply_of`, takes five times as long.)
    """
    if threading.current_thread() is threading.main_thread():
        try:
            waiting = _waiters.submit(_got_again, references, timeout_s)
        except RuntimeError:  # the interpreter is ending: no more threads
            return list(_got_again(references, timeout_s))
        return list(waiting.result(timeout_s + _WAIT_MARGIN_S))
    return list(_got_again(references, timeout_s))


def _got_again(references: Any, timeout_s: float) -> Any:
    """`got` of what lies on this node, asked again now and then.

    Of several threads of a process that ask at once, Ray forgets one now and then (ray-project/ray#54007), which then waits in vain.
    """
    ends_s, wait_s = time.monotonic() + timeout_s, _ASK_AGAIN_S
    while (left_s := ends_s - time.monotonic()) > wait_s:
        with contextlib.suppress(ray.exceptions.GetTimeoutError):
            return got(references, wait_s)
        wait_s *= 2
    return got(references, max(0.0, left_s))


def got(references: Any, timeout_s: float) -> Any:
    with _inside:
        return _ray_get(references, timeout=timeout_s)


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
