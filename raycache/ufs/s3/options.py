"""The options of an S3 mount: names, aliases, types, and what the environment says.

Options are a plain dict, so that a mount can be written on a command line or in a journal. Here they become one checked
value; an unknown name is an error that names it. `repr` shows no key and no token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from raycache.errors import InvalidRequestError
from raycache.ufs.http.option_values import converted_option

#: Names that other tools use (AWS, fsspec, pyarrow, obstore) for the same thing.
ALIASES = {
    "aws_access_key_id": "access_key_id",
    "access_key": "access_key_id",
    "key": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "secret_key": "secret_access_key",
    "secret": "secret_access_key",
    "aws_session_token": "session_token",
    "token": "session_token",
    "endpoint": "endpoint_url",
    "endpoint_override": "endpoint_url",
    "aws_endpoint_url": "endpoint_url",
    "aws_region": "region",
    "region_name": "region",
    "anon": "anonymous",
    "aws_profile": "profile",
    "profile_name": "profile",
    "requester_pays": "request_payer",
    "aws_request_payer": "request_payer",
    "aws_ca_bundle": "ca_file",
}


@dataclasses.dataclass(frozen=True, slots=True)
class S3Options:
    """All options of one S3 storage. Empty strings mean: not given."""

    #: `http://host:port` or `https://...`; empty: AWS, or what the environment's profile says.
    endpoint_url: str = ""
    access_key_id: str = dataclasses.field(default="", repr=False)
    secret_access_key: str = dataclasses.field(default="", repr=False)
    session_token: str = dataclasses.field(default="", repr=False)
    #: Empty: the environment's, or us-east-1.
    region: str = ""
    #: Send unsigned requests: public buckets.
    anonymous: bool = False
    #: Section of the AWS configuration files to take credentials from.
    profile: str = ""
    #: The bucket in the path rather than in the host's name. None: yes with an endpoint_url, no with AWS.
    path_style: bool | None = None
    connect_timeout_s: float = 5.0
    #: How long nothing may arrive. What keeps arriving may take longer.
    request_timeout_s: float = 30.0
    #: Attempts after the first.
    retries_max: int = 4
    verify_tls: bool = True
    #: A PEM file of authorities to trust. Empty: that of `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE`, or the system's.
    ca_file: str = ""
    #: The bucket's owner lets those pay who read: say that it is you. True, or "requester" as AWS calls it.
    request_payer: bool = False

    def __post_init__(self) -> None:
        if self.endpoint_url:
            parts = urlsplit(self.endpoint_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidRequestError("option endpoint_url must look like http://host:port or https://host")
            if parts.username or parts.password:
                raise InvalidRequestError("option endpoint_url must hold no user or password; use access_key_id")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise InvalidRequestError("options access_key_id and secret_access_key go together; give both or neither")
        if self.session_token and not self.access_key_id:
            raise InvalidRequestError("option session_token needs access_key_id and secret_access_key")
        if self.anonymous and self.access_key_id:
            raise InvalidRequestError("options anonymous and access_key_id exclude each other; give one")
        if self.connect_timeout_s <= 0 or self.request_timeout_s <= 0:
            raise InvalidRequestError("options connect_timeout_s and request_timeout_s must be above 0")
        if self.retries_max < 0:
            raise InvalidRequestError("option retries_max must be 0 or more")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> S3Options:
        """Check a mount's options.

        Args:
            options: names, or aliases of them, to values; text is converted; None counts as not given.

        Raises:
            InvalidRequestError: an unknown name, a value of the wrong type, one thing given twice, or a contradiction.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        given = {name: value for name, value in options.items() if value is not None}
        for name, value in canonical_names(given).items():
            if name == "allow_http":  # follows from endpoint_url; other tools ask for it
                continue
            if name not in fields:
                raise InvalidRequestError(f"unknown S3 option {name!r}; known are {', '.join(sorted(fields))}")
            values[name] = _convert(name, str(fields[name].type), value)
        return cls(**values)

    @property
    def uses_path_style(self) -> bool:
        """Whether the bucket goes into the path."""
        return bool(self.endpoint_url) if self.path_style is None else self.path_style

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(s for s in (self.secret_access_key, self.session_token, self.access_key_id) if s)


def canonical_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options under their own names rather than aliases, so that two sets of them can be merged.

    Raises:
        InvalidRequestError: one thing given twice.
    """
    values: dict[str, Any] = {}
    for given, value in options.items():
        name = ALIASES.get(given, given)
        if name in values:
            raise InvalidRequestError(f"S3 option {name} is given twice, once as {given!r}; give it once")
        values[name] = value
    return values


def options_from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The S3 options that a process's environment stands for, so that a client can hand them to the cluster.

    Args:
        environment: usually `os.environ`.

    Returns:
        Only what is set: endpoint_url, region, request_payer, and either the keys or a profile.
    """
    found = {
        "endpoint_url": environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"),
        "region": environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
        "request_payer": environment.get("AWS_REQUEST_PAYER"),
    }
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        found["access_key_id"] = environment["AWS_ACCESS_KEY_ID"]
        found["secret_access_key"] = environment["AWS_SECRET_ACCESS_KEY"]
        found["session_token"] = environment.get("AWS_SESSION_TOKEN")
    else:
        found["profile"] = environment.get("AWS_PROFILE")
    return {name: value for name, value in found.items() if value}


def _convert(name: str, kind: str, value: Any) -> Any:
    if name == "request_payer" and str(value).strip().lower() == "requester":
        return True
    converted = converted_option("S3", name, kind, value)
    return converted.rstrip("/") if name == "endpoint_url" else converted
