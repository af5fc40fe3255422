"""`raycache endpoint` and `raycache local`."""

from __future__ import annotations

import json

import pytest

from raycache.cli.main import run
from raycache.cli.session import Session
from tests.support.fake_cache import FakeBackend, FakeCache


def test_the_endpoint_is_started_and_stopped_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Port, address and whether keys are needed reach it; its keys are not shown."""
    backend = FakeBackend(FakeCache())
    assert 0 == run(["endpoint", "start", "--port", "9000", "--host", "0.0.0.0", "--anonymous"], Session(backend))
    assert (9000, "0.0.0.0", True) == backend.endpoint_asked
    assert 0 == run(["start", "--endpoint"], Session(backend))
    assert (None, None, False) == backend.endpoint_asked
    said = capsys.readouterr().out
    assert ("http://127.0.0.1:8269" in said, "the secret" in said) == (True, False)
    assert 0 == run(["endpoint", "stop"], Session(backend))
    assert backend.endpoint_asked is None
    assert 2 == run(["endpoint", "restart"], Session(backend))


def test_its_variables_are_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """They are quoted; and JSON for programs."""
    backend = FakeBackend(FakeCache())
    assert 0 == run(["endpoint", "env"], Session(backend))
    said = capsys.readouterr().out.splitlines()
    assert "export AWS_SECRET_ACCESS_KEY='the secret'" in said
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:8269" in said
    assert 0 == run(["endpoint", "env", "--json"], Session(backend))
    assert "the secret" == json.loads(capsys.readouterr().out)["AWS_SECRET_ACCESS_KEY"]


def test_a_local_path_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else, so that a script can use it."""
    backend = FakeBackend(FakeCache())
    assert 0 == run(["local", "/lake/model", "--memory"], Session(backend))
    assert "/local/memory/lake/model\n" == capsys.readouterr().out
