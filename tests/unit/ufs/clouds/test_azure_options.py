"""The options of abfs://, under everybody's names, and what its keys sign."""

from __future__ import annotations

from typing import Any

import pytest

from raycache.errors import DeniedError, InvalidRequestError
from raycache.ufs.clouds.azure_credentials import AzureCredentials, string_to_sign
from raycache.ufs.clouds.azure_options import AzureOptions
from raycache.ufs.shown_options import HIDDEN, shown_option

HOST = "acc.dfs.core.windows.net"


@pytest.mark.parametrize(
    ("host", "options", "endpoint_url"),
    [
        (HOST, {}, "https://acc.blob.core.windows.net"),
        ("", {"account_name": "other"}, "https://other.blob.core.windows.net"),
        (HOST, {"blob_storage_authority": "127.0.0.1:1", "blob_storage_scheme": "http"}, "http://127.0.0.1:1/acc"),
        (HOST, {"blob_storage_authority": ".blob.core.chinacloudapi.cn"}, "https://acc.blob.core.chinacloudapi.cn"),
        (HOST, {"endpoint_url": "http://h:1/acc/", "dfs_storage_authority": ".x"}, "http://h:1/acc"),
    ],
)
def test_the_endpoint(host: str, options: dict[str, Any], endpoint_url: str) -> None:
    """It follows from the account, pyarrow's words for it among them."""
    assert endpoint_url == AzureOptions.parse(host, options).endpoint_url


@pytest.mark.parametrize(
    ("host", "options", "said"),
    [
        (HOST, {"container": "x"}, "unknown Azure option 'container'; known are account_key"),
        ("", {}, "no account; write abfs://"),
        (HOST, {"account_key": "a", "sas_token": "b"}, "exclude each other"),
        (HOST, {"client_secret": "a"}, "needs tenant_id and client_id"),
        (HOST, {"access_key": "a", "account_key": "a"}, "account_key is given twice"),
    ],
)
def test_wrong_ones(host: str, options: dict[str, Any], said: str) -> None:
    """What is unknown or contradicts itself is an error of one line."""
    with pytest.raises(InvalidRequestError, match=said):
        AzureOptions.parse(host, options)


def test_a_key_that_is_none_is_not_repeated() -> None:
    """The message says what it should be, and not what it was."""
    with pytest.raises(InvalidRequestError, match="base64") as caught:
        AzureCredentials(AzureOptions.parse(HOST, {"account_key": "hunter2!"}), "abfs://c@acc")
    assert "hunter2" not in str(caught.value)


def test_without_credentials_it_says_what_to_give() -> None:
    """Where azure-identity is not installed, nobody can be found who asks."""
    with pytest.raises(DeniedError, match="account_key, sas_token or anonymous=True, or install azure-identity"):
        AzureCredentials(AzureOptions.parse(HOST, {}), "abfs://c@acc")


def test_secrets() -> None:
    """Neither `repr` nor where mounts are shown; the signature inside a token counts as well."""
    options = AzureOptions.parse(HOST, {"sas_token": "?sv=1&sig=a%2Fb&se=2"})
    assert "sig" not in repr(options)
    assert {"a%2Fb", "a/b"} <= set(AzureCredentials(options, "abfs://c@acc").secrets)
    assert shown_option("account_key", "x") == shown_option("sas_token", "x") == HIDDEN
    assert shown_option("account_name", "x") == "x"


def test_what_is_signed() -> None:
    """The layout of Microsoft's example: headers in order, an empty length for none, parameters sorted and decoded."""
    text = string_to_sign(
        "acc",
        "GET",
        "https://acc.blob.core.windows.net/c%20d/k?restype=container&comp=list&prefix=a%2Fb",
        {"x-ms-version": "v", "x-ms-date": "d", "Content-Length": "0", "Range": "bytes=0-1"},
    )
    assert text == (
        "GET\n\n\n\n\n\n\n\n\n\n\nbytes=0-1\nx-ms-date:d\nx-ms-version:v\n/acc/c%20d/k\ncomp:list\nprefix:a/b\nrestype:container"
    )
