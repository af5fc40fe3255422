"""The two S3 clients of a storage: obstore for bytes, boto3 for everything obstore cannot say exactly.

obstore costs a fifth to an eighth of boto3's CPU per small GET, but it normalises paths: keys with empty segments
("a//b", "/a", "dir/"), "." or ".." or control characters cannot be said in it (`is_plain_key`), nor can it list them.
Both clients sign with the same credentials, have the same time-outs, and never retry: `retry.py` does.

On AWS the bucket's own region is asked for once: boto3 follows redirects to it, obstore does not.

obstore also reads `AWS_*` variables for whatever it is not told, and lets AWS_ENDPOINT_URL_S3 override an explicit
endpoint; so it is told everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from raycache.errors import DeniedError, InvalidRequestError
from raycache.ufs.s3.hooks import add_hooks
from raycache.ufs.s3.options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS_MAX = 64

_REGION_DEFAULT = "us-east-1"
_UNSAYABLE = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)(?:\.{0,2})(?:/|$)")
#: obstore asks again this often; botocore itself refreshes credentials that have less than 10 minutes left.
_CREDENTIALS_KEPT = timedelta(minutes=5)


class S3Clients(NamedTuple):
    """Both clients of one bucket, thread-safe."""

    boto: S3Client
    #: obstore.store.S3Store
    store: Any
    #: Where they send requests, for messages.
    endpoint_url: str


def is_plain_key(key: str) -> bool:
    """Whether obstore can name this key exactly."""
    return _UNSAYABLE.search(key) is None


def make_clients(bucket: str, options: S3Options) -> S3Clients:
    """Build both clients. Only on AWS something is sent: one HEAD of the bucket, for its region.

    Raises:
        DeniedError: no credentials anywhere.
        InvalidRequestError: an unknown profile, or a CA file that cannot be read.
    """
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        session = boto3.session.Session(
            aws_access_key_id=options.access_key_id or None,
            aws_secret_access_key=options.secret_access_key or None,
            aws_session_token=options.session_token or None,
            region_name=options.region or None,
            profile_name=options.profile or None,
        )
        region = session.region_name or _REGION_DEFAULT
        boto = _make_boto(session, options, region)
        credentials = None if options.anonymous else session.get_credentials()
    except ProfileNotFound as error:
        raise InvalidRequestError(f"{error}; set option profile") from error
    except ValueError as error:  # botocore's word for an impossible endpoint or region
        raise InvalidRequestError("these S3 options make no endpoint; check endpoint_url and region") from error
    if credentials is None and not options.anonymous:
        raise DeniedError(
            f"no credentials for s3://{bucket}; give access_key_id and secret_access_key, or anonymous=True",
            uri=f"s3://{bucket}",
        )
    if is_aws(boto.meta.endpoint_url):
        region = bucket_region(boto, bucket) or region
    store = _make_store(bucket, options, region, boto.meta.endpoint_url, _provider(credentials))
    return S3Clients(boto, store, boto.meta.endpoint_url)


def is_aws(endpoint_url: str) -> bool:
    """Whether this is Amazon's own S3."""
    return (urlsplit(endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def bucket_region(boto: S3Client, bucket: str) -> str | None:
    """Where the bucket lives; None when the server does not say, which it does even to those it denies the rest."""
    from botocore.exceptions import BotoCoreError, ClientError

    answer: Any
    try:
        answer = boto.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:  # whatever it is, the first real request meets it and says so
        return None
    region: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    return region


def _make_boto(session: Any, options: S3Options, region: str) -> S3Client:
    from botocore import UNSIGNED
    from botocore.config import Config

    style: Any = "path" if options.uses_path_style else ("auto" if options.path_style is None else "virtual")
    config = Config(
        s3={"addressing_style": style},
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.request_timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=CONNECTIONS_MAX,
        # Stores other than AWS's stumble over checksums they were not asked for.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **({"signature_version": UNSIGNED} if options.anonymous else {}),
    )
    client: S3Client = session.client(
        "s3",
        endpoint_url=options.endpoint_url or None,
        region_name=region,
        config=config,
        verify=(options.ca_file or None) if options.verify_tls else False,
    )
    add_hooks(client)
    return client


def _make_store(
    bucket: str, options: S3Options, region: str, endpoint_url: str, provider: Callable[[], dict[str, Any]] | None
) -> Any:
    from obstore.store import S3Store

    parts = urlsplit(endpoint_url)
    on_aws = is_aws(endpoint_url)
    path_style = options.uses_path_style or (options.path_style is None and not on_aws)
    store_endpoint_url = endpoint_url
    if not path_style:  # obstore wants the bucket in the endpoint itself
        host = f"s3.{region}.{parts.netloc[parts.netloc.index('amazonaws.com') :]}" if on_aws else parts.netloc
        store_endpoint_url = f"{parts.scheme}://{bucket}.{host}"
    client_options: dict[str, Any] = {
        "allow_http": parts.scheme == "http",
        "connect_timeout": timedelta(seconds=options.connect_timeout_s),
        "timeout": timedelta(seconds=options.request_timeout_s),
        "allow_invalid_certificates": not options.verify_tls,
    }
    if options.ca_file:
        try:
            client_options["root_certificate"] = Path(options.ca_file).read_bytes()
        except OSError as error:
            raise InvalidRequestError(f"cannot read {options.ca_file}; set option ca_file") from error
    return S3Store(
        bucket,
        region=region,
        endpoint=store_endpoint_url,
        aws_endpoint_url_s3=store_endpoint_url,
        virtual_hosted_style_request=not path_style,
        skip_signature=options.anonymous,
        client_options=client_options,
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=options.request_timeout_s)},
        credential_provider=provider,
    )


def _provider(credentials: Any) -> Callable[[], dict[str, Any]] | None:
    """Hands botocore's credentials, which refresh themselves, to obstore."""
    if credentials is None:
        return None

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_KEPT,
        }

    return provide
