"""What `make dist` builds, as a stranger gets it: installed alone, run by a user's program, checked by a user's mypy.

The environment is `build/installed`: the locked packages that the wheel asks for, none of the test group, and the wheel.
It is made of links into uv's cache, which `make setup` has filled, so it costs seconds and no download; what an earlier
run left there is taken away by uv, which installs exactly what is locked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / "build/installed"
USER_PROGRAM = Path(__file__).with_name("user_program.py")
STATIC = ROOT / "raycache/dashboard/static"
PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "kept.js": ("kept.js", "text/javascript; charset=utf-8"),
    "sizes.js": ("sizes.js", "text/javascript; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml; charset=utf-8"),
}
WORDS = b"one two\nthree\n"


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a program to its good end; returns what it said."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert 0 == ended.returncode, f"{' '.join(map(str, command))}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fresh wheel and a fresh sdist, and nothing else."""
    folder = tmp_path_factory.mktemp("dist")
    # The environment that the tests run in is not to be set up again under their feet.
    run("make", "--old-file=.venv/.stamp", "dist", f"DIST={folder}", MAKEFLAGS="", MAKELEVEL="")
    return folder


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """The folder of programs of the environment that has the wheel."""
    (wheel,) = built.glob("*.whl")
    uv = shutil.which("uv", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
    assert uv, "uv is not here; run make setup"
    # A file that no wheel brings must not survive: with it the test would pass for the wrong reason.
    shutil.rmtree(INSTALLED, ignore_errors=True)
    without_project = ("--frozen", "--no-default-groups", "--no-install-project", "--python", sys.executable)
    run(uv, "sync", "--quiet", *without_project, UV_PROJECT_ENVIRONMENT=str(INSTALLED), VIRTUAL_ENV="")
    run(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", INSTALLED / "bin/python", wheel)
    run(uv, "pip", "check", "--python", INSTALLED / "bin/python")
    return INSTALLED / "bin"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment without this checkout and without any other Ray cluster of the machine."""
    # A short name: those of Ray's sockets must stay below 108 bytes.
    with tempfile.TemporaryDirectory(prefix="rcd-") as folder:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "RAYCACHE_", "PYTHON"))}
        yield {
            **kept,
            "HOME": str(tmp_path_factory.mktemp("home")),
            # Without it Ray looks through the machine's processes, and would join a cluster of somebody else.
            "RAY_ADDRESS": "local",
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            # It looks at the whole machine's memory, which other programs use, too.
            "RAY_memory_monitor_refresh_ms": "0",
        }


def test_wheel_and_sdist_hold_what_they_should(built: Path) -> None:
    """One version in both names, in the package and in its metadata; the page, the types and the license in both."""
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    version = run(sys.executable, "-c", "import raycache; print(raycache.__version__)").strip()
    assert (f"raycache-{version}-py3-none-any.whl", f"raycache-{version}.tar.gz") == (wheel.name, sdist.name)
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "raycache").rglob("*.py")}
    package |= {f"raycache/dashboard/static/{name}" for name, _ in PAGE.values()} | {"raycache/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"raycache-{version}.dist-info/METADATA").decode()
    assert package == {name for name in names if not name.startswith(f"raycache-{version}.dist-info/")}
    assert f"raycache-{version}.dist-info/licenses/LICENSE" in names
    assert f"\nVersion: {version}\n" in metadata
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package | {"README.md", "LICENSE", "pyproject.toml", "tests/dist/test_wheel.py"} <= names
    assert not {name for name in names if name.startswith((".venv", ".tools", "build", "dist"))}


def test_nothing_of_the_test_group_is_there(installed: Path) -> None:
    """The package comes from the wheel, alone with what it asks for."""
    found = run(
        installed / "python", "-Ic", "import importlib.util as u, raycache; print(raycache.__file__, u.find_spec('pytest'))"
    )
    assert f"{INSTALLED}/lib/" in found
    assert found.endswith(" None\n")


def test_the_command_line_is_there(installed: Path) -> None:
    """`raycache --help` names the verbs, and `--version` the version of the wheel."""
    shown = run(installed / "raycache", "--help")
    assert all(f"\n  {verb} " in shown for verb in ("start", "load", "stats", "top", "dashboard"))
    version = run(sys.executable, "-c", "import raycache; print(raycache.__version__)")
    assert f"raycache {version}" == run(installed / "raycache", "--version")


def test_types_reach_a_user_program(installed: Path, tmp_path: Path) -> None:
    """Strict mypy passes on the user's program, sees the package's types in it, and finds a wrong use."""
    shutil.copy(USER_PROGRAM, tmp_path / "right.py")
    (tmp_path / "wrong.py").write_text(
        "import raycache\n\n"
        "cache: int = raycache.connect()\n"
        "raycache.connect().read(7)\n"
        "raycache.connect().ls('/lake')[0].path\n"
        "raycache.connect().stats().total.hit_count\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={INSTALLED / 'mypy'}",
         "--python-executable", installed / "python", "right.py", "wrong.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    found = [line.partition(": error:")[0] for line in checked.stdout.splitlines() if ": error:" in line]
    assert ["wrong.py:3", "wrong.py:4", "wrong.py:5", "wrong.py:6"] == found, checked.stdout + checked.stderr


def test_a_user_program_runs(installed: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    """It starts a Ray cluster and a cache, reads a directory in every way, and its dashboard shows the whole page."""
    (tmp_path / "lake/rows").mkdir(parents=True)
    (tmp_path / "lake/words.txt").write_bytes(WORDS)
    for part in range(2):
        pq.write_table(pa.table({"x": [1.5, part], "y": ["a", "b"]}), tmp_path / f"lake/rows/{part}.parquet")
    program = subprocess.Popen(
        [installed / "python", "-I", USER_PROGRAM, tmp_path / "lake"],
        env=elsewhere, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None and program.stdin is not None and program.stderr is not None
        line = program.stdout.readline()
        assert line, (program.wait(60), program.stderr.read())
        found = json.loads(line)
        url = found.pop("dashboard")
        assert "/lake/missing does not exist" in found.pop("missing")
        assert found == {
            "loaded": "SUCCEEDED",
            "entries": [["rows", 0], ["words.txt", len(WORDS)]],
            "bytes": "one t",
            "first_line": "one two\n",
            "size": len(WORDS),
            "words": 3,
            "total": 4.0,
            "complete": True,
            "hit_rate": 1.0,
            "nodes": 1,
        }
        for path, (name, kind) in PAGE.items():
            with urllib.request.urlopen(url + path, timeout=30) as answer:
                assert (200, kind) == (answer.status, answer.headers["Content-Type"]), path
                assert (STATIC / name).read_bytes() == answer.read()
        with urllib.request.urlopen(f"{url}api/view?view=data", timeout=30) as answer:
            assert ["/lake"] == [row["name"] for row in json.load(answer)["rows"]]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}nothing", timeout=30)
        program.stdin.close()
        assert 0 == program.wait(60), program.stderr.read()
    finally:
        program.kill()
        program.wait()
