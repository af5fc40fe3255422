"""Values of a mount's options, which may come as text from a command line: made what their field says."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from raycache.errors import InvalidRequestError


def converted_option(store: str, name: str, kind: str, value: Any) -> Any:
    """The value as the field's type; the message of an error never repeats it, since it may be a secret.

    Args:
        store: its name, for messages.
        name: the option's.
        kind: the field's annotation: "bool", "float", "int" or "str", perhaps with more behind it.
        value: perhaps text.
    """
    try:
        if kind.startswith("bool"):
            return _as_bool(value)
        if kind == "float":
            return float(value)
        if kind == "int":
            return int(value)
    except (TypeError, ValueError):
        kind = kind.split(maxsplit=1)[0]
        raise InvalidRequestError(f"{store} option {name} must be a {kind}") from None  # the cause quotes it
    if not isinstance(value, str):
        raise InvalidRequestError(f"{store} option {name} must be text")
    return value


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off"):
        return False
    raise ValueError


def parse_endpoint(text: str, scheme: str) -> str:
    """An endpoint as a URL without a slash at its end.

    Args:
        text: with or without its scheme.
        scheme: "http" or "https", for one without.

    Raises:
        InvalidRequestError: it is none, or holds a user or a password.
    """
    url = (text if "://" in text else f"{scheme}://{text}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequestError("an endpoint must look like http://host:port or https://host")
    if parts.username or parts.password:
        raise InvalidRequestError("an endpoint must hold no user or password; use the options for that")
    return url
