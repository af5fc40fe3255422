"""Who may ask, and who may act. Pure.

Anybody who reaches the port may look; by default that is this machine. To act takes the token, in a header that no other
site's page can set, and is refused to pages of other origins anyway. A name that is not this server's (`Host`) is refused
where it serves the machine only: a page elsewhere could have had its own name point here.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

#: Sent with every answer: the page is all there is, from here, and nobody frames it.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "raycache",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Decides about requests.

    Args:
        host: the address that is served.
        token: what actions need; empty: there are none.
    """

    def __init__(self, host: str, token: str) -> None:
        self._local = host in LOOPBACK
        self._token = token.encode()

    @property
    def acts(self) -> bool:
        """Whether anybody may act."""
        return bool(self._token)

    def may_look(self, headers: Mapping[str, str]) -> bool:
        """Whether the request names this server."""
        return not self._local or _hostname(headers.get("Host", "")) in LOOPBACK

    def may_act(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """None when the request may act, else (HTTP status, why not)."""
        if not self.acts:
            return 403, "this dashboard is read-only; start it with a token to act from it"
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("Host"):
            return 403, "another site's page may not act here"
        if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return 403, "another site's page may not act here"
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token):
            return 401, "the token is missing or wrong"
        return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
