"""S3 storages before a server that misbehaves on order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.exact_s3 import exact_s3
from tests.support.s3_wire import Wire


@pytest.fixture(scope="session")
def wire_for_all() -> Iterator[Wire]:
    with exact_s3() as server:
        yield Wire(server, request_timeout_s=2)


@pytest.fixture
def wire(wire_for_all: Wire) -> Wire:
    """One server, and one storage that may have learnt from other tests; see `Wire.open`."""
    wire_for_all.reset()
    return wire_for_all
