"""What the cache keeps of results: datasets after their transforms, and memoized functions."""

from __future__ import annotations

from raycache import paths as names
from raycache.client.client import Client
from raycache.errors import InvalidRequestError, NotFoundError
from raycache.messages import encode
from raycache.messages.keeping import MOUNT_PATH, KeptDataset
from raycache.results import CachedDataset


def kept_datasets(client: Client) -> list[CachedDataset]:
    """All of them, by name."""
    found: list[KeptDataset] = client.calls.master("results", "datasets", encode(()))
    return [
        CachedDataset(
            name=row.name,
            path=names.join(MOUNT_PATH, row.name),
            groups=row.groups,
            bytes_kept=row.bytes,
            rows=row.rows,
            hits=row.hits,
            made=row.made,
            waited=row.waited,
            taken_over=row.taken_over,
            lost=row.lost,
            cpu_s=row.cpu_s,
            saved_cpu_s=row.saved_cpu_s,
            idle_s=None if row.idle_s < 0 else row.idle_s,
        )
        for row in found
    ]


def drop_kept(client: Client, name: str) -> int:
    """Drop all results of a dataset, from memory and disk; how many there were.

    Args:
        client: of the cache.
        name: as in the list, or its path below `/cached`.

    Raises:
        NotFoundError: there is no such dataset.
    """
    short = name.removeprefix(f"{MOUNT_PATH}/").strip("/")
    if not short or "/" in short:
        raise InvalidRequestError(f"{name!r} is no cached dataset; `raycache cached ls` lists them")
    if short not in {row.name for row in kept_datasets(client)}:
        raise NotFoundError(f"no cached dataset is called {short!r}; `raycache cached ls` lists them", path=name)
    dropped: int = client.calls.master("results", "drop", encode((short,)))
    return dropped
