"""Make the under storage of a cloud's bucket from the options of its mount."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raycache.ufs.clouds.cloud_storage import CloudStorage
from raycache.ufs.clouds.connection import CloudConnection
from raycache.ufs.clouds.google import GoogleBucket
from raycache.ufs.clouds.google_credentials import GoogleCredentials, make_credentials
from raycache.ufs.clouds.google_options import GoogleOptions
from raycache.ufs.clouds.uploads import PART_SIZE_BYTES
from raycache.ufs.retry import Retrier


def open_google(
    root_uri: str,
    options: Mapping[str, Any],
    *,
    part_size_bytes: int = PART_SIZE_BYTES,
    retrier: Retrier | None = None,
) -> CloudStorage:
    """The storage of a bucket of GCS.

    Args:
        root_uri: `gs://bucket`.
        options: see `GoogleOptions`.
        part_size_bytes: larger objects go in parts of this size; a multiple of 256 KiB.
        retrier: instead of the one that the options ask for.

    Raises:
        InvalidRequestError: an option is unknown or wrong.
        DeniedError: no credentials anywhere.
    """
    parsed = GoogleOptions.parse(options)
    found: list[GoogleCredentials] = []

    def secrets() -> Iterable[str]:
        return [word for credentials in found for word in credentials.secrets]

    connection = CloudConnection(
        root_uri,
        parsed.reach,
        retries_max=parsed.retries_max,
        secrets=secrets,
        advice="credentials_file or access_token, and the bucket's permissions",
        retrier=retrier,
    )
    credentials = make_credentials(parsed, root_uri, connection.http.pool)
    if credentials is not None:
        found.append(credentials)
    bucket = GoogleBucket(root_uri.partition("://")[2], parsed, connection, credentials)
    return CloudStorage(root_uri, bucket, connection, part_size_bytes=part_size_bytes)
