"""The options of gs://, under everybody's names."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.errors import InvalidRequestError
from raycache.ufs.clouds.google_options import GoogleOptions
from raycache.ufs.shown_options import HIDDEN, shown_option


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("https://storage.googleapis.com", False)),
        ({"endpoint_override": "localhost:4443", "scheme": "http", "anonymous": True}, ("http://localhost:4443", True)),
        ({"endpoint_url": "http://h:1/", "anon": "true"}, ("http://h:1", True)),
        ({"endpoint": "h", "default_bucket_location": "EU", "project_id": None}, ("https://h", False)),
    ],
)
def test_known_names(options: dict[str, Any], expected: tuple[str, bool]) -> None:
    """pyarrow's arguments go on to work, and so do the names that other stores have."""
    parsed = GoogleOptions.parse(options)
    assert expected == (parsed.endpoint_url, parsed.anonymous)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry_time_limit": 3}, "unknown GCS option 'retry_time_limit'; known are access_token"),
        ({"endpoint": "h", "endpoint_url": "h"}, "endpoint_url is given twice"),
        ({"anonymous": True, "access_token": "t"}, "anonymous excludes"),
        ({"endpoint_url": "http://user:word@h"}, "no user or password"),
        ({"request_timeout_s": "soon"}, "request_timeout_s must be a float"),
        ({"request_timeout_s": 0}, "above 0"),
    ],
)
def test_wrong_ones(options: dict[str, Any], said: str) -> None:
    """What is unknown or contradicts itself is an error of one line that holds no secret."""
    with pytest.raises(InvalidRequestError, match=said) as caught:
        GoogleOptions.parse({"credentials_file": None, **options})
    assert "word" not in str(caught.value).replace("password", "")


def test_secrets_are_not_shown() -> None:
    """Neither by `repr` nor where mounts are shown."""
    assert "ya29" not in repr(GoogleOptions.parse({"access_token": "ya29.x"}))
    assert shown_option("access_token", "ya29.x") == shown_option("bearer_token", "ya29.x") == HIDDEN
    assert shown_option("endpoint_override", "http://h:1") == "http://h:1"
