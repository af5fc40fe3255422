"""The least that fsspec's caching filesystems need below them: S3 by obstore, sizes and ranges."""

from __future__ import annotations

from typing import Any

import obstore
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from obstore.store import S3Store


class RangeFileSystem(AbstractFileSystem):
    """Read-only; names are keys of one bucket."""

    protocol = "bench-s3"
    cachable = False

    def __init__(self, store: S3Store, **options: Any) -> None:
        super().__init__(**options)
        self.store = store

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        key = self._strip_protocol(path)
        found = obstore.head(self.store, key)
        return {"name": key, "size": found["size"], "type": "file", "ETag": found["e_tag"]}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        found = self.info(path)
        return [found] if detail else [found["name"]]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        if start is None and end is None:
            return bytes(obstore.get(self.store, self._strip_protocol(path)).bytes())
        return super().cat_file(path, start, end)

    def get_file(self, rpath: str, lpath: Any, **_: Any) -> None:
        with open(lpath, "wb") as target:  # noqa: PTH123  # as fsspec hands it over
            target.write(self.cat_file(rpath))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        options.pop("autocommit", None)
        return _RangeFile(self, path, mode, **options)


class _RangeFile(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(obstore.get_range(self.fs.store, self.path, start=start, end=end))
