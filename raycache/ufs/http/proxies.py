"""What the process's environment says about reaching stores, read once for all clients of one.

boto3 and obstore each read some words of it, not the same ones, and not in the same way: `ALL_PROXY` and address blocks in
`NO_PROXY` mean nothing to boto3, "*" and ports there nothing to obstore; each has a CA variable of its own; and obstore
takes any option of its own from an `AWS_*` variable. So it is read here, and all are told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

#: In order: the AWS tools' own, that of Python programs, that of OpenSSL.
_CA_FILES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def proxy_for(endpoint_url: str, environment: Mapping[str, str]) -> str:
    """The proxy that requests to an endpoint go through; "" when they go straight there.

    `http_proxy`, `https_proxy` and `all_proxy` in either case, the small one first. `no_proxy` lists hosts (with all below
    them), hosts with a port, addresses, blocks of addresses; "*" is everything.
    """
    parts = urlsplit(endpoint_url)
    host, host_and_port = parts.hostname or "", parts.netloc.rpartition("@")[2].lower()
    words = _words(environment)
    proxy = words.get(parts.scheme) or words.get("all") or ""
    if parts.scheme == "http" and "REQUEST_METHOD" in environment:  # a CGI script's "Proxy:" header looks like one
        proxy = words.get("all") or ""
    if not proxy or _is_excluded(host, host_and_port, words.get("no", "")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def ca_file(environment: Mapping[str, str]) -> tuple[str, str]:
    """The file of authorities to trust, and the variable that names it; two times "" when none does."""
    return next(((environment[name], name) for name in _CA_FILES if environment.get(name, "").strip()), ("", ""))


def _words(environment: Mapping[str, str]) -> dict[str, str]:
    """`http_proxy` and its like by what is before the underscore; a small-letter variable counts before a capital one."""
    suffix = "_proxy"
    found: dict[str, str] = {}
    for name in sorted(environment):  # capitals come first
        if name.lower().endswith(suffix):
            found[name.lower().removesuffix(suffix)] = environment[name]
    return found


def _is_excluded(host: str, host_and_port: str, no_proxy: str) -> bool:
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        domain = entry.removeprefix("*").removeprefix(".")
        if entry == "*" or (domain and f".{host}".endswith(f".{domain}")):
            return True
        if (domain and f".{host_and_port}".endswith(f".{domain}")) or _is_in_block(host, entry):
            return True
    return False


def _is_in_block(host: str, block: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(block, strict=False)
    except ValueError:
        return False
