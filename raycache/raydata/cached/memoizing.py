"""`raycache.memoize`: the results of a function, kept by the cache, and made once in the whole cluster.

Theory of operation. A call is told by the fingerprint of the function and of its arguments. An argument that is a path of the
namespace, a UFS URI or a file on this node counts by the version of the file, too, or of all files below the directory: a call whose
file has changed is made again. Calls of the same at the same time wait for the one that was first.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar, overload

import numpy as np
import pyarrow as pa
import xxhash

from raycache.client import connection
from raycache.client.client import Client
from raycache.client.expanding import expand
from raycache.errors import CorruptBlockError, InvalidRequestError, NotFoundError, RaycacheError
from raycache.fingerprints.objects import fingerprint
from raycache.messages.keeping import ClaimState, KeptResult
from raycache.raydata.cached.kept_blocks import pack, unpack
from raycache.raydata.cached.shelf import Shelf, result_name

logger = logging.getLogger("raycache")

P = ParamSpec("P")
T = TypeVar("T")
_KINDS = (pa.Table, np.ndarray, bytes)
#: This process, as one that makes claims.
_PROCESS = uuid.uuid4().hex


@overload
def memoize(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def memoize(*, key: str | None = None) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def memoize(function: Any = None, /, *, key: str | None = None) -> Any:
    """Keep what a function returns in the cache: a second call with the same does not run it, in any process of the cluster.

    For a plain function, or below `@ray.remote`: tokenised shards, embeddings, statistics. It returns a `pyarrow.Table`, a numpy
    array or bytes; tables and arrays that are read from the cache lie in its memory, and are read-only.

    Args:
        function: to be kept.
        key: as of `raycache.cached`: stands for what cannot be seen, or should be frozen.

    Raises:
        InvalidRequestError: when it is called: the function or an argument cannot be told by what it is; or what it returns is
            of another kind.
    """
    if function is None:
        return functools.partial(_memoized, key=key)
    return _memoized(function, key=None)


def _memoized(function: Callable[P, T], *, key: str | None) -> Callable[P, T]:
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        try:
            client = connection.connect()
        except RaycacheError as error:
            logger.warning("%s is run without the cache: %s", name, error)
            return function(*arguments, **named)
        of_function, of_call = _told(client, function, name, dict(bound.arguments), key)
        result_key = f"{result_name(key or name)}-{of_function[:12]}/{of_call}"
        found: T = _kept_or_made(client, result_key, lambda: function(*arguments, **named), name)
        return found

    return call


def _told(client: Client, function: Any, name: str, arguments: dict[str, Any], key: str | None) -> tuple[str, str]:
    """The fingerprint of a function, and of one call of it."""
    vouched = key is not None
    of_function = fingerprint([function, key], name, vouched=vouched)
    digest = xxhash.xxh3_128(of_function.encode())
    for argument, value in arguments.items():
        digest.update(fingerprint([argument, value], f"argument {argument} of {name}", vouched=vouched).encode())
        for path in _paths_in(value):
            for found, version in _versions(client, path):
                digest.update(f"{len(found)}:{found}".encode("utf-8", "surrogatepass"))
                digest.update(version)
    return of_function, digest.hexdigest()


def _paths_in(value: Any) -> Iterator[str]:
    """What may be paths among the arguments."""
    if isinstance(value, (list, tuple, set, frozenset)):
        for each in value if isinstance(value, (list, tuple)) else sorted(value, key=str):
            yield from _paths_in(each)
    elif isinstance(value, dict):
        yield from _paths_in(list(value.values()))
    elif isinstance(value, PurePath) or (isinstance(value, str) and (value.startswith("/") or "://" in value[:20])):
        yield os.fspath(value)


def _versions(client: Client, path: str) -> list[tuple[str, bytes]]:
    """The files that a path means, and their versions; none when it is just a text."""
    for spelled in (path, f"file://{path}" if path.startswith("/") else ""):
        try:
            return [(found, file.id()) for found, file in expand(client.locator, spelled)] if spelled else []
        except (NotFoundError, InvalidRequestError):
            continue
    return []


def _kept_or_made(client: Client, key: str, make: Callable[[], Any], name: str) -> Any:
    shelf = Shelf(client)
    claimant, gone = f"{_PROCESS}-{uuid.uuid4().hex}", ""
    try:
        shelf.mount()
        while True:
            reply = shelf.claim(key, claimant, gone)
            if reply.state != ClaimState.KEPT or reply.result is None:
                break
            try:
                (content,) = shelf.read([(reply.result, reply.holders)])
                if content is not None:
                    return _value(unpack(content)[0])
            except CorruptBlockError as error:
                logger.warning("%s: %s", reply.result.path, error)
            gone = reply.result.etag
    except RaycacheError as error:
        logger.warning("%s is run without the cache: %s", name, error)
        return make()
    with shelf.claimed(key, claimant) as done:
        started_s = time.process_time()
        value = make()
        block = _block(value, name)
        try:
            if _keep(shelf, key, block, time.process_time() - started_s) is not None:
                done()
        except RaycacheError as error:
            logger.warning("what %s returns is not kept: %s", name, error)
    return value


def _keep(shelf: Shelf, key: str, block: Any, cpu_s: float) -> KeptResult | None:
    rows = len(block) if isinstance(block, pa.Table) else 0
    return shelf.keep(key, pack([block]), rows, cpu_s)


def _block(value: Any, name: str) -> Any:
    """A value as a block: arrays as tables of one tensor, so that they are read where they lie."""
    if not isinstance(value, _KINDS):
        kind = type(value).__name__
        raise InvalidRequestError(f"{name} returns a {kind}; memoize keeps pyarrow tables, numpy arrays and bytes")
    if isinstance(value, np.ndarray) and not value.dtype.hasobject and value.dtype.names is None:
        flat = pa.array(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
        about = {"dtype": value.dtype.str, "shape": ",".join(map(str, value.shape))}
        return pa.table({"array": flat}).replace_schema_metadata(about)
    return value


def _value(block: Any) -> Any:
    about = (block.schema.metadata or {}) if isinstance(block, pa.Table) else {}
    if set(about) != {b"dtype", b"shape"} or block.column_names != ["array"]:
        return block
    shape = tuple(int(part) for part in about[b"shape"].decode().split(",") if part)
    flat = block["array"].combine_chunks() if block["array"].num_chunks != 1 else block["array"].chunk(0)
    return flat.to_numpy(zero_copy_only=True).view(about[b"dtype"].decode()).reshape(shape)
