"""Which options of a store may be shown: one list, for mounts, the command line and the dashboard.

It is a list of what is harmless. Every other option counts as a secret, whatever its name: a new one, a misspelt one,
one of a filesystem that pyarrow makes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from raycache.ufs.clouds.azure_options import ALIASES as AZURE_ALIASES
from raycache.ufs.clouds.google_options import ALIASES as GOOGLE_ALIASES
from raycache.ufs.s3.options import ALIASES as S3_ALIASES

HIDDEN = "***"
#: Of all stores; a name that one has for a secret is a secret everywhere.
_ALIASES = {**AZURE_ALIASES, **GOOGLE_ALIASES, **S3_ALIASES}
#: By their own names; aliases of these may be shown, too.
_SHOWN = frozenset({
    "account_name", "allow_http", "anonymous", "ca_file", "connect_timeout_s", "endpoint_url", "path_style", "profile", "region",
    "request_payer", "request_timeout_s", "retries_max", "scheme", "user_project", "verify_tls",
})  # fmt: skip


def shown_option(name: str, value: Any) -> Any:
    """An option's value as it may be shown.

    Returns:
        The value, a URL without user, password and query; or `HIDDEN`.
    """
    if _ALIASES.get(name, name) not in _SHOWN or isinstance(value, (dict, list, tuple)):
        return HIDDEN
    return _without_user(value) if isinstance(value, str) else value


def _without_user(url: str) -> str:
    if "://" not in url:
        return HIDDEN if "@" in url else url
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
