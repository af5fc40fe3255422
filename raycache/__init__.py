"""raycache: a distributed data cache that lives inside a Ray cluster, and puts tasks where their data is.

Only public names are here, and they load on first use: `import raycache` imports neither ray nor pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raycache.admin.loads import Job
    from raycache.cache import Cache, connect
    from raycache.cluster import session, start, stop
    from raycache.dashboard.launch import start_dashboard
    from raycache.endpoint.lifecycle import start_endpoint, stop_endpoint
    from raycache.errors import (
        AlreadyExistsError,
        ConflictError,
        CorruptBlockError,
        DeniedError,
        InvalidRequestError,
        NoCacheError,
        NoSpaceError,
        NotFoundError,
        RaycacheError,
        UnavailableError,
    )
    from raycache.raydata.cached.datasets import cached
    from raycache.raydata.cached.memoizing import memoize
    from raycache.raydata.readers import (
        read_audio,
        read_avro,
        read_binary_files,
        read_csv,
        read_datasource,
        read_images,
        read_json,
        read_numpy,
        read_parquet,
        read_text,
        read_tfrecords,
        read_videos,
        read_webdataset,
    )
    from raycache.settings import Settings

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_HOMES = {
    "session": "raycache.cluster",
    "start": "raycache.cluster",
    "stop": "raycache.cluster",
    "start_dashboard": "raycache.dashboard.launch",
    "start_endpoint": "raycache.endpoint.lifecycle",
    "stop_endpoint": "raycache.endpoint.lifecycle",
    "connect": "raycache.cache",
    "Cache": "raycache.cache",
    "Job": "raycache.admin.loads",
    "Settings": "raycache.settings",
    "cached": "raycache.raydata.cached.datasets",
    "memoize": "raycache.raydata.cached.memoizing",
    **dict.fromkeys(
        (
            "read_audio",
            "read_avro",
            "read_binary_files",
            "read_csv",
            "read_datasource",
            "read_images",
            "read_json",
            "read_numpy",
            "read_parquet",
            "read_text",
            "read_tfrecords",
            "read_videos",
            "read_webdataset",
        ),
        "raycache.raydata.readers",
    ),
    **dict.fromkeys(
        (
            "RaycacheError",
            "InvalidRequestError",
            "NotFoundError",
            "DeniedError",
            "AlreadyExistsError",
            "ConflictError",
            "UnavailableError",
            "NoCacheError",
            "NoSpaceError",
            "CorruptBlockError",
        ),
        "raycache.errors",
    ),
}

__all__ = [
    "AlreadyExistsError",
    "Cache",
    "ConflictError",
    "CorruptBlockError",
    "DeniedError",
    "InvalidRequestError",
    "Job",
    "NoCacheError",
    "NoSpaceError",
    "NotFoundError",
    "RaycacheError",
    "Settings",
    "UnavailableError",
    "cached",
    "connect",
    "memoize",
    "read_audio",
    "read_avro",
    "read_binary_files",
    "read_csv",
    "read_datasource",
    "read_images",
    "read_json",
    "read_numpy",
    "read_parquet",
    "read_text",
    "read_tfrecords",
    "read_videos",
    "read_webdataset",
    "session",
    "start",
    "start_dashboard",
    "start_endpoint",
    "stop",
    "stop_endpoint",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'raycache' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
