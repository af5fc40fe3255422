"""Places in a lake that something is copied from or to, and the copy of one file between them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from raycache import paths as names
from raycache.errors import ConflictError, InvalidRequestError
from raycache.types import FileVersion
from raycache.ufs.base import UnderStorage
from raycache.ufs.identity import Way, rest_below
from raycache.ufs.trees import Described

#: A copy between two stores holds this much of a file in memory at a time.
_COPY_CHUNK_BYTES = 16 << 20


class LakePlace(NamedTuple):
    """A path, taken apart for its store."""

    path: str
    uri: str
    storage: UnderStorage
    key: str

    @property
    def prefix(self) -> str:
        """What the keys below begin with."""
        return self.key.rstrip("/") + "/" if self.key else ""

    @property
    def way(self) -> Way:
        """The way there, looked for now."""
        return self.storage.way(self.key.rstrip("/"))

    def below(self, name: str) -> LakePlace:
        """The place of a relative name; "" is this one."""
        if not name:
            return self
        return LakePlace(names.join(self.path, name), names.join(self.uri, name), self.storage, self.prefix + name)

    @property
    def identity(self) -> Hashable:
        """The same for two places where one object stands, or would stand."""
        return self.way[-1].identity


PlacePair: TypeAlias = tuple[LakePlace, LakePlace]


def apart(places: Iterable[PlacePair]) -> list[PlacePair]:
    """Those pairs that are not one file by two names."""
    return [(source, target) for source, target in places if source.identity != target.identity]


def own_directories(place: LakePlace, found: Iterable[str]) -> list[str]:
    """Of the directories that a walk of a directory has come to, those that lie in it, and not behind a link in it.

    Args:
        place: of the directory.
        found: relative names, as `trees.tree` gives them.
    """
    directories = names.implied_directories(found)
    if not place.storage.has_directories:
        return directories
    way = place.way
    return [name for name in directories if rest_below(place.below(name).way, way) == name]


def own_part(place: LakePlace, found: Mapping[str, Described]) -> dict[str, Described]:
    """Of what a walk of a directory has found, what goes when the directory is deleted: not what is behind links."""
    if not place.storage.has_directories:
        return dict(found)
    own = {"", *own_directories(place, found)}
    return {name: described for name, described in found.items() if name.rstrip("/").rpartition("/")[0] in own}


def refuse_leading_back(start: LakePlace, end: LakePlace, found: Iterable[str]) -> None:
    """Refuse a copy that would go into its source: by its name, or by a link or a mount in the target.

    Args:
        start, end: source and target.
        found: relative names of all that is to be copied.
    """
    found = list(found)
    inside = {start.identity} | {start.below(name).identity for name in own_directories(start, found)}
    for place in (end, *(end.below(name) for name in names.implied_directories(found))):
        if any(step.identity in inside for step in place.way):
            raise InvalidRequestError(f"{place.path} lies in {start.path}; choose a target outside of it")


def copy_one(pair: PlacePair) -> None:
    """Copy a file, server-side inside one store."""
    source, target = pair
    if source.storage is target.storage:
        source.storage.copy(source.key, target.key)
        return
    found = source.storage.head(source.key)
    version = FileVersion(source.uri, found.size_bytes, found.etag, found.mtime_ns)
    writer = target.storage.open_writer(target.key)
    try:
        for offset in range(0, found.size_bytes, _COPY_CHUNK_BYTES):
            length = min(_COPY_CHUNK_BYTES, found.size_bytes - offset)
            writer.write(source.storage.read(source.key, offset, length, version))
    except BaseException:
        writer.abort()
        raise
    writer.close()


def copy_to_move(pair: PlacePair) -> bool:
    """Copy a file; whether its source may be deleted now. It may not when both turn out to be one."""
    source, target = pair
    before = source.storage.head(source.key)
    copy_one(pair)
    after = source.storage.head(source.key)
    if after == before:
        return True
    if after[1:] == target.storage.head(target.key)[1:]:
        return False
    raise changed_meanwhile(source, target)


def changed_meanwhile(source: LakePlace, target: LakePlace) -> ConflictError:
    """The error for what is no longer what was copied, so that it must not be deleted."""
    return ConflictError(
        f"{source.path} was changed while it was moved, and stays; {target.path} is a copy. Move it again",
        path=source.path,
    )
