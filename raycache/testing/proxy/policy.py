"""What the proxy decides and counts, free of sockets: kinds of S3 requests, counters, faults, pace.

A fault is a pure function of (seed, rule, key, range, how often that range of that key was asked): threads may
interleave as they like, the third request for the same bytes meets the same fate in every run. A retry is the next
occurrence, so it has its own draw.
"""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import xxhash

from raycache.errors import InvalidRequestError


class RequestKind(enum.StrEnum):
    """What a request asks of S3."""

    #: GET of an object's bytes, whole or a range.
    DATA = "data"
    #: GET of a bucket's keys.
    LIST = "list"
    HEAD = "head"
    #: PUT of an object or of a part, copies included.
    PUT = "put"
    #: Everything else: multipart control, deletes, buckets, ACLs.
    OTHER = "other"


class FaultKind(enum.StrEnum):
    """What goes wrong with a request."""

    #: 500 InternalError; S3 never sees the request.
    INTERNAL_ERROR = "500"
    #: 503 SlowDown; S3 never sees the request.
    SLOW_DOWN = "503"
    #: The connection is reset before an answer; S3 never sees the request.
    RESET = "reset"
    #: The head and half of the body arrive, then the connection closes.
    TRUNCATE = "truncate"


class Fault(NamedTuple):
    """A rule; the first one that matches and is drawn applies."""

    kind: FaultKind
    #: 0..1; 1 fails the key always.
    probability: float = 1.0
    #: Shell pattern for `bucket/key`, decoded; `*` crosses slashes.
    key_pattern: str = "*"
    #: The kinds of requests it hits.
    requests: tuple[RequestKind, ...] = (RequestKind.DATA,)


class Shape(NamedTuple):
    """How slow the lake is."""

    #: From the request's arrival to the first byte of the answer, at least.
    latency_s: float = 0.0
    #: Of bodies, both ways; 0 = as fast as it goes.
    connection_bytes_per_s: float = 0.0
    #: The same over all connections together.
    total_bytes_per_s: float = 0.0


class ProxyCounters(NamedTuple):
    """What passed since the start or the last reset. Requests that met a fault are counted: they were made."""

    data_requests: int = 0
    list_requests: int = 0
    head_requests: int = 0
    put_requests: int = 0
    other_requests: int = 0
    #: Bodies of successful data requests, as far as they were sent on.
    data_bytes: int = 0
    #: `bucket/key` -> (data requests, bytes of their bodies).
    by_key: dict[str, tuple[int, int]] = {}  # noqa: RUF012  # never changed: a default for the empty count
    faults_injected: int = 0

    @property
    def requests(self) -> int:
        """All requests of all kinds."""
        return self.data_requests + self.list_requests + self.head_requests + self.put_requests + self.other_requests


_OBJECT_SUBRESOURCES = {"acl", "attributes", "legal-hold", "retention", "tagging", "torrent", "uploadId", "uploads"}
_LISTING_PARAMETERS = {"list-type", "prefix", "delimiter", "marker", "max-keys", "versions"}


def classify(method: str, target: str) -> tuple[RequestKind, str]:
    """Say what a path-style request asks for.

    Args:
        method: of the request line.
        target: of the request line, percent-encoded, with its query.

    Returns:
        (kind, `bucket/key` decoded); the key part is "" for requests that name no object.
    """
    path, _, query = target.partition("?")
    bucket, _, key = path.lstrip("/").partition("/")
    name = unquote(f"{bucket}/{key}") if key else ""
    if method == "HEAD":
        return RequestKind.HEAD, name
    parameters = {parameter for parameter, _ in parse_qsl(query, keep_blank_values=True)}
    if key:
        part_upload = method == "PUT" and "partNumber" in parameters
        plain = part_upload or not parameters & _OBJECT_SUBRESOURCES
        kind = {"GET": RequestKind.DATA, "PUT": RequestKind.PUT}.get(method, RequestKind.OTHER)
        return (kind if plain else RequestKind.OTHER), name
    lists = method == "GET" and bucket != "" and (not parameters or bool(parameters & _LISTING_PARAMETERS))
    return (RequestKind.LIST if lists else RequestKind.OTHER), name


class Faults:
    """The rules in force, and how often each range of each key was asked under them.

    Args:
        rules: in order of precedence.
        seed: another seed draws other requests.

    Raises:
        InvalidRequestError: a probability outside 0..1.
    """

    def __init__(self, rules: Sequence[Fault] = (), seed: int = 0) -> None:
        for rule in rules:
            if not 0 <= rule.probability <= 1:
                raise InvalidRequestError(f"fault probability {rule.probability} is not in 0..1")
        self._rules = tuple(rules)
        self._seed = seed
        self._occurrences: dict[tuple[str, str], int] = {}

    def draw(self, kind: RequestKind, name: str, byte_range: str) -> FaultKind | None:
        """The fate of the next request for these bytes; None when it passes."""
        if not self._rules:
            return None
        occurrence = self._occurrences.get((name, byte_range), 0)
        self._occurrences[name, byte_range] = occurrence + 1
        for index, rule in enumerate(self._rules):
            if kind not in rule.requests or not fnmatch.fnmatchcase(name, rule.key_pattern):
                continue
            text = f"{self._seed}\0{index}\0{name}\0{byte_range}\0{occurrence}"
            if xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) < rule.probability * 2**64:
                return rule.kind
        return None


class Pacer:
    """Spreads bytes over time: each reservation starts when the one before it has ended."""

    def __init__(self) -> None:
        self._free_at_s = 0.0

    def reserve(self, length: int, bytes_per_s: float, now_s: float) -> float:
        """Take a turn for `length` bytes; returns the time at which they may have passed. A rate of 0 is no limit."""
        if bytes_per_s <= 0:
            return now_s
        self._free_at_s = max(now_s, self._free_at_s) + length / bytes_per_s
        return self._free_at_s
