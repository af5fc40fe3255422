"""Which requests are answered, and which may act. Pure.

Everybody with access to the port may look; by default that is this machine. An action needs the token, in a header that no
other site's page can set.

A browser on this machine reaches the port for every page that is open in it. So the server refuses pages of other sites, and
tells them from its own in two ways:

* By the name that was asked for (`Host`). Another site may make its own name point here (DNS rebinding), and then has the
  dashboard's origin. So the name must be known: one of the machine's, or an address, which cannot be made to point elsewhere.
* By what browsers say of the page that asks. They send `Sec-Fetch-Site` to a loopback address and over TLS; elsewhere
  `Origin` and `Referer` must do. Other programs send none of these, and may look. The page's own files are for everybody,
  since links to it must work.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
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
#: A name or an address, and maybe a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._\-]+))(?::[0-9]{1,5})?")


class Guard:
    """Decides about requests.

    Args:
        host: the address that is served.
        token: what actions need; empty: there are none.
        names: further names that browsers may know the server by.
    """

    def __init__(self, host: str, token: str, names: Iterable[str] = ()) -> None:
        self._local = host in LOOPBACK
        self._names = {name.lower().rstrip(".") for name in (*LOOPBACK, host, *names)}
        self._token = token.encode()

    @property
    def acts(self) -> bool:
        """Whether anybody may act."""
        return bool(self._token)

    def is_named(self, headers: Mapping[str, str]) -> bool:
        """Whether the request names this server."""
        found = _HOST.fullmatch(headers.get("Host", ""))
        if found is None:
            return False
        name = (found[1] or found[2]).lower().rstrip(".")
        return name in self._names or (not self._local and _is_address(name))

    def may_look(self, headers: Mapping[str, str]) -> bool:
        """Whether the request names this server, and no other site's page has made it, as far as browsers say."""
        if not self.is_named(headers) or headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return False
        host = headers.get("Host", "").lower()
        return all(_authority(headers[name]) == host for name in ("Origin", "Referer") if name in headers)

    def may_act(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """None when the request may act, else (HTTP status, why not)."""
        if not self.acts:
            return 403, "this dashboard is read-only; start it with a token to act from it"
        if not self.may_look(headers):
            return 403, "another site's page may not act here"
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token):
            return 401, "the token is missing or wrong"
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _authority(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
