"""What is asked of buckets: which there are, and what is in them.

A listing is asked of the master once, for the first page; the others are cut from the same answer, which is kept for a while.
So a listing of a million keys is one call, and its pages belong together. An answer that is not kept any more is asked again.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import OrderedDict
from urllib.parse import quote

from aiohttp import web

from raycache import paths as names
from raycache.client.client import Client
from raycache.endpoint.object_reads import InThread, etag_of
from raycache.endpoint.protocol import xml_answers as xml
from raycache.endpoint.protocol.buckets import Bucket, Buckets
from raycache.endpoint.protocol.listing_pages import KeyPage, SortedKeys, directory_of
from raycache.endpoint.protocol.s3_errors import S3Error
from raycache.endpoint.protocol.s3_requests import S3Call, whole_number
from raycache.errors import NotADirectoryRequestError, NotFoundError
from raycache.messages import ListedRow
from raycache.types import FileKind, FileVersion

_KEYS_MAX = 1000
#: Listings kept for their next pages, and rows of all of them together.
_LISTINGS_KEPT_MAX = 16
_ROWS_KEPT_MAX = 4_000_000


class BucketReads:
    """Answers reads of buckets.

    Args:
        client: of this process.
        in_thread: see `InThread`.
    """

    def __init__(self, client: Client, in_thread: InThread) -> None:
        self._client = client
        self._in_thread = in_thread
        self._kept: OrderedDict[str, SortedKeys] = OrderedDict()

    def list_buckets(self, buckets: Buckets) -> web.Response:
        """Answer ListBuckets."""
        found = [{"Name": bucket.name, "CreationDate": xml.timestamp(0)} for bucket in buckets.all()]
        return answer(xml.document("ListAllMyBucketsResult", {"Owner": xml.owner(), "Buckets": {"Bucket": [*found]}}))

    def location(self, bucket: Bucket) -> web.Response:
        """Answer GetBucketLocation: us-east-1 has no name there."""
        del bucket
        return answer(xml.document("LocationConstraint", {}))

    async def list_objects(self, call: S3Call, buckets: Buckets) -> web.Response:
        """Answer ListObjects and ListObjectsV2.

        Raises:
            S3Error, RaycacheError.
        """
        query, bucket = call.query, buckets.of(call.target.bucket)
        second = query.get("list-type") == "2"
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys_max = min(_KEYS_MAX, whole_number(query, "max-keys", _KEYS_MAX, (0, 2**31 - 1)))
        encoding = query.get("encoding-type", "")
        if encoding not in ("", "url"):
            raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
        listing, after = "", query.get("start-after" if second else "marker", "")
        if second and query.get("continuation-token"):
            listing, after = _from_token(query["continuation-token"])
        page, listing = await self._page(buckets, bucket, prefix, delimiter, after, keys_max, listing)
        said = (lambda text: quote(text, safe="/*-._", errors="surrogatepass")) if encoding else (lambda text: text)
        content: dict[str, xml.Content] = {"Name": bucket.name, "Prefix": said(prefix)}
        if second:
            content["KeyCount"] = str(len(page.objects) + len(page.prefixes))
            if "continuation-token" in query:
                content["ContinuationToken"] = query["continuation-token"]
            if "start-after" in query:
                content["StartAfter"] = said(query["start-after"])
            if page.next_after:
                content["NextContinuationToken"] = _token(listing, page.next_after)
        else:
            content["Marker"] = said(after)
            if page.next_after and delimiter:
                content["NextMarker"] = said(page.next_after)
        content["MaxKeys"] = str(keys_max)
        if delimiter:
            content["Delimiter"] = said(delimiter)
        if encoding:
            content["EncodingType"] = encoding
        content["IsTruncated"] = "true" if page.next_after else "false"
        with_owner = not second or query.get("fetch-owner") == "true"
        content["Contents"] = [_entry(said(key), row, with_owner=with_owner) for key, row in page.objects]
        content["CommonPrefixes"] = [{"Prefix": said(common)} for common in page.prefixes]
        return answer(xml.document("ListBucketResult", content))

    async def _page(
        self, buckets: Buckets, bucket: Bucket, prefix: str, delimiter: str, after: str, keys_max: int, listing: str
    ) -> tuple[KeyPage, str]:
        """A page, and by which name what it was cut from is kept."""
        if not keys_max:
            return KeyPage([], [], ""), ""
        keys = self._kept.get(listing)
        if keys is None:
            directory = directory_of(prefix)
            recursive = delimiter != "/"
            bases = buckets.mounted_below(bucket, directory)
            keys = SortedKeys(await self._in_thread(self._rows, bucket, directory, bases, recursive))
            listing = ""
        page = keys.page(prefix, delimiter, after, keys_max)
        if page.next_after and not listing:
            listing = secrets.token_hex(8)
            self._keep(listing, keys)
        elif listing and not page.next_after:
            self._kept.pop(listing, None)
        return page, listing

    def _keep(self, listing: str, keys: SortedKeys) -> None:
        self._kept[listing] = keys
        while len(self._kept) > 1 and (
            len(self._kept) > _LISTINGS_KEPT_MAX or sum(map(len, self._kept.values())) > _ROWS_KEPT_MAX
        ):
            self._kept.popitem(last=False)

    def _rows(self, bucket: Bucket, directory: str, bases: list[str], recursive: bool) -> list[tuple[str, ListedRow]]:
        """All keys in a directory, or with its parts rolled up as keys that end in a slash."""
        found: list[tuple[str, ListedRow]] = []
        start = len(names.below(bucket.base))
        for base in bases:
            key = base[start:]
            if not recursive and key and f"{key}/" != directory:
                # A mount somewhere below the directory: it is listed as far as its next slash.
                found.append((f"{key}/", ListedRow("", FileKind.DIRECTORY, 0, "", None)))
                continue
            above = f"{key}/" if key else ""
            try:
                reply = self._client.locator.listing(base, recursive=recursive)
            except (NotFoundError, NotADirectoryRequestError):
                continue
            for row in reply.rows():
                is_file = row.kind == FileKind.FILE
                found.append((above + row.name + ("" if is_file else "/"), row))
        return found


def answer(body: bytes, status: int = 200) -> web.Response:
    """An answer with an XML body."""
    return web.Response(status=status, body=body, content_type="application/xml")


def _entry(key: str, row: ListedRow, *, with_owner: bool) -> dict[str, xml.Content]:
    file = FileVersion("", row.size_bytes, row.etag, row.mtime_ns)
    entry: dict[str, xml.Content] = {
        "Key": key,
        "LastModified": xml.timestamp(row.mtime_ns),
        "ETag": etag_of(file),
        "Size": str(row.size_bytes),
        "StorageClass": "STANDARD",
    }
    return {**entry, "Owner": xml.owner()} if with_owner else entry


def _token(listing: str, after: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([listing, after]).encode()).decode()


def _from_token(token: str) -> tuple[str, str]:
    try:
        listing, after = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError) as error:
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from error
    if not (isinstance(listing, str) and isinstance(after, str) and after):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect")
    return listing, after
