"""Fast exact listings over boto3.

botocore signs, sends and checks the request as always, but its generic response parser costs 50 us a key, five times
what the work needs. So a handler of botocore's own `before-parse` event takes the body away from it, and `parse_page`
reads it: 10 us a key with everything. Keys come percent-encoded (`encoding-type=url`) from stores that can, so that any
key survives XML; a store that ignores the wish does not echo it, and its keys are taken as they are.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from raycache.ufs.base import ListPage, ObjectInfo

#: Where the page's bytes stand in boto3's answer.
BODY_FIELD = "RaycacheBody"

_NS_PER_S = 1_000_000_000


def keep_bodies(client: Any) -> None:
    """Make `list_objects_v2` of this boto3 client return the raw page under `BODY_FIELD`."""
    client.meta.events.register("before-parse.s3.ListObjectsV2", _take_body)


def _take_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    if response_dict["status_code"] == 200 and b"<ListBucketResult" in body[:512]:
        customized_response_dict[BODY_FIELD] = body
        response_dict["body"] = b"<ListBucketResult/>"


def parse_page(body: bytes) -> ListPage:
    """Read one ListObjectsV2 answer.

    Raises:
        ValueError: it is none, or cut short. (ElementTree's ParseError is a SyntaxError; it becomes one of these.)
    """
    try:
        root = ET.fromstring(body)  # noqa: S314  # expat has limits against entity bombs since 2.4.1
        namespace = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
        encoded = root.findtext(f"{namespace}EncodingType") == "url"
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        for element in root:
            if element.tag == f"{namespace}Contents":
                values = {child.tag: child.text for child in element}
                key = values[f"{namespace}Key"] or ""
                if key.endswith("/") and values.get(f"{namespace}ETag") == '""':
                    continue  # SeaweedFS: a directory that has become empty; no such object exists
                objects.append(
                    ObjectInfo(
                        unquote_plus(key) if encoded else key,
                        int(values[f"{namespace}Size"] or 0),
                        values.get(f"{namespace}ETag") or "",
                        _time_ns(values[f"{namespace}LastModified"] or ""),
                    )
                )
            elif element.tag == f"{namespace}CommonPrefixes":
                prefix = element.findtext(f"{namespace}Prefix") or ""
                prefixes.append(unquote_plus(prefix) if encoded else prefix)
        more = root.findtext(f"{namespace}IsTruncated") == "true"
        return ListPage(objects, prefixes, root.findtext(f"{namespace}NextContinuationToken") if more else None)
    except (ET.ParseError, KeyError) as error:
        raise ValueError(f"not a listing: {error}") from error


def _time_ns(text: str) -> int:
    return seconds_ns(datetime.fromisoformat(text))


def seconds_ns(moment: datetime) -> int:
    """Nanoseconds since the epoch, whole seconds: the only part that a listing and a HEAD agree on."""
    return int(moment.timestamp()) * _NS_PER_S
