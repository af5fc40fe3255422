"""S3 and everything that speaks its protocol.

`storage` is the under storage, over the two clients of `clients`; `listing` lists, `multipart` writes what is large, `options`
reads what a mount or the environment says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raycache.ufs.s3.storage import S3Storage as S3Storage


def __getattr__(name: str) -> Any:
    # On first use: options are read where boto3 need not be imported.
    if name == "S3Storage":
        from raycache.ufs.s3.storage import S3Storage

        return S3Storage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
