"""Credentials as botocore finds them, for both clients: boto3 has them anyway, obstore asks for them here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

#: obstore asks again this often; botocore itself refreshes credentials that have less than 10 minutes left.
_KEPT = timedelta(minutes=5)


class CredentialSource:
    """obstore's credential provider. What botocore cannot fetch is remembered, since obstore makes a text of it.

    Args:
        credentials: of botocore; they refresh themselves where they can.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._secrets: tuple[str, ...] = ()
        #: Why there were none when they were last asked for.
        self.error: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        """Obstore's protocol."""
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            self.error = error
            raise
        self.error = None
        self._secrets = tuple(part for part in (frozen.secret_key, frozen.token, frozen.access_key) if part)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _KEPT,
        }

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, of those last handed out."""
        return self._secrets
