"""S3 options: names, aliases, types, and what the environment says."""

from __future__ import annotations

import pytest

from raycache.errors import DeniedError, InvalidRequestError
from raycache.ufs.checks import is_plain_key
from raycache.ufs.s3.options import S3Options, canonical_names, options_from_environment
from raycache.ufs.s3.storage import S3Storage

KEYS = {"access_key_id": "id", "secret_access_key": "very secret"}


def test_defaults() -> None:
    """No options at all are valid: AWS, with the environment's credentials."""
    options = S3Options.parse({})
    assert (options.endpoint_url, options.uses_path_style, options.anonymous) == ("", False, False)


@pytest.mark.parametrize(
    "given",
    [
        {"aws_access_key_id": "id", "aws_secret_access_key": "very secret"},
        {"key": "id", "secret": "very secret"},
        {"access_key": "id", "secret_key": "very secret"},
        {**KEYS, "session_token": None, "region": None},
    ],
)
def test_aliases(given: dict[str, str]) -> None:
    """Other tools' names mean the same, and None means not given."""
    assert S3Options.parse(given) == S3Options.parse(KEYS)


def test_text_is_converted() -> None:
    """Values from a command line are text, and become what the option is."""
    options = S3Options.parse(
        {
            "endpoint": "http://h:1/",
            "path_style": "false",
            "retries_max": "2",
            "connect_timeout_s": "1.5",
            "anon": "yes",
        }
    )
    assert options.endpoint_url == "http://h:1"
    assert (options.uses_path_style, options.anonymous) == (False, True)
    assert (options.retries_max, options.connect_timeout_s) == (2, 1.5)


def test_path_style_follows_the_endpoint() -> None:
    """A store of one's own is asked path-style, AWS by host name, unless told otherwise."""
    assert S3Options.parse({"endpoint_url": "https://minio:9000"}).uses_path_style
    assert not S3Options.parse({}).uses_path_style
    assert S3Options.parse({"path_style": True}).uses_path_style


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"acces_key_id": "x"}, "acces_key_id"),
        ({"endpoint_url": "host:9000"}, "endpoint_url"),
        ({"endpoint_url": "ftp://host"}, "endpoint_url"),
        ({"endpoint_url": "http://user:pw@host"}, "endpoint_url"),
        ({"access_key_id": "x"}, "secret_access_key"),
        ({"session_token": "x"}, "session_token"),
        ({**KEYS, "anonymous": True}, "anonymous"),
        ({**KEYS, "key": "other"}, "access_key_id"),
        ({"retries_max": "many"}, "retries_max"),
        ({"retries_max": -1}, "retries_max"),
        ({"request_timeout_s": 0}, "request_timeout_s"),
        ({"verify_tls": "perhaps"}, "verify_tls"),
        ({"region": 3}, "region"),
    ],
)
def test_wrong_options_are_named(given: dict[str, object], named: str) -> None:
    """A wrong option is refused in one line that names it."""
    with pytest.raises(InvalidRequestError, match=named) as caught:
        S3Options.parse(given)
    assert "\n" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    """No key or token is in the options' repr, nor in the message about a wrong value."""
    options = S3Options.parse({**KEYS, "session_token": "token secret"})
    assert "secret" not in repr(options).replace("secret_access_key", "")
    with pytest.raises(InvalidRequestError) as caught:
        S3Options.parse({"retries_max": "very secret"})
    assert caught.value.__suppress_context__
    assert "very secret" not in str(caught.value)


def test_environment() -> None:
    """The environment's AWS variables become options, the keys before a profile."""
    environment = {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t", "AWS_PROFILE": "p",
        "AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3", "AWS_DEFAULT_REGION": "r2",
        "AWS_REGION": "r1", "HOME": "/home/x",
    }  # fmt: skip
    keys = {"access_key_id": "id", "secret_access_key": "s", "session_token": "t"}
    assert options_from_environment(environment) == {"endpoint_url": "http://s3", "region": "r1", **keys}
    assert options_from_environment({"AWS_PROFILE": "p", "AWS_SESSION_TOKEN": "t"}) == {"profile": "p"}
    assert options_from_environment({}) == {}
    S3Options.parse(options_from_environment(environment))


def test_canonical_names() -> None:
    """Options under aliases can be merged with others once they have their own names."""
    assert canonical_names({"key": "k", "secret": "s", "unknown": 1}) == {
        "access_key_id": "k", "secret_access_key": "s", "unknown": 1,
    }  # fmt: skip
    with pytest.raises(InvalidRequestError, match="endpoint_url is given twice"):
        canonical_names({"endpoint": "http://a", "endpoint_url": "http://b"})


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials anywhere, opening says which options to give."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DeniedError, match="anonymous=True"):
        S3Storage("s3://b", {"endpoint_url": "http://127.0.0.1:1"})
    S3Storage("s3://b", {"endpoint_url": "http://127.0.0.1:1", "anonymous": True})
    with pytest.raises(InvalidRequestError, match="profile"):
        S3Storage("s3://b", {"endpoint_url": "http://127.0.0.1:1", "profile": "nobody"})


@pytest.mark.parametrize("uri", ["s3://", "s3://b/key", "gs://b", "b"])
def test_root_is_a_bucket(uri: str) -> None:
    """A storage's root is a bucket and nothing more."""
    with pytest.raises(InvalidRequestError):
        S3Storage(uri, {"anonymous": True})


@pytest.mark.parametrize("key", ["a", "a/b", "a b", "%2F", "\u00fc", "a/.b", "a..b", "...", ".../x", "a?b#c"])
def test_plain_keys(key: str) -> None:
    """Ordinary keys go the cheap way."""
    assert is_plain_key(key)


@pytest.mark.parametrize(
    "key", ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/./b", "a/../b", "a/..", "\x00", "a\n", "a\x7fb"]
)
def test_odd_keys(key: str) -> None:
    """Keys that a path library would change go the exact way."""
    assert not is_plain_key(key)
