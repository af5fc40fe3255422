"""Who asks Google: a token that a mount was given, or one that google-auth finds and renews."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from raycache.errors import DeniedError, InvalidRequestError, UnavailableError
from raycache.ufs.clouds.google_options import GoogleOptions
from raycache.ufs.errors import cause_of

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_IMPERSONATION_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
#: obstore asks again this often; google-auth itself renews tokens that end within four minutes.
_KEPT = timedelta(minutes=6)


class GoogleCredentials:
    """obstore's credential provider, and what other requests are signed with. Thread-safe.

    Args:
        options: of the mount.
        root_uri: for messages.
        pool: of urllib3: token requests go through it.

    Raises:
        DeniedError: no credentials anywhere.
        InvalidRequestError: a file that holds none.
    """

    def __init__(self, options: GoogleOptions, root_uri: str, pool: Any) -> None:
        self._token = options.access_token
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._pool = pool
        if not self._token:
            self._credentials = _find(options, root_uri)

    def __call__(self) -> dict[str, Any]:
        """Obstore's protocol."""
        if self._credentials is not None:
            with self._lock:
                self._renew()
        return {"token": self._token, "expires_at": datetime.now(UTC) + _KEPT}

    def _renew(self) -> None:
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.urllib3 import Request

        try:
            if not self._credentials.valid:
                self._credentials.refresh(Request(self._pool))
        except TransportError as error:
            raise UnavailableError("Google's tokens cannot be fetched now; try later") from cause_of(
                error, self.secrets
            )
        except GoogleAuthError as error:
            raise DeniedError(
                "Google gives no token for these credentials; check credentials_file, or log in again"
            ) from cause_of(error, self.secrets)
        self._token = self._credentials.token

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self._token,) if self._token else ()


def make_credentials(options: GoogleOptions, root_uri: str, pool: Any) -> GoogleCredentials | None:
    """Whoever asks; None: nobody in particular."""
    return None if options.anonymous else GoogleCredentials(options, root_uri, pool)


def _find(options: GoogleOptions, root_uri: str) -> Any:
    import google.auth
    from google.auth import impersonated_credentials
    from google.auth.exceptions import GoogleAuthError

    target = options.target_service_account
    scopes = [_IMPERSONATION_SCOPE if target else _SCOPE]
    try:
        if options.credentials_file:
            found, _ = google.auth.load_credentials_from_file(options.credentials_file, scopes=scopes)
        else:
            found, _ = google.auth.default(scopes=scopes)
    except GoogleAuthError as error:
        if options.credentials_file:
            raise InvalidRequestError(
                f"{options.credentials_file} holds no credentials of Google; set option credentials_file"
            ) from cause_of(error)
        raise DeniedError(
            f"no credentials for {root_uri}; give credentials_file or access_token, or anonymous=True", uri=root_uri
        ) from cause_of(error)
    if target:
        return impersonated_credentials.Credentials(found, target_principal=target, target_scopes=[_SCOPE])
    return found
