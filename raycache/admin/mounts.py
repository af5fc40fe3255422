"""Mounting: which store stands at which path."""

from __future__ import annotations

import uuid
from typing import Any

from raycache import paths as names
from raycache.admin import upkeep
from raycache.client.client import Client
from raycache.client.mount_options import with_environment
from raycache.errors import InvalidRequestError
from raycache.messages import MountInfo, MountTable, Selector, encode
from raycache.results import MountEntry
from raycache.rules import Pattern

_MOUNT_TIMEOUT_S = 60.0


def mount(
    client: Client, path: str, uri: str, options: dict[str, Any], metadata_ttl_s: float | None, *, readonly: bool
) -> None:
    """Bind a UFS URI to a path; see `Cache.mount`. The store is tried first."""
    if uri.startswith("/"):
        raise InvalidRequestError(f"cannot mount {uri}, which is no URI; for a directory write file://{uri}")
    uri = names.normalise(uri)
    ttl_s = client.settings.metadata_ttl_s if metadata_ttl_s is None else float(metadata_ttl_s)
    options = with_environment(names.split_uri(uri)[0], options)
    info = MountInfo(names.normalise(path), uri, options, ttl_s, readonly)
    table: MountTable = client.calls.master("mount", uuid.uuid4().hex, encode(info), timeout_s=_MOUNT_TIMEOUT_S)
    client.locator.learn(None, table)
    client.locator.forget_all()


def unmount(client: Client, path: str, *, force: bool) -> None:
    """Take a mount away, and free its blocks; see `Cache.unmount`."""
    reply: tuple[str, MountTable] = client.calls.master("unmount", uuid.uuid4().hex, names.normalise(path), force)
    uri, table = reply
    client.locator.learn(None, table)
    upkeep.drop(client, Selector([Pattern(uri)]), force=True)


def mounts(client: Client) -> list[MountEntry]:
    """All mounts, by path; secrets are not shown."""
    return [MountEntry(*row) for row in client.calls.master("mounts")]
