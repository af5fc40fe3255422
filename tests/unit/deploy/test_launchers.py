"""The files for Ray's cluster launcher and for Slurm: Ray's own schema, and the shell, take them; so does our command line."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raycache.cli.main import cli

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
LAUNCHED = sorted((DEPLOY / "vm").glob("*.yaml"))
SLURM = DEPLOY / "slurm" / "raycache.sbatch"


def ray_schema() -> Any:
    """Of the file that `ray up` reads; found without importing Ray."""
    spec = importlib.util.find_spec("ray")
    assert spec
    assert spec.origin
    return json.loads((Path(spec.origin).parent / "autoscaler/ray-schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_ray_up_takes_it(path: Path) -> None:
    """Every field is one of Ray's schema; the node types that are named exist."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(found, ray_schema())
    types = found.get("available_node_types", {})
    assert found.get("head_node_type") in {None, *types}
    assert sum(kind.get("min_workers", 0) for kind in types.values()) <= found["max_workers"]


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.*")), ids=lambda path: path.name)
def test_the_command_line_knows_what_they_call(path: Path) -> None:
    """Each call of `raycache start` and its like has verbs and options that exist."""
    text = re.sub(
        r"\s*\\\n\s*|\n\s+&&", lambda found: " &&" if "&&" in found[0] else " ", path.read_text(encoding="utf-8")
    )
    calls = re.findall(r"^[^#\n]*?\braycache (start|stop|dashboard|endpoint)\b([^\n&'>|]*)", text, re.MULTILINE)
    assert calls or path.name not in {"start-cache.yaml", "aws.yaml", "on-premise.yaml", SLURM.name}
    for verb, arguments in calls:
        words = [word.strip('"') for word in arguments.split()]
        cli.commands[verb].make_context(verb, words)


def test_the_batch_script_is_right() -> None:
    """For the shell, and for shellcheck where it is installed."""
    assert "" == subprocess.run(["bash", "-n", SLURM], capture_output=True, text=True, check=False).stderr
    checker = shutil.which("shellcheck")
    if checker is not None:
        assert "" == subprocess.run([checker, SLURM], capture_output=True, text=True, check=False).stdout
