"""Who asks Azure: an account's key, a shared access signature, or a token of Entra ID, which azure-identity fetches.

Requests that do not go through obstore are signed here. Source of the signature: "Authorize with Shared Key", Microsoft's
reference of the REST API of Azure Storage.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from raycache.errors import DeniedError, InvalidRequestError, UnavailableError
from raycache.ufs.clouds.azure_options import AzureOptions
from raycache.ufs.errors import cause_of

API_VERSION = "2021-12-02"

_SCOPE = "https://storage.azure.com/.default"
#: Headers that the signature names one by one, in this order, before those of `x-ms-`.
_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


class AzureCredentials:
    """Signs requests, and is obstore's credential provider. Thread-safe.

    Args:
        options: of the mount.
        root_uri: for messages.

    Raises:
        DeniedError: no credentials anywhere.
        InvalidRequestError: a key that is none.
    """

    def __init__(self, options: AzureOptions, root_uri: str) -> None:
        self._options = options
        self._root_uri = root_uri
        self._key = b""
        self._identity: Any = None
        self._token = ""
        if options.account_key:
            try:
                self._key = base64.b64decode(options.account_key, validate=True)
            except binascii.Error:
                raise InvalidRequestError("option account_key is no key of Azure, which is base64") from None
        elif not options.sas_token and not options.anonymous:
            self._identity = _find_identity(options, root_uri)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        options = self._options
        signature = next((part[4:] for part in options.sas_token.split("&") if part.startswith("sig=")), "")
        words = (
            options.account_key,
            options.sas_token,
            options.client_secret,
            signature,
            unquote(signature),
            self._token,
        )
        return tuple(filter(None, words))

    @property
    def store_options(self) -> dict[str, Any]:
        """What obstore is told."""
        if self._key:
            return {"account_key": self._options.account_key, "skip_signature": False}
        if self._options.sas_token:
            return {"sas_key": self._options.sas_token, "skip_signature": False}
        if self._identity is not None:
            return {"credential_provider": self._provide, "skip_signature": False}
        return {"skip_signature": True}

    def signed(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The URL and the headers to send.

        Args:
            method: of HTTP.
            url: percent-encoded.
            headers: with the `Content-Length` of a body.
        """
        sent = {**headers, "x-ms-version": API_VERSION, "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True)}
        if self._key:
            text = string_to_sign(self._options.account_name, method, url, sent)
            signature = base64.b64encode(hmac.new(self._key, text.encode(), hashlib.sha256).digest()).decode()
            sent["Authorization"] = f"SharedKey {self._options.account_name}:{signature}"
        elif self._options.sas_token:
            url = f"{url}{'&' if '?' in url else '?'}{self._options.sas_token}"
        elif self._identity is not None:
            sent["Authorization"] = f"Bearer {self._provide()['token']}"
        return url, sent

    def source_url(self, url: str) -> str:
        """The URL of a blob that is to be copied, for the store itself."""
        return f"{url}?{self._options.sas_token}" if self._options.sas_token else url

    def _provide(self) -> dict[str, Any]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            token = self._identity.get_token(_SCOPE)  # kept and renewed by azure-identity itself
        except ClientAuthenticationError as error:
            raise DeniedError(
                f"Azure gives no token for {self._root_uri}; give account_key or sas_token, or log in",
                uri=self._root_uri,
            ) from cause_of(error, self.secrets)
        except AzureError as error:
            raise UnavailableError("tokens of Azure cannot be fetched now; try later") from cause_of(
                error, self.secrets
            )
        self._token = token.token
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, UTC)}


def string_to_sign(account: str, method: str, url: str, headers: Mapping[str, str]) -> str:
    """What a shared key signs.

    Args:
        account: the account's name.
        method: of HTTP.
        url: percent-encoded.
        headers: all that are sent.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    if lower.get("content-length") == "0":
        lower["content-length"] = ""
    parts = urlsplit(url)
    own = [f"{name}:{lower[name]}" for name in sorted(lower) if name.startswith("x-ms-")]
    query: dict[str, list[str]] = {}
    for pair in parts.query.split("&") if parts.query else ():
        name, _, value = pair.partition("=")
        query.setdefault(unquote(name).lower(), []).append(unquote(value))
    named = [f"{name}:{','.join(sorted(query[name]))}" for name in sorted(query)]
    return "\n".join([
        method, *(lower.get(name, "") for name in _SIGNED_HEADERS), *own, f"/{account}{parts.path}", *named,
    ])  # fmt: skip


def _find_identity(options: AzureOptions, root_uri: str) -> Any:
    try:
        from azure.identity import ClientSecretCredential, DefaultAzureCredential
    except ImportError:
        raise DeniedError(
            f"no credentials for {root_uri}; give account_key, sas_token or anonymous=True, or install azure-identity",
            uri=root_uri,
        ) from None
    if options.client_secret:
        return ClientSecretCredential(options.tenant_id, options.client_id, options.client_secret)
    return DefaultAzureCredential(managed_identity_client_id=options.client_id or None)
