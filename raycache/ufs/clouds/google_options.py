"""The options of a mount of `gs://`: pyarrow's names where it has any, and those that all stores share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from raycache.errors import InvalidRequestError
from raycache.ufs.http.http_client import HttpReach
from raycache.ufs.http.option_values import check_bounds, converted_options, parse_endpoint

#: Names that other tools use (pyarrow, gcsfs, obstore) for the same thing.
ALIASES = {
    "endpoint_override": "endpoint_url",
    "endpoint": "endpoint_url",
    "base_url": "endpoint_url",
    "anon": "anonymous",
    "skip_signature": "anonymous",
    "bearer_token": "access_token",
    "service_account": "credentials_file",
    "application_credentials": "credentials_file",
    "requester_pays_project": "user_project",
}
#: Of pyarrow's: for making buckets, or for its own retries.
_WITHOUT_MEANING = frozenset({"default_bucket_location", "project_id"})


@dataclasses.dataclass(frozen=True, slots=True)
class GoogleOptions:
    """All options of one bucket. Empty strings mean: not given."""

    endpoint_url: str = "https://storage.googleapis.com"
    #: Of an endpoint that is given without one.
    scheme: str = "https"
    #: A token of OAuth that somebody else renews, by mounting again.
    access_token: str = dataclasses.field(default="", repr=False)
    #: Of a service account, or of whoever logged in; empty: Google's own search (`GOOGLE_APPLICATION_CREDENTIALS`, gcloud's
    #: login, the machine's account).
    credentials_file: str = ""
    #: A service account to act for.
    target_service_account: str = ""
    anonymous: bool = False
    #: The project that pays for requests.
    user_project: str = ""
    connect_timeout_s: float = 5.0
    #: How long nothing may arrive. What keeps arriving may take longer.
    request_timeout_s: float = 30.0
    #: Attempts after the first.
    retries_max: int = 4
    verify_tls: bool = True
    #: A PEM file of authorities to trust.
    ca_file: str = ""

    def __post_init__(self) -> None:
        if self.anonymous and (self.access_token or self.credentials_file or self.target_service_account):
            raise InvalidRequestError("option anonymous excludes credentials; give one or the other")
        if self.access_token and self.credentials_file:
            raise InvalidRequestError("options access_token and credentials_file exclude each other; give one")
        check_bounds(self.connect_timeout_s, self.request_timeout_s, self.retries_max)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> GoogleOptions:
        """Check a mount's options.

        Raises:
            InvalidRequestError: an unknown name, a value of the wrong type, one thing given twice, or a contradiction.
        """
        values = converted_options("GCS", cls, options, aliases=ALIASES, without_meaning=_WITHOUT_MEANING)
        if "endpoint_url" in values:
            values["endpoint_url"] = parse_endpoint(values["endpoint_url"], values.get("scheme", "https"))
        return cls(**values)

    @property
    def reach(self) -> HttpReach:
        """How the endpoint is reached."""
        return HttpReach(
            self.endpoint_url, self.connect_timeout_s, self.request_timeout_s, self.verify_tls, self.ca_file
        )
