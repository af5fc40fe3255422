"""One HTTP request at a time, bounded by its time-outs, through the proxy and under the authorities of the environment.

Nothing is repeated and nothing is followed here. The time-out of a request is for a server that sends nothing; what keeps
arriving may take `_WHOLE_REQUEST` times as long in obstore, and any time here. What obstore cannot say exactly is sent this way: listings, odd keys,
writes, and all of what is no object store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from typing_extensions import Buffer

from raycache.errors import InvalidRequestError
from raycache.ufs.http.body import Body
from raycache.ufs.http.proxies import ca_file, proxy_for

CONNECTIONS_MAX = 64

#: What keeps arriving may take so many times as long as a server may send nothing.
_WHOLE_REQUEST = 20
#: Matches every host for obstore.
_NO_PROXY_AT_ALL = "0.0.0.0/0,::/0,*"


class HttpReach(NamedTuple):
    """How an endpoint is reached."""

    endpoint_url: str
    connect_timeout_s: float = 5.0
    #: How long nothing may arrive.
    request_timeout_s: float = 30.0
    verify_tls: bool = True
    #: A PEM file; "": that of the environment, or the system's.
    ca_file: str = ""
    #: What names it, for messages.
    ca_origin: str = "option ca_file"


class HttpAnswer(NamedTuple):
    """An answer with its whole body."""

    status: int
    #: Names in any case.
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Thread-safe.

    Args:
        reach: how the endpoint is reached.

    Raises:
        InvalidRequestError: a CA file that cannot be read.
    """

    def __init__(self, reach: HttpReach) -> None:
        import urllib3

        self.endpoint_url = reach.endpoint_url
        self.proxy_url = proxy_for(reach.endpoint_url, os.environ)
        tls: dict[str, Any] = {}
        if not reach.verify_tls:
            tls = {"cert_reqs": "CERT_NONE"}
        elif authorities(reach)[0]:
            read_authorities(reach)  # so that a wrong name is told at once
            tls = {"ca_certs": authorities(reach)[0]}
        settings: dict[str, Any] = {
            "maxsize": CONNECTIONS_MAX,
            "retries": False,
            "timeout": urllib3.Timeout(connect=reach.connect_timeout_s, read=reach.request_timeout_s),
            **tls,
        }
        self.pool: Any = (
            urllib3.ProxyManager(self.proxy_url, **settings) if self.proxy_url else urllib3.PoolManager(**settings)
        )

    def __repr__(self) -> str:
        return f"HttpClient({self.endpoint_url!r})"

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: Buffer | None = None,
        *,
        body_bytes_max: int | None = None,
    ) -> HttpAnswer:
        """Send a request and take in its whole answer.

        Args:
            method: of HTTP.
            url: percent-encoded.
            headers: all of them; a length is added for data.
            data: the body; None: no body.
            body_bytes_max: a longer body is broken off one byte behind that; None: all of it is wanted.

        Raises:
            urllib3.exceptions.HTTPError: no whole answer came.
        """
        sent = dict(headers)
        body: Any = None
        if data is not None:
            length = memoryview(data).nbytes
            sent["Content-Length"] = str(length)
            body = Body(data) if length else b""
        answer = self.pool.urlopen(
            method, url, body=body, headers=sent, redirect=False, decode_content=False, preload_content=False
        )
        try:
            taken = answer.read(None if body_bytes_max is None else body_bytes_max + 1, decode_content=False)
            if body_bytes_max is not None and len(taken) > body_bytes_max:
                answer.close()  # what is left of it must not be taken for another answer
        finally:
            answer.release_conn()
        return HttpAnswer(answer.status, answer.headers, taken)

    def close(self) -> None:
        """Let go of connections. A later request connects again."""
        self.pool.clear()


def authorities(reach: HttpReach) -> tuple[str, str]:
    """The file of authorities to trust, and what names it; two times "" for the system's."""
    if not reach.verify_tls or urlsplit(reach.endpoint_url).scheme != "https":
        return "", ""
    return (reach.ca_file, reach.ca_origin) if reach.ca_file else ca_file(os.environ)


def read_authorities(reach: HttpReach) -> bytes:
    """The file of authorities.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    name, origin = authorities(reach)
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"cannot read the CA file {name}; set {origin} to one that is there") from error


def obstore_reach(reach: HttpReach, proxy_url: str) -> dict[str, Any]:
    """The same for obstore: its `client_options` and `retry_config`.

    Args:
        reach: how the endpoint is reached.
        proxy_url: "": straight.
    """
    client_options: dict[str, Any] = {
        "allow_http": urlsplit(reach.endpoint_url).scheme == "http",
        "connect_timeout": timedelta(seconds=reach.connect_timeout_s),
        "read_timeout": timedelta(seconds=reach.request_timeout_s),
        "timeout": timedelta(seconds=reach.request_timeout_s * _WHOLE_REQUEST),
        "allow_invalid_certificates": not reach.verify_tls,
        "proxy_url": proxy_url or "http://localhost",
    }
    if not proxy_url:
        client_options["proxy_excludes"] = _NO_PROXY_AT_ALL
    if authorities(reach)[0]:
        client_options["root_certificate"] = read_authorities(reach)
    return {
        "client_options": client_options,
        "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=reach.request_timeout_s)},
    }
