"""What the master must ask the lake before it can answer, and what came back.

A need is a value: two that are equal are one question, which is asked once at a time. The generation keeps questions
apart that must not share an answer: one asked before a change was made, and one asked after.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, TypeAlias

from raycache.errors import RaycacheError
from raycache.messages import MountInfo


@dataclasses.dataclass(frozen=True, slots=True)
class HeadNeed:
    """What stands at one key: an object, or else a directory?"""

    #: How to open the store. Not compared, since options cannot be hashed; its path is.
    mount: MountInfo = dataclasses.field(compare=False)
    mount_path: str
    root_uri: str
    key: str
    generation: int
    #: When it was first needed; coverage counts from here.
    asked_s: float = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ListNeed:
    """What is below a prefix ("", or ending in "/")? When nothing is: does an object stand at its key?"""

    mount: MountInfo = dataclasses.field(compare=False)
    mount_path: str
    root_uri: str
    prefix: str
    #: Everything below, or one level.
    recursive: bool
    generation: int
    asked_s: float = dataclasses.field(compare=False)
    #: Of one level: what is wanted of it. Then so many pages are listed as are worth it, and the keys behind are looked up.
    keys: tuple[str, ...] = ()


Need: TypeAlias = HeadNeed | ListNeed


class NeedResult(NamedTuple):
    """The lake's answer to one need."""

    #: Why there is none; then nothing else counts.
    error: RaycacheError | None = None
    #: Of the object at the key (of a listing: at the key of its prefix, asked only when nothing is below); see `entries`.
    head: bytes | None = None
    #: Whether anything stands below the key.
    is_directory: bool = False
    #: Of a listing: key -> entry, directory markers included.
    found: dict[str, bytes] = {}  # noqa: RUF012  # a NamedTuple's default, never changed
    #: Of a one-level listing: prefixes of the child directories.
    directories: list[str] = []  # noqa: RUF012
    #: Of a one-level listing that was not finished, or not allowed: what stands at each of the keys that are wanted.
    each: dict[str, NeedResult] | None = None
