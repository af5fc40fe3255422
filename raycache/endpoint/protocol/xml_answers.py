"""The bodies of answers, as the S3 API reference has them. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TypeAlias
from xml.sax.saxutils import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
#: A text, or the elements inside, or several elements of the same name.
Content: TypeAlias = "str | Mapping[str, Content] | list[Content]"


def document(root: str, content: Mapping[str, Content], *, namespace: bool = True) -> bytes:
    """A document of elements by name; lists repeat their element."""
    attribute = f' xmlns="{NAMESPACE}"' if namespace else ""
    parts = [_HEAD, f"<{root}{attribute}>"]
    _append(parts, content)
    parts.append(f"</{root}>")
    return "".join(parts).encode("utf-8", "replace")


def error(code: str, message: str, resource: str, request_id: str) -> bytes:
    """The body of a refusal."""
    content: dict[str, Content] = {"Code": code, "Message": message, "Resource": resource, "RequestId": request_id}
    return document("Error", content, namespace=False)


def timestamp(mtime_ns: int | None) -> str:
    """A time as bodies have it; the epoch where it is not known."""
    seconds, rest_ns = divmod(mtime_ns or 0, 1_000_000_000)
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        moment = dt.datetime.fromtimestamp(0, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def _append(parts: list[str], content: Mapping[str, Content]) -> None:
    for name, value in content.items():
        for item in value if isinstance(value, list) else (value,):
            parts.append(f"<{name}>")
            if isinstance(item, str):
                parts.append(escape(_sayable(item)))
            elif isinstance(item, Mapping):
                _append(parts, item)
            parts.append(f"</{name}>")


def _sayable(text: str) -> str:
    """Text without what XML 1.0 cannot say, which S3 leaves to `encoding-type=url`."""
    return text if text.isprintable() else "".join(_reference(c) for c in text)


def _reference(character: str) -> str:
    return "\ufffd" if ord(character) < 32 and character not in "\t\n\r" else character


def owner() -> dict[str, Content]:
    """There is one."""
    return {"ID": "raycache", "DisplayName": "raycache"}
