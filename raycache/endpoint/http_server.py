"""The server: aiohttp's parser and protocol, with bounds on what a client may send, and S3's answers to all of it.

Theory of operation. A request is parsed by aiohttp, which refuses what could be read in two ways. Then it is verified, and only
then carried out. What is mapped in this process is answered on the event loop; whatever may wait runs in threads. A refusal is
S3's XML, whatever went wrong; what nobody foresaw is logged, and is a 500 without details.

Bounds: connections, header bytes, seconds until a request must have arrived, seconds for each piece of a body, threads.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from aiohttp import web

from raycache.client.client import Client
from raycache.endpoint.bucket_reads import BucketReads
from raycache.endpoint.multipart_uploads import MultipartUploads
from raycache.endpoint.object_reads import ObjectReads
from raycache.endpoint.object_writes import ObjectWrites
from raycache.endpoint.protocol import xml_answers
from raycache.endpoint.protocol.buckets import Buckets
from raycache.endpoint.protocol.s3_errors import S3Error, s3_error_of
from raycache.endpoint.protocol.s3_requests import S3Call, parse_target
from raycache.endpoint.protocol.signatures import SentHeaders, Verifier
from raycache.errors import RaycacheError

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)

CONNECTIONS_MAX = 8_192
_THREADS = 32
_HEADERS_MAX = 100
_HEADER_BYTES_MAX = 8_190
#: Of a body, what may wait to be read; twice as much at most.
_BODY_BYTES = 1 << 20
#: A connection on which no whole request has arrived for this long is closed.
_IDLE_S = 75.0
_SERVER = "raycache"
#: Queries that ask for something besides the object or the listing.
_SUBRESOURCES = {
    "accelerate", "acl", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory",
    "legal-hold", "lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls",
    "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore", "retention",
    "select", "tagging", "torrent", "versions", "website",
}  # fmt: skip
#: Begins of headers that ask for more than to store an object.
_UNSERVED_HEADERS = ("x-amz-server-side-encryption-customer-", "x-amz-object-lock-", "x-amz-grant-")
#: What S3 takes where access lists are off, as they are here.
_ACLS_OF_OWNERS = {"private", "bucket-owner-full-control"}


class EndpointServer:
    """Answers S3 requests.

    Args:
        client: of this process.
        verifier: knows the keys.
    """

    def __init__(self, client: Client, verifier: Verifier) -> None:
        self._client = client
        self._verifier = verifier
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="raycache-endpoint")
        self._objects = ObjectReads(client, self._in_thread)
        self._in_buckets = BucketReads(client, self._in_thread)
        self._writes = ObjectWrites(client, self._in_thread)
        self._uploads = MultipartUploads(client, self._writes, self._in_thread)
        self._buckets = Buckets(client.locator.mounts)
        self._numbers = itertools.count(int(time.time()) << 20)

    def protocol_factory(self) -> Callable[[], asyncio.Protocol]:
        """What the event loop makes a connection's protocol with."""
        return _HttpConnections(
            self.answer,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_IDLE_S,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
            max_headers=_HEADERS_MAX,
            read_bufsize=_BODY_BYTES,
            lingering_time=2.0,
            handler_cancellation=True,
        )

    def close(self) -> None:
        """Drop what was not finished."""
        self._uploads.close()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        request_id = f"{next(self._numbers):016X}"
        try:
            response = await self._carry_out(request)
        except S3Error as error:
            response = refusal(error, request.raw_path, request_id)
        except RaycacheError as error:
            response = refusal(s3_error_of(error), request.raw_path, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # the server's top loop: one request must not end it
            _log.exception("a request failed: %s %s", request.method, request.raw_path[:200])
            response = refusal(S3Error("InternalError"), request.raw_path, request_id)
        if not response.prepared:
            response.headers["Server"] = _SERVER
            response.headers["x-amz-request-id"] = request_id
            if not request.content.at_eof():
                # What is left of the body, which may never come, must not be taken for the next request.
                response.force_close()
        return response

    async def _carry_out(self, request: web.BaseRequest) -> web.StreamResponse:
        target = parse_target(request.raw_path)
        headers = SentHeaders([*request.headers.items()])
        signed = self._verifier.verify(request.method, target.path, target.query, headers, time.time())
        call = S3Call(request.method, target, dict(target.query), headers, signed)
        self._client.count_for("endpoint", signed.access_key and _agent(headers))
        buckets = self._known_buckets()
        if not target.bucket:
            if request.method != "GET" or target.key:
                raise S3Error("MethodNotAllowed")
            return self._in_buckets.list_buckets(await self._fresh_buckets())
        if target.bucket not in buckets:
            buckets = await self._fresh_buckets()
        _refuse_unserved(call)
        if target.key:
            return await self._of_object(call, buckets, request)
        return await self._of_bucket(call, buckets, request)

    async def _of_object(self, call: S3Call, buckets: Buckets, request: web.BaseRequest) -> web.StreamResponse:
        method, query = call.method, call.query
        in_parts = "uploadId" in query
        if method in ("GET", "HEAD") and not in_parts:
            return await self._objects.answer(call, buckets, request)
        if method == "GET":
            return self._uploads.list_parts(call)
        if method == "PUT" and in_parts:
            return await self._uploads.put_part(call, buckets, request)
        if method == "PUT":
            copies = call.headers.get("x-amz-copy-source")
            return await (self._writes.copy(call, buckets) if copies else self._writes.put(call, buckets, request))
        if method == "DELETE":
            return await (self._uploads.abort(call) if in_parts else self._writes.delete(call, buckets))
        if method == "POST" and "uploads" in query:
            return await self._uploads.create(call, buckets)
        if method == "POST" and in_parts:
            return await self._uploads.complete(call, request)
        raise S3Error("MethodNotAllowed")

    async def _of_bucket(self, call: S3Call, buckets: Buckets, request: web.BaseRequest) -> web.StreamResponse:
        if call.method == "PUT" and call.target.bucket not in buckets:
            raise S3Error("AccessDenied", "buckets are what is mounted; see `raycache mount`")
        bucket = buckets.of(call.target.bucket)
        if call.method in ("HEAD", "PUT"):
            # To make a bucket that is there is no error in us-east-1.
            return web.Response(headers={"x-amz-bucket-region": "us-east-1"})
        if call.method == "POST" and "delete" in call.query:
            return await self._writes.delete_many(call, buckets, request)
        if call.method == "DELETE":
            raise S3Error("AccessDenied", "buckets are what is mounted; see `raycache unmount`")
        if call.method != "GET":
            raise S3Error("MethodNotAllowed")
        if "location" in call.query:
            return self._in_buckets.location(bucket)
        if "versioning" in call.query:
            return web.Response(
                body=xml_answers.document("VersioningConfiguration", {}), content_type="application/xml"
            )
        if "uploads" in call.query:
            return self._uploads.list_uploads(call)
        return await self._in_buckets.list_objects(call, buckets)

    def _known_buckets(self) -> Buckets:
        table = self._client.locator.mounts
        if table.version != self._buckets.version:
            self._buckets = Buckets(table)
        return self._buckets

    async def _fresh_buckets(self) -> Buckets:
        """The buckets of what the master says is mounted now."""
        await self._in_thread(self._client.refresh_view)
        return self._known_buckets()

    async def _in_thread(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        call = functools.partial(function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class _HttpConnection(web.RequestHandler):
    """A connection: what cannot be parsed is refused in S3's way."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > CONNECTIONS_MAX:
            transport.close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        del exc  # the parser's, which says no more than the message
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        error = S3Error("InvalidRequest" if status == 400 else "InternalError", "" if status != 400 else _line(message))
        response = refusal(error, "", "")
        response.headers["Server"] = _SERVER
        response.force_close()
        return response


class _HttpConnections(web.Server):
    """Makes connections."""

    def __call__(self) -> web.RequestHandler:
        return _HttpConnection(self, loop=asyncio.get_running_loop(), **self._kwargs)


def refusal(error: S3Error, resource: str, request_id: str) -> web.Response:
    """The answer to a request that is not carried out."""
    if error.status == 304:
        return web.Response(status=304, headers=error.headers)
    body = xml_answers.error(error.code, str(error), resource.partition("?")[0], request_id)
    return web.Response(status=error.status, body=body, content_type="application/xml", headers=error.headers)


def _line(message: str | None) -> str:
    return (message or "").strip().splitlines()[0][:200] if (message or "").strip() else ""


def _agent(headers: SentHeaders) -> str:
    """What reads are counted for: the first word of the client's name."""
    words = (headers.joined("user-agent") or "").split(maxsplit=1)
    return words[0][:64] if words else "unnamed"


def _refuse_unserved(call: S3Call) -> None:
    """Refuse what would change the meaning of a request, and be done as if it had not been asked."""
    for name in call.query:
        if name in _SUBRESOURCES or (name == "versioning" and call.method == "PUT"):
            raise S3Error("NotImplemented", f"{name} is not served")
    if call.query.get("versionId", "null") != "null":
        raise S3Error("InvalidArgument", "Invalid version id specified")
    for name in call.headers.names():
        if name.startswith(_UNSERVED_HEADERS):
            raise S3Error("NotImplemented", f"{name} is not served")
    if call.headers.get("x-amz-acl", "private") not in _ACLS_OF_OWNERS:
        raise S3Error("AccessControlListNotSupported")
