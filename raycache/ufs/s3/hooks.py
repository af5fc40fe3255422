"""What is hung into boto3's clients: handlers of botocore's own events."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import Any

#: Where `list_objects_v2` of a client with hooks leaves the page's bytes.
BODY_FIELD = "RaycacheBody"


def add_hooks(boto: Any, *, requester_pays: bool = False) -> None:
    """Make `list_objects_v2` of this client return the raw page (botocore's parser costs 50 us a key), and
    `delete_objects` send the MD5 of its body rather than a CRC32: older stores know only that, and S3 takes both.

    Args:
        boto: the client.
        requester_pays: every request says that its sender pays for it.
    """
    boto.meta.events.register("before-parse.s3.ListObjectsV2", _take_body)
    boto.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    if requester_pays:
        boto.meta.events.register("before-call.s3", _add_payer)


def _take_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    if response_dict["status_code"] == 200 and b"<ListBucketResult" in body[:512]:
        customized_response_dict[BODY_FIELD] = body
        response_dict["body"] = b"<ListBucketResult/>"


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    with contextlib.suppress(ValueError):  # no MD5 on this machine (FIPS): the CRC32 stays
        digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
        params["context"].pop("checksum", None)


def _add_payer(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-amz-request-payer"] = "requester"
