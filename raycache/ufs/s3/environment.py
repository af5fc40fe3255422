"""What the process's environment says of S3 alone. Proxies and authorities are the same for all stores: `ufs/http/proxies`."""

from __future__ import annotations

from collections.abc import Mapping

#: What obstore would do to objects that it writes, and cannot be told not to.
_OBSTORE_WRITES = ("AWS_CHECKSUM_ALGORITHM", "AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_")


def requester_pays(environment: Mapping[str, str]) -> bool:
    """Whether `AWS_REQUEST_PAYER` says so."""
    return environment.get("AWS_REQUEST_PAYER", "").strip().lower() in ("requester", "true")


def obstore_may_write(environment: Mapping[str, str]) -> bool:
    """Whether obstore writes what boto3 would write."""
    return not any(name.upper().startswith(_OBSTORE_WRITES) for name in environment)
