"""Values of a mount's options, which may come as text from a command line: made what their field says."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
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


def converted_options(
    store: str,
    kind: type[Any],
    options: Mapping[str, Any],
    *,
    aliases: Mapping[str, str] | None = None,
    without_meaning: Collection[str] = (),
) -> dict[str, Any]:
    """The options of a mount, as the fields of a dataclass; None counts as not given.

    Args:
        store: its name, for messages.
        kind: a dataclass with a field for each option.
        options: names, or aliases of them, to values.
        aliases: names by their aliases.
        without_meaning: names that are taken and dropped.

    Raises:
        InvalidRequestError: an unknown name, a value of the wrong type, or one thing given twice.
    """
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for given, value in options.items():
        name = (aliases or {}).get(given, given)
        if value is None or name in without_meaning:
            continue
        if name not in fields:
            raise InvalidRequestError(f"unknown {store} option {given!r}; known are {', '.join(sorted(fields))}")
        if name in values:
            raise InvalidRequestError(f"{store} option {name} is given twice, once as {given!r}; give it once")
        values[name] = converted_option(store, name, fields[name], value)
    return values


def check_bounds(connect_timeout_s: float, request_timeout_s: float, retries_max: int) -> None:
    """InvalidRequestError unless both time-outs are above 0, and retries 0 or more."""
    if connect_timeout_s <= 0 or request_timeout_s <= 0 or retries_max < 0:
        raise InvalidRequestError("time-outs must be above 0, and retries_max 0 or more")


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
