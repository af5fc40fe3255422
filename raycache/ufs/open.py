"""Open the storage of a URI's authority, by its scheme.

`s3` is S3 and whatever speaks its protocol; `gs` is Google Cloud Storage, `abfs` Azure, `https` files of a web server; `file` is this machine's disks; `memory` is for tests. Everything else is
pyarrow's business: `hdfs`, and any other scheme its `FileSystem.from_uri` knows. Storages are kept, a few, so
that connections and credentials are shared by all mounts of a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from raycache.errors import InvalidRequestError, RaycacheError
from raycache.paths import normalise, split_uri
from raycache.ufs.base import UnderStorage
from raycache.ufs.errors import shown

_STORAGES_MAX = 256
#: HDFS's own.
_HDFS_PORT = ":8020"

_storages: OrderedDict[tuple[str, str], UnderStorage] = OrderedDict()
#: Held while one is made: for S3 some 16 ms of CPU and half a MB; the first takes ten times that. Whoever else wants it waits for that one.
_making: dict[tuple[str, str], threading.Lock] = {}
_lock = threading.Lock()


def open_storage(root_uri: str, options: Mapping[str, Any] | None = None) -> UnderStorage:
    """The storage of an authority, shared with everyone who asks with the same options.

    Args:
        root_uri: an authority, as `paths.split_uri` gives it: `s3://bucket`, `file://`.
        options: the mount's; which ones there are depends on the scheme.

    Raises:
        InvalidRequestError: an unknown scheme, or an unknown or wrong option.
        DeniedError: no credentials.
        UnavailableError: the filesystem cannot be reached.
    """
    options = {name: value for name, value in (options or {}).items() if value is not None}
    identity = (root_uri, json.dumps(options, sort_keys=True, default=repr))
    kept = _kept(identity)
    if kept is not None:
        return kept
    with _lock:
        making = _making.setdefault(identity, threading.Lock())
    with making:
        try:
            kept = _kept(identity)
            if kept is None:
                made = _make(root_uri, options)  # may take a while: credentials are looked up
                with _lock:
                    kept = _storages.setdefault(identity, made)
                    while len(_storages) > _STORAGES_MAX:
                        _storages.popitem(last=False)  # not closed: somebody may be reading
        finally:
            with _lock:
                _making.pop(identity, None)
    return kept


def open_ahead(root_uri: str, options: Mapping[str, Any]) -> None:
    """Make a storage now rather than at the first read, which will say what is wrong with it."""
    with contextlib.suppress(RaycacheError):
        open_storage(root_uri, options)


def _kept(identity: tuple[str, str]) -> UnderStorage | None:
    with _lock:
        kept = _storages.get(identity)
        if kept is not None:
            _storages.move_to_end(identity)
        return kept


def store_of(root_uri: str, options: Mapping[str, Any] | None = None) -> str:
    """What the store of an authority is called in `identity.Way`: the same for all authorities that name it.

    An account of Azure stands in the authority or in the options, with its domain or without; `hdfs://` is the name node of
    Hadoop's configuration, where that says it.

    Args:
        root_uri: the authority, normalised.
        options: the mount's.
    """
    scheme, _, authority = root_uri.partition("://")
    if scheme == "hdfs":
        return f"hdfs://{(authority or _default_name_node()).lower().removesuffix(_HDFS_PORT)}"
    if scheme == "abfs":
        container, _, host = authority.partition("@")
        account = str((options or {}).get("account_name") or host.partition(".")[0])
        return f"abfs://{container}@{account.lower()}"
    return root_uri


def _default_name_node() -> str:
    """The authority of Hadoop's `fs.defaultFS`, from where its libraries look for it; "" where nothing says it."""
    folders = [folder for folder in os.environ.get("CLASSPATH", "").split(os.pathsep) if folder]
    folders += [os.environ.get("HADOOP_CONF_DIR", ""), f"{os.environ.get('HADOOP_HOME', '')}/etc/hadoop"]
    for folder in folders:
        try:
            settings = ET.parse(Path(folder) / "core-site.xml").getroot()  # noqa: S314  # the user's own
        except (OSError, ET.ParseError):
            continue
        for setting in settings.iter("property"):
            if setting.findtext("name", "").strip() in ("fs.defaultFS", "fs.default.name"):
                return urlsplit(setting.findtext("value", "").strip()).netloc
    return ""


