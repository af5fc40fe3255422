"""Make the under storage of a cloud's bucket from the options of its mount."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raycache.ufs.clouds.azure import CODE_HEADER, AzureContainer
from raycache.ufs.clouds.azure_credentials import AzureCredentials
from raycache.ufs.clouds.azure_options import AzureOptions
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


def open_azure(
    root_uri: str,
    options: Mapping[str, Any],
    *,
    store: str = "",
    part_size_bytes: int = PART_SIZE_BYTES,
    retrier: Retrier | None = None,
) -> CloudStorage:
    """The storage of a container of Azure.

    Args:
        root_uri: `abfs://container@account.dfs.core.windows.net`, or `abfs://container` with option account_name.
        options: see `AzureOptions`.
        store: see `CloudStorage`.
        part_size_bytes: larger objects go in blocks of this size.
        retrier: instead of the one that the options ask for.

    Raises:
        InvalidRequestError: an option is unknown or wrong.
        DeniedError: no credentials anywhere.
    """
    container, _, host = root_uri.partition("://")[2].partition("@")
    parsed = AzureOptions.parse(host, options)
    credentials = AzureCredentials(parsed, root_uri)
    connection = CloudConnection(
        root_uri,
        parsed.reach,
        retries_max=parsed.retries_max,
        secrets=lambda: credentials.secrets,
        advice="account_key, sas_token or who is logged in, and the container's permissions",
        code_header=CODE_HEADER,
        retrier=retrier,
    )
    bucket = AzureContainer(container, parsed, connection, credentials)
    return CloudStorage(
        root_uri, bucket, connection, store=store, lists_from_key=False, part_size_bytes=part_size_bytes
    )
