"""What fsspec loads by its entry point: the filesystem behind `raycache://`, for what stands above it, too.

pyarrow and Ray Data wrap filesystems of fsspec themselves. Of this one they make the same as `Cache.filesystem()` gives: it
knows URIs of all stores, and Ray Data places what it reads through it. An instance takes this module along when it pickles,
so that is so in every process.
"""

from __future__ import annotations

from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.filesystems.pyarrow import adopt
from raycache.raydata.modes import place_plain_reads


class PluginFileSystem(RaycacheFileSystem):
    """The cache's filesystem, as fsspec gives it to users."""


adopt(place_plain_reads)
