"""The two S3 clients of a storage: obstore for bytes, boto3 for everything obstore cannot say exactly.

obstore costs a fifth to an eighth of boto3's CPU per small GET, but it normalises paths: keys with empty segments
("a//b", "/a", "dir/"), "." or ".." or control characters cannot be said in it (`is_plain_key`), nor can it list them.
Both clients sign with the same credentials, reach the same host by the same way, trust the same authorities, have the same
time-outs, and never retry: `retry.py` does. boto3 decides, since people know its rules, and obstore is told everything: it
would otherwise read `AWS_*` variables, some of which overrule explicit arguments.

On AWS the bucket's own region is asked for once: boto3 follows redirects to it, obstore does not.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from raycache.errors import DeniedError, InvalidRequestError
from raycache.ufs.http.http_client import CONNECTIONS_MAX, HttpReach, obstore_reach
from raycache.ufs.http.proxies import ca_file, proxy_for
from raycache.ufs.s3.credentials import CredentialSource
from raycache.ufs.s3.environment import obstore_may_write, requester_pays
from raycache.ufs.s3.hooks import add_hooks
from raycache.ufs.s3.options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REGION_DEFAULT = "us-east-1"
#: A bucket's name that can be a part of a host's, under a certificate for "*.host".
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_loaders: dict[str | None, Any] = {}


class S3Clients(NamedTuple):
    """Both clients of one bucket, thread-safe."""

    boto: S3Client
    #: obstore.store.S3Store
    store: Any
    #: Where they send requests, for messages.
    endpoint_url: str
    #: None when requests are not signed.
    credentials: CredentialSource | None
    #: Through which they go there; "": straight.
    proxy_url: str
    #: Whether obstore writes what boto3 would write.
    store_may_write: bool


def make_clients(bucket: str, options: S3Options) -> S3Clients:
    """Build both clients. Only on AWS something is sent: one HEAD of the bucket, for its region.

    Raises:
        DeniedError: no credentials anywhere.
        InvalidRequestError: an unknown profile, or a CA file that cannot be read.
    """
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        session: Any = boto3.session.Session(
            aws_access_key_id=options.access_key_id or None,
            aws_secret_access_key=options.secret_access_key or None,
            aws_session_token=options.session_token or None,
            region_name=options.region or None,
            profile_name=options.profile or None,
        )
        session._session.register_component("data_loader", _loader(session))  # noqa: SLF001  # no public way
        credentials = None if options.anonymous else session.get_credentials()
    except ProfileNotFound as error:
        raise InvalidRequestError(f"{error}; set option profile") from error
    if credentials is None and not options.anonymous:
        raise DeniedError(
            f"no credentials for s3://{bucket}; give access_key_id and secret_access_key, or anonymous=True",
            uri=f"s3://{bucket}",
        )
    region = session.region_name or os.environ.get("AWS_REGION") or _REGION_DEFAULT
    authorities = _authorities(options, session)
    boto = _make_boto(session, options, region, authorities)
    if is_aws(boto.meta.endpoint_url) and (home := bucket_region(boto, bucket)) not in (None, region):
        boto = _make_boto(session, options, home or region, authorities)
    source = None if credentials is None else CredentialSource(credentials)
    proxy_url = proxy_for(boto.meta.endpoint_url, os.environ)
    store = _make_store(bucket, options, boto, authorities, proxy_url, source)
    return S3Clients(boto, store, boto.meta.endpoint_url, source, proxy_url, obstore_may_write(os.environ))


def _loader(session: Any) -> Any:
    """Botocore's descriptions of S3, one copy for all sessions of this process: nearly all of a client's 12 MB and 120 ms."""
    from botocore.loaders import create_loader

    path = session._session.get_config_variable("data_path")  # noqa: SLF001  # AWS_DATA_PATH, or the profile's
    return _loaders.setdefault(path, create_loader(path))


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


def _authorities(options: S3Options, session: Any) -> tuple[str, str]:
    """The file of authorities to trust, and what names it; two times "" for those of the libraries."""
    if not options.verify_tls:
        return "", ""
    if options.ca_file:
        return options.ca_file, "option ca_file"
    configured = session._session.get_config_variable("ca_bundle")  # noqa: SLF001  # AWS_CA_BUNDLE, or the profile's
    return (configured, "AWS_CA_BUNDLE") if configured else ca_file(os.environ)


def _make_boto(session: Any, options: S3Options, region: str, authorities: tuple[str, str]) -> S3Client:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.utils import get_environ_proxies

    settings: dict[str, Any] = {
        "connect_timeout": options.connect_timeout_s,
        "read_timeout": options.request_timeout_s,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": CONNECTIONS_MAX,
        "s3": {"us_east_1_regional_endpoint": "regional"},
        # Stores other than AWS's stumble over checksums they were not asked for.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if options.path_style is not None or options.endpoint_url:  # else what the profile says
        settings["s3"]["addressing_style"] = "path" if options.uses_path_style else "virtual"
    if options.anonymous:
        settings["signature_version"] = UNSIGNED

    def make() -> S3Client:
        try:
            client: S3Client = session.client(
                "s3",
                endpoint_url=options.endpoint_url or None,
                region_name=region,
                config=Config(**settings),
                verify=(authorities[0] or None) if options.verify_tls else False,
            )
        except ValueError as error:  # botocore's word for an impossible endpoint or region
            raise InvalidRequestError("these S3 options make no endpoint; check endpoint_url and region") from error
        return client

    boto = make()
    endpoint_url = boto.meta.endpoint_url
    proxy_url = proxy_for(endpoint_url, os.environ)
    scheme = urlsplit(endpoint_url).scheme
    if proxy_url != get_environ_proxies(endpoint_url).get(scheme, ""):
        settings["proxies"] = {scheme: proxy_url} if proxy_url else {}
        boto = make()
    add_hooks(boto, requester_pays=_requester_pays(options))
    return boto


def _make_store(
    bucket: str,
    options: S3Options,
    boto: Any,
    authorities: tuple[str, str],
    proxy_url: str,
    source: CredentialSource | None,
) -> Any:
    from obstore.store import S3Store

    parts = urlsplit(boto.meta.endpoint_url)
    reach = HttpReach(
        boto.meta.endpoint_url, options.connect_timeout_s, options.request_timeout_s, options.verify_tls, *authorities
    )
    in_host = _in_host(bucket, boto)
    endpoint_url = boto.meta.endpoint_url
    if in_host:  # obstore wants the bucket in the endpoint itself
        endpoint_url = parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
    return S3Store(
        bucket,
        region=boto.meta.region_name,
        endpoint=endpoint_url,
        aws_endpoint_url_s3=endpoint_url,
        virtual_hosted_style_request=in_host,
        skip_signature=options.anonymous,
        request_payer=_requester_pays(options),
        s3_express=False,
        unsigned_payload=False,
        disable_tagging=False,
        credential_provider=source,
        **obstore_reach(reach, proxy_url),
    )


def _in_host(bucket: str, boto: Any) -> bool:
    """Whether boto3 puts the bucket into the host's name rather than into the path."""
    style = (boto.meta.config.s3 or {}).get("addressing_style") or "auto"
    if style == "path" or (style == "auto" and not is_aws(boto.meta.endpoint_url)):
        return False
    if style == "virtual" and urlsplit(boto.meta.endpoint_url).scheme == "http":  # no certificate forbids dots
        bucket = bucket.replace(".", "")
    return _HOST_LABEL.fullmatch(bucket) is not None


def _requester_pays(options: S3Options) -> bool:
    return options.request_payer or requester_pays(os.environ)
