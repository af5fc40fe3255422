"""Segments in pieces: one array for the reader, without a copy where they lie side by side."""

from __future__ import annotations

import pickle

import numpy as np

from raycache.workers.stores.assembly import Pieces, as_one_array, joinable

WHOLE = np.arange(256, dtype=np.uint8)


def test_consecutive_buffers_are_one_array_over_the_same_memory() -> None:
    """As Ray lays them out: read-only, and alive as long as the array is."""
    found = as_one_array(WHOLE[:64], WHOLE[64:192], WHOLE[192:])
    assert found.tobytes() == WHOLE.tobytes()
    assert np.shares_memory(found, WHOLE)
    assert not found.flags.writeable


def test_buffers_with_a_gap_are_copied() -> None:
    """Whatever a later Ray does with them, the bytes are right."""
    found = as_one_array(WHOLE[:64], WHOLE[65:100])
    assert found.tobytes() == WHOLE[:64].tobytes() + WHOLE[65:100].tobytes()


def test_pickled_pieces_become_one_array() -> None:
    """Out of band, as Ray does, without a copy of the pieces."""
    buffers: list[pickle.PickleBuffer] = []
    blob = pickle.dumps(Pieces([WHOLE[:64], WHOLE[64:]]), protocol=5, buffer_callback=buffers.append)
    assert len(blob) < 200
    assert np.shares_memory(pickle.loads(blob, buffers=buffers), WHOLE)


def test_only_pieces_of_aligned_sizes_are_joinable() -> None:
    """The last may have any size."""
    assert joinable([8 << 20, 64, 3])
    assert joinable([5])
    assert not joinable([8 << 20, 65, 3])
