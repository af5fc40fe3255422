"""Tests in a real browser. Where there is none they are skipped; `make test-browser` installs it where it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chrome import find_chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this folder. Pytest shows all tests of the run here, also those of other folders."""
    if find_chromium() is None:
        reason = "no Chromium here; run make test-browser, or apt-get install chromium"
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))
