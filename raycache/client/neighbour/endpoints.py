"""The S3 endpoint of a node, as its own processes find it."""

from __future__ import annotations

import dataclasses

from raycache.client.neighbour.node_file import find
from raycache.errors import NotFoundError
from raycache.results import Result


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint(Result):
    """The S3 endpoint of this process's node, and the keys for it; `repr` shows no secret."""

    #: `http://127.0.0.1:PORT`, without a slash at the end.
    url: str
    access_key: str
    secret_key: str = dataclasses.field(repr=False)
    region: str = "us-east-1"

    def storage_options(self) -> dict[str, str]:
        """For clients in Rust: polars, deltalake, lance, obstore, daft's and others' `object_store` options."""
        return {
            "aws_endpoint_url": self.url,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_region": self.region,
            "aws_allow_http": "true",
            "aws_virtual_hosted_style_request": "false",
        }

    def environment(self) -> dict[str, str]:
        """Variables that most S3 clients follow, for `runtime_env={"env_vars": ...}` or another process."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ALLOW_HTTP": "true",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }


def endpoint(cache_id: str, node: str) -> Endpoint:
    """The endpoint of a cache on a node; see `Cache.endpoint`."""
    found = find(cache_id, node)
    if found is None:
        raise NotFoundError(
            "no endpoint runs on this node; start the cache with endpoint=True, or run `raycache endpoint start`"
        )
    return Endpoint(found.url, found.access_key, found.secret_key)
