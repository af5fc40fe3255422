"""What the environment says about reaching S3, and that both clients hear the same."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from raycache.errors import InvalidRequestError
from raycache.ufs.http.proxies import ca_file, proxy_for
from raycache.ufs.s3 import clients
from raycache.ufs.s3.clients import make_clients
from raycache.ufs.s3.environment import obstore_may_write, requester_pays
from raycache.ufs.s3.options import S3Options, options_from_environment

P, Q = "http://proxy:3128", "http://other:1"
KEYS = {"access_key_id": "a", "secret_access_key": "s"}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setattr(clients, "bucket_region", lambda boto, bucket: None)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("http://h:9000", {}, ""),
        ("http://h:9000", {"HTTP_PROXY": P}, P),
        ("https://h", {"HTTP_PROXY": P}, ""),
        ("https://h", {"HTTPS_PROXY": P, "https_proxy": Q}, Q),
        ("https://h", {"ALL_PROXY": P}, P),
        ("https://h", {"ALL_PROXY": P, "https_proxy": ""}, P),
        ("https://h", {"HTTPS_PROXY": "proxy:3128"}, P),
        ("http://h", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, ""),
        ("https://h", {"HTTPS_PROXY": P, "NO_PROXY": "*"}, ""),
        ("https://h", {"HTTPS_PROXY": P, "NO_PROXY": "x, h"}, ""),
        ("https://s3.h", {"HTTPS_PROXY": P, "NO_PROXY": "h"}, ""),
        ("https://s3.h", {"HTTPS_PROXY": P, "NO_PROXY": ".h"}, ""),
        ("https://s3.h", {"HTTPS_PROXY": P, "NO_PROXY": "*.h"}, ""),
        ("https://s3h", {"HTTPS_PROXY": P, "NO_PROXY": "h"}, P),
        ("https://h:1", {"HTTPS_PROXY": P, "no_proxy": "h:1"}, ""),
        ("https://h:2", {"HTTPS_PROXY": P, "no_proxy": "h:1"}, P),
        ("https://10.1.2.3", {"HTTPS_PROXY": P, "no_proxy": "10.0.0.0/8"}, ""),
        ("https://11.1.2.3", {"HTTPS_PROXY": P, "no_proxy": "10.0.0.0/8, x"}, P),
        ("https://[::1]:9", {"HTTPS_PROXY": P, "no_proxy": "::1"}, ""),
        ("https://h", {"HTTPS_PROXY": P, "no_proxy": " , "}, P),
    ],
)  # fmt: skip
def test_proxies(url: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy is taken from the words that any of the tools reads, and both clients are told which one."""
    assert proxy_for(url, environment) == expected
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = make_clients("bucket", S3Options.parse({**KEYS, "endpoint_url": url}))
    told = made.store.client_options
    assert expected == ("" if told.get("proxy_excludes") else told["proxy_url"])
    session: Any = made.boto._endpoint.http_session
    assert expected == (session._proxy_config.proxy_url_for(url) or "")


