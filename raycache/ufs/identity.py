"""Whether two names mean one object: asked before anything is deleted, and when what is known of a name is dropped.

A name is taken apart into the steps of its way, from the root of the store down to what stands there. Each step has an
identity that is the same by whatever name it is reached: of a disk the inode, with all links on the way followed; of a
store without links the URI so far, with one authority for all that name the store (`open.store_of`). So two names are one
object when their last steps are the same, one lies in the other when the last step of that is on its way, and what is
behind a step that both share is the rest of a name.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One step of a way."""

    #: As the store itself spells it, without slashes; of the root "".
    name: str
    identity: Hashable


#: From the root to what stands at a key, or to where it would stand.
Way = Sequence[Step]


def key_way(root_uri: str, key: str) -> Way:
    """The way to a key of a store that has no links."""
    steps = [Step("", root_uri)]
    uri = root_uri
    for name in key.split("/") if key else ():
        uri = f"{uri}/{name}"
        steps.append(Step(name, uri))
    return steps


def is_same(one: Way, other: Way) -> bool:
    """Whether two ways end at one object."""
    return one[-1].identity == other[-1].identity


def lies_in(inner: Way, outer: Way) -> bool:
    """Whether one way ends somewhere below the end of another, and not at it."""
    return any(step.identity == outer[-1].identity for step in inner[:-1])


def rest_below(way: Way, above: Way) -> str | None:
    """The name of a way's end below the end of another: "" when both are one; None when it does not lie there."""
    for position in range(len(way) - 1, -1, -1):
        if way[position].identity == above[-1].identity:
            return "/".join(step.name for step in way[position + 1 :])
    return None
