"""Tests in a real browser. Where there is none they are skipped; `make test-browser` installs it where it can."""

from __future__ import annotations

import pytest

from tests.support.chrome import find_chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_chromium() is None:
        for item in items:
            item.add_marker(
                pytest.mark.skip(reason="no Chromium here; run make test-browser, or apt-get install chromium")
            )
