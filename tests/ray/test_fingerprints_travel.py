"""Fingerprints are the same in the processes that Ray sends functions to."""

from __future__ import annotations

from typing import Any

import pytest
from ray import cloudpickle

from tests.unit.fingerprints.test_fingerprints import DIFFERENT, Scaler, of, uses_helper, uses_table

VALUES = [value for pair in DIFFERENT.values() for value in pair if not hasattr(value, "cache_info")]


@pytest.mark.parametrize("value", [*VALUES, uses_helper, uses_table, Scaler])
def test_what_was_sent_to_another_process_is_the_same(value: Any) -> None:
    """Pickling by value, as Ray does it, changes no fingerprint."""
    assert of(cloudpickle.loads(cloudpickle.dumps(value))) == of(value)