def test_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file of authorities counts for both clients: the option, else what the AWS tools, Python's or OpenSSL's name."""
    assert ca_file({"SSL_CERT_FILE": "c", "REQUESTS_CA_BUNDLE": "b", "AWS_CA_BUNDLE": "a"}) == ("a", "AWS_CA_BUNDLE")
    assert ca_file({"SSL_CERT_FILE": "c", "REQUESTS_CA_BUNDLE": "b"}) == ("b", "REQUESTS_CA_BUNDLE")
    assert ca_file({"SSL_CERT_FILE": "c", "AWS_CA_BUNDLE": " "}) == ("c", "SSL_CERT_FILE")
    assert ca_file({}) == ("", "")
    options = {**KEYS, "endpoint_url": "https://h"}
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    for more, name in (({}, "SSL_CERT_FILE"), ({"ca_file": "/no/such"}, "option ca_file")):
        with pytest.raises(InvalidRequestError, match=f"cannot read the CA file .*set {name}"):
            make_clients("bucket", S3Options.parse({**options, **more}))
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such")
    with pytest.raises(InvalidRequestError, match="set AWS_CA_BUNDLE"):
        make_clients("bucket", S3Options.parse(options))
    for harmless in ({"verify_tls": False}, {"endpoint_url": "http://h"}):
        make_clients("bucket", S3Options.parse({**options, **harmless}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"region": "eu-west-1"},
        {"region": "cn-north-1"},
        {"path_style": True},
        {"path_style": False, "region": "eu-west-1"},
        {"endpoint_url": "http://h:9000"},
        {"endpoint_url": "http://h:9000/below"},
        {"endpoint_url": "https://h", "path_style": False},
        {"endpoint_url": "http://h", "path_style": False},
        {"anonymous": True, "region": "eu-west-1"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("bucket", ["plain", "my.dotted.bucket", "Big_Case"])
@pytest.mark.parametrize("words", [{}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, {"AWS_USE_FIPS_ENDPOINT": "true"}])
def test_both_ask_the_same_host(
    bucket: str, options: dict[str, Any], words: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore sends its requests where boto3 does, whatever the bucket's name, the options and the environment."""
    import obstore

    if options.get("region") == "cn-north-1" and "AWS_USE_FIPS_ENDPOINT" in words:
        pytest.skip("there is none")
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    signed = {} if options.get("anonymous") else KEYS
    made = make_clients(bucket, S3Options.parse({**signed, **options}))
    sent: list[str] = []

    def stop(request: Any, **_: Any) -> None:
        sent.append(request.url)
        raise InterruptedError

    boto: Any = made.boto
    boto.meta.events.register("before-send.s3.GetObject", stop)
    with pytest.raises(InterruptedError):
        boto.get_object(Bucket=bucket, Key="k")
    if signed:
        asked = obstore.sign(made.store, "GET", "k", timedelta(seconds=1))
        assert asked.partition("?")[0] == sent[0]
    else:  # which obstore does not sign
        told = made.store.config
        assert urlsplit(told["endpoint"]).hostname == urlsplit(sent[0]).hostname


def test_the_home_of_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients go to the bucket's own region at once."""
    monkeypatch.setattr(clients, "bucket_region", lambda boto, bucket: "eu-west-3")
    made = make_clients("bucket", S3Options.parse(KEYS))
    assert made.endpoint_url == made.boto.meta.endpoint_url == "https://s3.eu-west-3.amazonaws.com"
    assert made.store.config["endpoint"] == "https://bucket.s3.eu-west-3.amazonaws.com"
    assert made.store.config["region"] == "eu-west-3"


def test_style_of_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the AWS configuration says of addressing holds for both, until an option says otherwise."""
    (tmp_path / "config").write_text("[default]\ns3 =\n    addressing_style = path\nca_bundle = /no/such\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(InvalidRequestError, match="/no/such"):
        make_clients("bucket", S3Options.parse(KEYS))
    (tmp_path / "config").write_text("[default]\ns3 =\n    addressing_style = path\nregion = eu-west-1\n")
    made = make_clients("bucket", S3Options.parse(KEYS))
    assert made.store.config["endpoint"] == "https://s3.eu-west-1.amazonaws.com"
    made = make_clients("bucket", S3Options.parse({**KEYS, "path_style": False}))
    assert made.store.config["endpoint"] == "https://bucket.s3.eu-west-1.amazonaws.com"


def test_who_pays_and_who_writes() -> None:
    """Words that one client alone would heed count for both, or for none."""
    for value, expected in (("requester", True), ("Requester", True), ("true", True), ("", False), ("bucket", False)):
        assert requester_pays({"AWS_REQUEST_PAYER": value}) == expected
        assert S3Options.parse({"request_payer": value == "requester"}).request_payer == (value == "requester")
    assert S3Options.parse(options_from_environment({"AWS_REQUEST_PAYER": "requester"})).request_payer
    assert S3Options.parse({"requester_pays": True}).request_payer
    for name in (
        "AWS_CHECKSUM_ALGORITHM",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "aws_sse_bucket_key_enabled",
    ):
        assert not obstore_may_write({name: "x", "HOME": "/"})
    assert obstore_may_write({"AWS_PROFILE": "x"})
