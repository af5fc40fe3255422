"""Options of stores that may be shown, and all others, which may not."""

from __future__ import annotations

import dataclasses

import pytest

from raycache.ufs.s3.options import ALIASES, S3Options
from raycache.ufs.shown_options import HIDDEN, shown_option

SECRET = "hunter2"
HARMLESS = {
    "endpoint_url", "region", "anonymous", "profile", "path_style", "connect_timeout_s", "request_timeout_s",
    "retries_max", "verify_tls", "ca_file", "request_payer",
}  # fmt: skip


def test_what_nobody_has_called_harmless_is_hidden() -> None:
    """Secrets, options nobody knows, misspelt ones and ones with values in values are never shown."""
    names = {"secret_acces_key", "password", "sas_token", "credentials", "Region", "extra_conf", "", "kerb_ticket"}
    names |= {field.name for field in dataclasses.fields(S3Options)} - HARMLESS
    names |= {alias for alias, name in ALIASES.items() if name not in HARMLESS}
    assert dict.fromkeys(names, HIDDEN) == {name: shown_option(name, SECRET) for name in names}
    assert [HIDDEN] * 3 == [shown_option("region", value) for value in ({"a": SECRET}, [SECRET], (SECRET,))]


def test_what_is_harmless_is_shown_by_every_name() -> None:
    """An option and its aliases are shown alike."""
    names = HARMLESS | {alias for alias, name in ALIASES.items() if name in HARMLESS} | {"allow_http"}
    assert dict.fromkeys(names, "eu") == {name: shown_option(name, "eu") for name in names}
    assert shown_option("path_style", True) is True


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:hunter2@h:9000/p?sig=hunter2", "https://h:9000/p"),
        ("hunter2@h", HIDDEN),
        ("http://[hunter2", HIDDEN),
    ],
)
def test_a_secret_in_a_url_is_taken_out(url: str, expected: str) -> None:
    """A user, a password or a signature in an endpoint is not shown."""
    assert expected == shown_option("endpoint", url)
