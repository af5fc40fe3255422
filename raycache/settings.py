"""Settings: numbers and strings only. Clock, stores and policies are constructor arguments elsewhere.

Precedence: argument > config file (`RAYCACHE_CONFIG`, or ~/.config/raycache.toml) > `RAYCACHE_*` environment > default.
`Settings.load` also tells where each value came from, which `raycache settings` shows.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raycache.errors import InvalidRequestError
from raycache.ranges import Grid

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

#: Of a node's object store, all its users together; above it the cache's memory tier gives way. At four fifths Ray begins
#: to spill, what is oldest first, and that is the cache's.
OBJECT_STORE_SHARE_MAX = 0.75

#: Names of eviction policies; "auto": the one that does best on what is read, found out while that goes on.
EVICTIONS = ("auto", "lru", "sieve", "s3-fifo", "sticky")

_UNITS = {
    "": 1, "b": 1,
    "k": KIB, "kib": KIB, "kb": 1000,
    "m": MIB, "mib": MIB, "mb": 1000**2,
    "g": GIB, "gib": GIB, "gb": 1000**3,
    "t": GIB * 1024, "tib": GIB * 1024, "tb": 1000**4,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def parse_size(text: str | int, *, whole_bytes: int | None = None) -> int:
    """Turn a human size into bytes.

    Args:
        text: bytes, or "200GiB", "1.5g", "500MB", or a share "30%" where `whole_bytes` is given.
        whole_bytes: what 100 % is.

    Raises:
        InvalidRequestError: not a size, negative, or a share of nothing.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise InvalidRequestError(f"size {text} is negative; give 0 or more bytes")
        return text
    if isinstance(text, str):
        if text.strip().endswith("%") and whole_bytes is not None:
            try:
                share = float(text.strip()[:-1])
            except ValueError:
                share = -1.0
            if 0 <= share <= 100:
                return int(whole_bytes * share / 100)
        match = _SIZE.fullmatch(text)
        if match and match[2].lower() in _UNITS:
            return int(float(match[1]) * _UNITS[match[2].lower()])
    example = '"200GiB", "30%"' if whole_bytes is not None else '"200GiB"'
    raise InvalidRequestError(f"{text!r} is not a size; give bytes or something like {example}")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one cache. Relations are checked on construction."""

    #: Memory tier of each node: a share of its object store, or bytes.
    memory: str | int = "30%"
    #: Disk tier of each node: "PATH:SIZE", "PATH", "SIZE", or "off". Empty: a folder in Ray's session directory and a
    #: tenth of the free space.
    disk: str = ""
    #: Unit of loading and of location. A power of two.
    block_size_bytes: int = 8 * MIB
    #: Unit of loading where little is wanted of a file that is not cached. A power of two; the block size: no pages.
    page_size_bytes: int = 16 * KIB
    #: Small files' blocks are packed into segments up to this. A multiple of the block size.
    segment_size_bytes: int = 64 * MIB
    #: Blocks of one file that are placed together. A multiple of the segment size.
    extent_size_bytes: int = 512 * MIB
    #: Workers that may hold the same block because readers there wanted it, while there is room; 1: no such copies.
    replicas_max: int = 16
    #: How long a reader may read a segment in place without asking again.
    lease_s: float = 30.0
    #: A worker speaks to the master this often.
    heartbeat_period_s: float = 0.5
    #: Silence after which a worker counts as lost even if Ray has not said so.
    heartbeat_timeout_s: float = 15.0
    #: Concurrent loads of one worker from one store; from all stores together twice as many.
    loads_inflight_max: int = 32
    #: Bytes of one worker on the way from one store; from all stores together twice as many.
    load_bytes_inflight_max: int = 512 * MIB
    #: How many listing requests the master has in flight.
    listings_inflight_max: int = 16
    #: Time-outs of one call to the master and to a worker; a worker call may wait for the lake.
    master_timeout_s: float = 30.0
    worker_timeout_s: float = 120.0
    #: How long a worker, or the master, is waited for that shows no sign of life; then another holder, or the lake, is read.
    hop_timeout_s: float = 10.0
    #: Segments one client process may keep mapped: address space, not memory. What is read in random order should fit, since
    #: whatever does not costs a call again.
    client_mapped_bytes_max: int = 64 * GIB
    #: Paths one client process may remember.
    client_paths_max: int = 200_000
    #: When a mount gives none.
    metadata_ttl_s: float = 60.0
    #: What makes room for something new: one of `EVICTIONS`.
    eviction: str = "auto"
    #: Background demotion starts above the first share of the memory tier and stops below the second.
    memory_high_watermark: float = 0.95
    memory_low_watermark: float = 0.85
    #: Hits on disk within its stay that make a segment worth promoting to memory.
    promote_after_hits: int = 2
    #: "never" (a crash may lose cached blocks, never corrupt them: checksums) or "always".
    disk_fsync: str = "never"
    #: Of what `raycache.cached` keeps: "" (none, so that it is used where it lies), "lz4" or "zstd" (more fits, read by a copy).
    cached_compression: str = ""
    #: What the lake costs, for the dashboard's estimate of what is saved: 1,000 read requests, and a GB (10^9 bytes) read.
    price_per_1000_requests: float = 0.0004
    price_per_gb: float = 0.0
    #: Where the master keeps its journal: a directory on the head node, or a UFS URI. Empty: in Ray's session directory.
    journal: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_bytes", "_bytes_max", "_max", "_hits")) and (
                not isinstance(value, int) or value < 1
            ):
                raise InvalidRequestError(f"setting {field.name}={value!r} must be a whole number, 1 or more")
            if field.name.endswith("_s") and not (isinstance(value, (int, float)) and value > 0):
                if field.name == "metadata_ttl_s" and value == 0:
                    continue
                raise InvalidRequestError(f"setting {field.name}={value!r} must be a number of seconds above 0")
        for name in ("price_per_1000_requests", "price_per_gb"):
            if not getattr(self, name) >= 0:
                raise InvalidRequestError(f"setting {name}={getattr(self, name)!r} must be 0 or more")
        if self.block_size_bytes & (self.block_size_bytes - 1):
            raise InvalidRequestError(f"setting block_size_bytes={self.block_size_bytes} must be a power of two")
        if self.page_size_bytes & (self.page_size_bytes - 1):
            raise InvalidRequestError(f"setting page_size_bytes={self.page_size_bytes} must be a power of two")
        if self.segment_size_bytes % self.block_size_bytes:
            raise InvalidRequestError("setting segment_size_bytes must be a multiple of block_size_bytes")
        if self.extent_size_bytes % self.segment_size_bytes:
            raise InvalidRequestError("setting extent_size_bytes must be a multiple of segment_size_bytes")
        if not 0 < self.memory_low_watermark <= self.memory_high_watermark <= 1:
            raise InvalidRequestError("settings need 0 < memory_low_watermark <= memory_high_watermark <= 1")
        if self.eviction not in EVICTIONS:
            raise InvalidRequestError(f"setting eviction={self.eviction!r} is unknown; use {', '.join(EVICTIONS)}")
        if self.disk_fsync not in ("never", "always"):
            raise InvalidRequestError(f"setting disk_fsync={self.disk_fsync!r} is unknown; use 'never' or 'always'")
        if self.cached_compression not in ("", "lz4", "zstd"):
            given = self.cached_compression
            raise InvalidRequestError(
                f"setting cached_compression={given!r} is unknown; use 'lz4', 'zstd', or '' for none"
            )
        if isinstance(self.memory, str) and self.memory.strip().endswith("%"):
            parse_size(self.memory, whole_bytes=GIB)
        else:
            parse_size(self.memory)

    @classmethod
    def load(
        cls, arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
    ) -> tuple[Settings, dict[str, str]]:
        """Put a Settings together from all sources.

        Args:
            arguments: the strongest; None values count as not given.
            environment: instead of `os.environ`.

        Returns:
            The settings, and for each field its origin: "argument", "file PATH", "environment RAYCACHE_X" or "default".

        Raises:
            InvalidRequestError: an unknown key or a bad value.
        """
        environment = os.environ if environment is None else environment
        given = {key: value for key, value in (arguments or {}).items() if value is not None}
        path, from_file = _read_file(environment)
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        known = {field.name: field for field in dataclasses.fields(cls)}
        for source, keys in (("argument", given), (f"file {path}", from_file)):
            for key in keys:
                if key not in known:
                    raise InvalidRequestError(f"unknown setting {key!r} ({source}); see `raycache settings`")
        for name, field in known.items():
            variable = f"RAYCACHE_{name.upper()}"
            for origin, found, value in (
                ("argument", name in given, given.get(name)),
                (f"file {path}", name in from_file, from_file.get(name)),
                (f"environment {variable}", variable in environment, environment.get(variable)),
                ("default", True, field.default),
            ):
                if found:
                    values[name] = _convert(name, field.default, value)
                    origins[name] = origin
                    break
        return cls(**values), origins

    @property
    def grid(self) -> Grid:
        """How files are cut."""
        return Grid(self.block_size_bytes, min(self.page_size_bytes, self.block_size_bytes))

    def as_dict(self) -> dict[str, Any]:
        """Names and values."""
        return dataclasses.asdict(self)


def _read_file(environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    explicit = environment.get("RAYCACHE_CONFIG")
    home = environment.get("HOME")
    if not explicit and not home:
        return "", {}
    path = Path(explicit) if explicit else Path(str(home)) / ".config" / "raycache.toml"
    try:
        return str(path), tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if explicit:
            raise InvalidRequestError(f"RAYCACHE_CONFIG names {path}, which does not exist") from error
        return str(path), {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequestError(f"cannot read settings from {path}: {error}") from error


def _convert(name: str, default: Any, value: Any) -> Any:
    """Make a textual value the type of the default; sizes may be human."""
    if name in ("memory", "disk"):
        return value if isinstance(value, int) and name == "memory" else str(value)
    if isinstance(default, int) and isinstance(value, str):
        return parse_size(value)
    if isinstance(default, float) and isinstance(value, (str, int)):
        try:
            return float(value)
        except ValueError as error:
            raise InvalidRequestError(f"setting {name}={value!r} is not a number") from error
    return value
