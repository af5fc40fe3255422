"""The options of a mount of `abfs://`: pyarrow's names where it has any, and those that all stores share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from raycache.errors import InvalidRequestError
from raycache.ufs.http.http_client import HttpReach
from raycache.ufs.http.option_values import check_bounds, converted_options, parse_endpoint

#: Names that other tools use (pyarrow, adlfs, obstore) for the same thing.
ALIASES = {
    "account": "account_name",
    "access_key": "account_key",
    "sas_key": "sas_token",
    "endpoint": "endpoint_url",
    "blob_storage_authority": "endpoint_url",
    "blob_storage_scheme": "scheme",
    "anon": "anonymous",
    "skip_signature": "anonymous",
}
#: Of pyarrow's: another address of the same account, which is not needed here.
_WITHOUT_MEANING = frozenset({"dfs_storage_authority", "dfs_storage_scheme"})
_AUTHORITY = ".blob.core.windows.net"


@dataclasses.dataclass(frozen=True, slots=True)
class AzureOptions:
    """All options of one container. Empty strings mean: not given."""

    account_name: str
    #: Of the account's blobs, without a slash at its end.
    endpoint_url: str
    #: Of an endpoint that is given without one.
    scheme: str = "https"
    account_key: str = dataclasses.field(default="", repr=False)
    sas_token: str = dataclasses.field(default="", repr=False)
    #: An application of Entra ID.
    tenant_id: str = ""
    client_id: str = ""
    client_secret: str = dataclasses.field(default="", repr=False)
    anonymous: bool = False
    connect_timeout_s: float = 5.0
    #: How long nothing may arrive. What keeps arriving may take longer.
    request_timeout_s: float = 30.0
    #: Attempts after the first.
    retries_max: int = 4
    verify_tls: bool = True
    #: A PEM file of authorities to trust.
    ca_file: str = ""

    def __post_init__(self) -> None:
        given = [bool(self.account_key), bool(self.sas_token), bool(self.client_secret), self.anonymous]
        if sum(given) > 1:
            raise InvalidRequestError(
                "options account_key, sas_token, client_secret and anonymous exclude each other; give one"
            )
        if self.client_secret and not (self.tenant_id and self.client_id):
            raise InvalidRequestError("option client_secret needs tenant_id and client_id")
        check_bounds(self.connect_timeout_s, self.request_timeout_s, self.retries_max)

    @classmethod
    def parse(cls, host: str, options: Mapping[str, Any]) -> AzureOptions:
        """Check a mount's options.

        Args:
            host: of the authority, `account.dfs.core.windows.net`; "": it has none.
            options: names, or aliases of them, to values.

        Raises:
            InvalidRequestError: an unknown name, a value of the wrong type, one thing given twice, no account, or a
                contradiction.
        """
        values = converted_options("Azure", cls, options, aliases=ALIASES, without_meaning=_WITHOUT_MEANING)
        account = values.setdefault("account_name", host.partition(".")[0])
        if not account:
            raise InvalidRequestError(
                "no account; write abfs://container@account.dfs.core.windows.net, or give account_name"
            )
        endpoint, scheme = str(values.get("endpoint_url", _AUTHORITY)), str(values.get("scheme", "https"))
        if endpoint.startswith("."):
            endpoint = f"{account}{endpoint}"
        elif "://" not in endpoint:  # pyarrow's way of saying that the account goes into the path
            endpoint = f"{endpoint}/{account}"
        values["endpoint_url"] = parse_endpoint(endpoint, scheme)
        values["sas_token"] = str(values.get("sas_token", "")).removeprefix("?")
        return cls(**values)

    @property
    def reach(self) -> HttpReach:
        """How the endpoint is reached."""
        return HttpReach(
            self.endpoint_url, self.connect_timeout_s, self.request_timeout_s, self.verify_tls, self.ca_file
        )
