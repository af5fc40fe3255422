"""What fsspec needs to know of `s3://` to read `raycache::s3://bucket/key`.

fsspec asks the class of every link of a chain to strip its part of the URL, so a chained URL wants a class for "s3" though
no instance of it is ever made: the cache has its own client. This is s3fs's class where s3fs is installed, and otherwise
one that can strip paths and nothing else: making an instance fails as fsspec itself fails without s3fs.
"""

from __future__ import annotations

from typing import Any

from fsspec.spec import AbstractFileSystem

try:
    from s3fs import S3FileSystem
except ImportError:

    class S3FileSystem(AbstractFileSystem):  # type: ignore[no-redef, misc]  # the stand-in of the text above
        """Strips `s3://` off paths."""

        protocol = ("s3", "s3a")

        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            raise ImportError("Install s3fs to access S3, or read it through the cache: raycache::s3://bucket/key")


__all__ = ["S3FileSystem"]