def slow_downs() -> int:
    """How often this process's stores have said "slow down" so far."""
    with _lock:
        return sum(getattr(storage, "slow_downs", 0) for storage in _storages.values())


def _make(root_uri: str, options: dict[str, Any]) -> UnderStorage:
    root, key = split_uri(normalise(root_uri))
    scheme = root.partition("://")[0]
    if key or root != root_uri:
        raise InvalidRequestError(f"{shown(root_uri)} is not just an authority; give {shown(root)}", uri=root_uri)
    if scheme == "s3":
        from raycache.ufs.s3.storage import S3Storage

        return S3Storage(root, options)
    if scheme == "gs":
        from raycache.ufs.clouds.makers import open_google

        return open_google(root, options)
    if scheme == "abfs":  # abfs://container@account.dfs.core.windows.net
        from raycache.ufs.clouds.makers import open_azure

        return open_azure(root, options, store=store_of(root, options))
    if scheme in ("http", "https"):
        from raycache.ufs.web.web_storage import WebStorage

        return WebStorage(root, options)
    if scheme == "hf":  # hf://datasets/owner/name
        from raycache.ufs.web.hub_storage import HubStorage

        return HubStorage(root, options)
    if scheme in ("file", "memory"):
        if options:
            raise InvalidRequestError(f"unknown option {min(options)!r}; {scheme}:// takes none")
        if scheme == "file":
            from raycache.ufs.local import LocalStorage

            return LocalStorage(root)
        from raycache.ufs.memory import memory_storage

        return memory_storage(root)
    if scheme == "cached":  # what the cache keeps of its own
        from raycache.ufs.kept_files.kept_storage import kept_storage

        return kept_storage()
    return _make_arrow(root, scheme, options)


def _make_arrow(root: str, scheme: str, options: dict[str, Any]) -> UnderStorage:
    """Let pyarrow make the filesystem. Options are the arguments of its class, as pyarrow's own manual names them."""
    import pyarrow as pa
    from pyarrow import fs

    from raycache.ufs.arrow import ArrowStorage
    from raycache.ufs.errors import cause_of, map_arrow_error

    parts = urlsplit(root)
    store = store_of(root, options)
    words = [str(value) for value in options.values() if isinstance(value, str)]
    try:
        if scheme in ("hdfs", "viewfs"):
            host = f"viewfs://{parts.netloc}" if scheme == "viewfs" else (parts.hostname or "default")
            hdfs = fs.HadoopFileSystem(host, port=parts.port or 0, **options)
            return ArrowStorage(hdfs, root, base="/", store=store, whole_seconds=True, secrets=words)
        if options:
            raise InvalidRequestError(f"unknown option {min(options)!r}; {scheme}:// takes none")
        filesystem, base = fs.FileSystem.from_uri(f"{root}/")
        return ArrowStorage(filesystem, root, base=f"{base.rstrip('/')}/" if base else "")
    except TypeError as error:
        raise InvalidRequestError(
            f"wrong options for {root}: {', '.join(sorted(options))}; see pyarrow.fs"
        ) from cause_of(error, words)
    except pa.ArrowInvalid as error:
        raise InvalidRequestError(
            f"cannot open {root}: neither raycache nor pyarrow knows {scheme}://, or its options are wrong", uri=root
        ) from cause_of(error, words)
    except (OSError, ValueError, NotImplementedError, AttributeError) as error:  # AttributeError: pyarrow without it
        if isinstance(error, InvalidRequestError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise map_arrow_error(error, "open", root) from cause_of(error, words)
        raise InvalidRequestError(
            f"cannot open {root}: pyarrow has no such filesystem here; check what it needs", uri=root
        ) from cause_of(error, words)
