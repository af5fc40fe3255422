"""How fsspec spells paths and options, and how the cache does. Pure text.

fsspec strips protocols off paths. `raycache:///lake/x` is `/lake/x`; URIs of other stores keep their scheme, since it is
part of the name here: `s3://bucket/key`. In a chained URL, `raycache::s3://bucket/key`, fsspec lets the store's own
class strip the path to `bucket/key` and makes an instance for that store only; there names have no scheme, neither
going in nor coming out, as with fsspec's own caching filesystems.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raycache import paths as names
from raycache.errors import InvalidRequestError
from raycache.ufs.s3.options import ALIASES

#: A path begins with it; a key may hold "://" anywhere.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_OWN = ("fsspec+raycache://", "raycache://", "raycache::")
#: What s3fs knows under `client_kwargs`, and the cache as options of its own.
_S3_CLIENT_OPTIONS = frozenset({"endpoint_url", "region_name"})


def strip(path: str) -> str:
    """The fsspec name of a path or URL of an instance that is not chained.

    Returns:
        `/lake/x` or `s3://bucket/key`, without trailing slashes; "" when nothing but the protocol is given, since fsspec
        takes that as "the next link of the chain says".
    """
    if path.startswith("/") and "//" not in path and not path.endswith(("/", ":")):
        return path
    for protocol in _OWN:
        if path.startswith(protocol):
            path = path.removeprefix(protocol)
            break
    if not path or _SCHEME.match(path):
        return _without_slash(path)
    return _without_slash("/" + path.lstrip("/"))


def _without_slash(path: str) -> str:
    if path.endswith("://") or not path:
        return path
    stripped = path.rstrip("/")
    if stripped.endswith(":"):  # file:///
        return path
    return stripped or "/"


def parent(path: str) -> str:
    """The directory above a name of `strip`; the top of a namespace or a bucket is its own parent."""
    path = strip(path)
    scheme, marker, rest = ("", "", path) if path.startswith("/") else path.partition("://")
    above = rest.rpartition("/")[0]
    if marker:
        return f"{scheme}://{above}" if "/" in rest else path
    return above or "/"


class Chain:
    """The spelling inside one store: `bucket/key` there is `s3://bucket/key` here.

    Args:
        target_protocol: of the store: "s3", "gs", "file", ...
        target_options: fsspec options of the store; `host` and `port` name an authority that fsspec left out of paths.

    Raises:
        InvalidRequestError: a protocol that is not one.
    """

    def __init__(self, target_protocol: str, target_options: Mapping[str, Any]) -> None:
        local = target_protocol in ("file", "local")
        scheme = "file" if local else names.normalise(f"{target_protocol}://x").partition("://")[0]
        host, port = target_options.get("host"), target_options.get("port")
        authority = f"{host}:{port}" if host and port else str(host or "")
        #: Whether names begin with a slash: where the authority is not a part of them.
        self.absolute = bool(authority) or scheme in ("file", "hdfs", "viewfs")
        self.prefix = f"{scheme}://{authority}/" if self.absolute else f"{scheme}://"

    def strip(self, path: str) -> str:
        """The fsspec name: `bucket/key`."""
        path = strip(path) if path.startswith(_OWN) else path
        path = path.removeprefix(self.prefix).strip("/")
        return "/" + path if self.absolute else path

    def holds(self, uri: str) -> bool:
        """Whether a normalised URI is of this store."""
        return f"{uri}/".startswith(self.prefix)

    def full(self, path: str) -> str:
        """The cache's path: `s3://bucket/key`."""
        return self.prefix + self.strip(path).removeprefix("/")

    def parent(self, path: str) -> str:
        """The directory above."""
        path = self.strip(path)
        return path.rpartition("/")[0] or ("/" if self.absolute else path)


def mount_options(root_uri: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a mount that fsspec options of a store stand for.

    Args:
        root_uri: the store.
        options: as s3fs names them: key, secret, token, anon, profile, endpoint_url, client_kwargs; or as the cache does.

    Raises:
        InvalidRequestError: client_kwargs with what the cache does not know.
    """
    given = {name: value for name, value in options.items() if name not in ("host", "port") and value is not None}
    if not root_uri.startswith("s3://"):
        return given
    client_options = dict(given.pop("client_kwargs", None) or {})
    unknown = sorted(set(client_options) - _S3_CLIENT_OPTIONS)
    if unknown:
        raise InvalidRequestError(
            f"client_kwargs option {unknown[0]!r} is not supported; give {', '.join(sorted(_S3_CLIENT_OPTIONS))}"
        )
    return {ALIASES.get(name, name): value for name, value in {**given, **client_options}.items()}
