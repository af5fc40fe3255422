"""The packed index of blocks says what a plain dictionary would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raycache.types import BlockId, SegmentId
from raycache.workers.tiers.block_index import BlockIndex

#: Of one byte each, so that all share a bucket, and a version's bytes also lie across the rows of others; and spread ones.
VERSIONS = [bytes([byte]) * 16 for byte in (0, 1)] + [bytes(4) + bytes([n]) + bytes(11) for n in range(3)]
SPREAD = [n.to_bytes(4, "big") * 4 for n in range(1, 200)]

blocks = st.builds(BlockId, st.sampled_from(VERSIONS + SPREAD[:5]), st.sampled_from([0, 0, 0, 1, -1]))


@given(st.lists(st.tuples(blocks, st.sampled_from("stu")), max_size=60))
def test_blocks_come_and_go_as_in_a_dictionary(moves: list[tuple[BlockId, SegmentId]]) -> None:
    """What is here is taken out, what is not is taken in; single blocks, several of a file, pages."""
    index, model = BlockIndex(), dict[BlockId, SegmentId]()
    for block, segment in moves:
        if model.pop(block, None) is None:
            index.add(block, segment)
            model[block] = segment
        else:
            index.remove(block)
        places = {i: model[BlockId(block.version, i)] for i in (0, 1, -1) if BlockId(block.version, i) in model}
        assert dict(index.places(block.version)) == places
    listed = {BlockId(version, i): segment for version, places in index.items() for i, segment in places.items()}
    assert listed == model


@given(st.lists(st.integers(0, len(SPREAD) - 1), max_size=30))
def test_many_versions_are_found_again(removed: list[int]) -> None:
    """Also after the table has grown, and when a segment has been forgotten and another come."""
    index = BlockIndex()
    old = BlockId(VERSIONS[0], 0)
    index.add(old, "old")
    for number, version in enumerate(SPREAD):
        index.add(BlockId(version, 0), f"s{number % 7}")
    index.remove(old)
    index.forget("old")
    index.add(old, "new")
    for number in set(removed):
        index.remove(BlockId(SPREAD[number], 0))
    assert {0: "new"} == index.places(old.version)
    for number, version in enumerate(SPREAD):
        assert ({} if number in removed else {0: f"s{number % 7}"}) == index.places(version)
