"""The data that every target reads: the same bytes on a local disk and in S3, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obstore
import xxhash
from obstore.store import S3Store

LARGE_BYTES = 64_000_000
SMALL_BYTES = 100_000
PIECE_BYTES = 4096
_SMALL_PER_DIRECTORY = 1000


class Files(NamedTuple):
    """Files of one size; names are relative to wherever a target has them."""

    names: list[str]
    size_bytes: int

    @property
    def total_bytes(self) -> int:
        return len(self.names) * self.size_bytes


class Data(NamedTuple):
    """What there is, and in which order it is read."""

    #: The local copy.
    directory: Path
    large: Files
    small: Files
    #: The small files in a random order, the same for everybody.
    shuffled: list[str]
    #: (index of a large file, offset) of random pieces.
    pieces: list[tuple[int, int]]

    @property
    def names(self) -> list[str]:
        """Of all files."""
        return [*self.large.names, *self.small.names]

    @property
    def total_bytes(self) -> int:
        return self.large.total_bytes + self.small.total_bytes


def write(directory: Path, large_count: int, small_count: int, seed: int = 0) -> Data:
    """Write the local copy: random bytes, of (seed, number of the file) only."""
    large = Files([f"large/{number:03}" for number in range(large_count)], LARGE_BYTES)
    small = Files([f"small/{n // _SMALL_PER_DIRECTORY:03}/{n:06}" for n in range(small_count)], SMALL_BYTES)
    for kind, files in enumerate((large, small)):
        for parent in sorted({name.rpartition("/")[0] for name in files.names}):
            (directory / parent).mkdir(parents=True)

        def one(number: int, kind: int = kind, files: Files = files) -> None:
            content = np.random.Generator(np.random.SFC64([seed, kind, number])).bytes(files.size_bytes)
            (directory / files.names[number]).write_bytes(content)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(len(files.names))))
    draw = random.Random(seed)
    shuffled = draw.sample(small.names, len(small.names))
    last = LARGE_BYTES - PIECE_BYTES
    pieces = [(draw.randrange(large_count), draw.randrange(last)) for _ in range(200_000)]
    return Data(directory, large, small, shuffled, pieces)


def upload(data: Data, store: S3Store, threads: int = 16) -> None:
    """Put the local copy into S3, under the same names."""

    def put(name: str) -> None:
        obstore.put(store, name, (data.directory / name).read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(put, data.names))


class Digests:
    """What the bytes must hash to: each target's sum is compared, so that nobody skips or mixes anything."""

    def __init__(self, data: Data) -> None:
        self._directory = data.directory
        self._by_name: dict[str, int] = {}

    def learn(self, names: Sequence[str]) -> None:
        """Read these files now, not while others measure."""
        for name in names:
            self._of(name)

    def check(self, names: Sequence[str], found: int) -> None:
        """Compare the XOR of the hashes of these files.

        Raises:
            RuntimeError: they differ.
        """
        expected = 0
        for name in names:
            expected ^= self._of(name)
        if found != expected:
            raise RuntimeError(f"{len(names)} files read have other bytes than were written")

    def _of(self, name: str) -> int:
        if name not in self._by_name:
            self._by_name[name] = digest((self._directory / name).read_bytes())
        return self._by_name[name]


digest: Callable[..., int] = xxhash.xxh3_64_intdigest
