"""How a run ends that cannot do what it was asked: one line, the right exit status, and no secret anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raycache.cli.main import run
from raycache.cli.session import Session
from raycache.errors import IsADirectoryRequestError, UnavailableError
from tests.support.fake_cache import FakeBackend, FakeCache, session_of

ROOT = Path(__file__).resolve().parents[3]

SECRET = "wJalrXUtnFEMI/K7MDENG%bPxRfiCY"


def failure(capsys: pytest.CaptureFixture[str], status: int, *arguments: str, session: Session | None = None) -> str:
    """Standard error of a run that must end with this status and one line."""
    assert status == run(arguments, session or session_of())
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lss"], "raycache: No such command 'lss'"),
        (["ls", "--nope"], "raycache: No such option '--nope'"),
        (["mount", "/lake"], "raycache: Missing argument 'URI'; see `raycache mount --help`"),
        (["ls", "/a", "/b", "/c"], "raycache: 2 arguments too many; see `raycache ls --help`"),
        (["load"], "raycache: Missing argument 'PATH...'"),
        (["load", "/a", "--replicas", "0"], "raycache: Invalid value for '--replicas'"),
        (
            ["mount", "/l", "s3://b", "--metadata-ttl", "soon"],
            "raycache: Invalid value for '--metadata-ttl': 'soon' is",
        ),
        (["mount", "/l", "s3://b", "-o", "region=a", "-o", "region=b"], "raycache: -o region is given twice"),
        (["start", "--set", "block_size_bytes"], "raycache: --set number 1 is not key=value"),
        (["mount", "lake", "s3://b"], "raycache: path 'lake' is not absolute; write it like /lake"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that cannot be meant is one line on standard error and exit status 2."""
    assert failure(capsys, 2, *arguments).startswith(expected)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`raycache` alone shows what there is, and is wrong usage."""
    assert run([], session_of()) == 2
    assert "Warm-up:" in capsys.readouterr().err


def test_an_error_of_the_cache_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing path fails with status 1, without a traceback."""
    assert failure(capsys, 1, "ls", "/nope") == "raycache: no such file or directory: /nope\n"


def test_no_cache_running_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that needs a cache names the command that starts one."""
    session = Session(FakeBackend())
    assert (
        failure(capsys, 1, "status", session=session)
        == "raycache: no cache runs in this Ray cluster; run `raycache start`\n"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnavailableError("two\nlines"), "raycache: two lines\n"),
        (IsADirectoryRequestError("/lake is a directory"), "raycache: /lake is a directory\n"),
        (ZeroDivisionError("by zero"), "raycache: unexpected ZeroDivisionError: by zero; --debug shows where\n"),
    ],
)
def test_whatever_happens_ends_as_one_line(error: Exception, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of the cache and bugs alike end with status 1 and one line."""
    cache = FakeCache()
    cache.fail_with = error
    assert expected == failure(capsys, 1, "ls", "/lake", session=session_of(cache))


@pytest.mark.parametrize("arguments", [["--debug", "ls", "/nope"], ["ls", "/nope", "--debug"]])
def test_debug_shows_the_traceback_first(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--debug, before or after the verb, puts the traceback before the line."""
    assert run(arguments, session_of()) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("\nraycache: no such file or directory: /nope\n")


def test_ctrl_c_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is interrupted says so in one line and ends with 130."""
    cache = FakeCache()
    cache.fail_with = KeyboardInterrupt()
    assert run(["ls", "/lake"], session_of(cache)) == 130
    assert capsys.readouterr().err.strip() == "raycache: interrupted"


@pytest.mark.parametrize("arguments", [["--address", "h:1", "status"], ["status", "--address", "h:1"]])
def test_the_address_may_stand_anywhere(arguments: list[str]) -> None:
    """The address of the Ray cluster reaches the connection from both sides of the verb."""
    backend = FakeBackend(FakeCache())
    assert run(arguments, Session(backend)) == 0
    assert backend.address == "h:1"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.mark.parametrize("way", ["plain", "env", "file"])
def test_a_secret_arrives_whole_and_is_never_shown(
    way: str, secret_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a secret is given, the cache gets it, and neither tables nor JSON show it."""
    monkeypatch.setenv("MY_SECRET", SECRET)
    written = {"plain": SECRET, "env": "@env:MY_SECRET", "file": f"@file:{secret_file}"}[way]
    cache = FakeCache()
    arguments = ["mount", "/lake", "s3://b", "-o", f"secret_access_key={written}", "-o", "endpoint_url=http://h:1"]
    for form in ([], ["--json"]):
        assert run([*arguments, *form], session_of(cache)) == 0
        assert run(["mounts", *form], session_of(cache)) == 0
    assert cache.options["/lake"] == {"secret_access_key": SECRET, "endpoint_url": "http://h:1"}
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    assert "http://h:1" in captured.out


@pytest.mark.parametrize(
    "option", ["endpoint_url=http://h:1/?sig=hunter2-hunter2", "ca_fil=hunter2-hunter2", "key=hunter2-hunter2"]
)
def test_an_option_nobody_calls_harmless_is_a_secret(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the table of mounts hides, no error shows either; what it shows, errors may show."""
    cache = FakeCache()
    cache.fail_with = ValueError(f"bad {option} and /etc/ca.pem")
    arguments = ["--debug", "mount", "/lake", "s3://b", "-o", option, "-o", "ca_file=/etc/ca.pem"]
    assert run(arguments, session_of(cache)) == 1
    output = "".join(capsys.readouterr())
    assert "hunter2" not in output
    assert "/etc/ca.pem" in output


@pytest.mark.parametrize("spell", [str, repr, lambda text: text.replace("/", "%2F").replace("%b", "%25b")])
def test_no_error_or_traceback_shows_a_secret(spell: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Even an error of others that repeats a secret, quoted or percent-encoded, is shown without it."""
    cache = FakeCache()
    text = spell(SECRET)  # type: ignore[operator]
    cache.fail_with = UnavailableError(f"cannot sign with {text}")
    cache.fail_with.__cause__ = ValueError(f"bad key {text}")
    assert run(["--debug", "mount", "/lake", "s3://b", "-o", f"secret_access_key={SECRET}"], session_of(cache)) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.count("***") == 3
    assert SECRET[:10] not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", f"secret_access_key:{SECRET}"],
        ["-o", "secret_access_key", "=", SECRET],
        ["-o", "secret_access_key=", SECRET],
        [f"--secret_access_key={SECRET}"],
        ["-o", f"secret_access_key=@{SECRET}"],
    ],
)
def test_mistyped_secrets_are_not_repeated(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error does not repeat what may be a secret."""
    assert SECRET not in failure(capsys, 2, "mount", "/lake", "s3://b", *arguments)


def test_a_password_in_a_uri_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """User and password of a URI are taken out of everything."""
    cache = FakeCache()
    assert run(["mount", "/lake", f"s3://someone:{SECRET.replace('/', '')}@b/p", "--json"], session_of(cache)) == 0
    assert json.loads(capsys.readouterr().out)["uri"] == "s3://***:***@b/p"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("@env:NOT_SET_ANYWHERE", "raycache: -o key: the environment variable 'NOT_SET_ANYWHERE' is not set"),
        ("@file:/nonexistent/x", "raycache: -o key: cannot read '/nonexistent/x': No such file or directory"),
    ],
)
def test_a_reference_to_nothing_is_wrong_usage(written: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unset variable and an unreadable file are named."""
    assert failure(capsys, 2, "mount", "/lake", "s3://b", "-o", f"key={written}").startswith(expected)


def test_two_at_signs_stand_for_one() -> None:
    """A value that starts with @ can be given."""
    cache = FakeCache()
    assert run(["mount", "/lake", "s3://b", "-o", "key=@@x=@y"], session_of(cache)) == 0
    assert cache.options["/lake"] == {"key": "@x=@y"}


def test_help_waits_for_neither_ray_nor_arrow() -> None:
    """The program answers at once what does not need the cluster."""
    code = (
        "import sys; from raycache.cli.main import run; status = run(['load', '--help']); "
        "sys.exit(status or sorted({'ray', 'pyarrow', 'boto3', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("files", [1, 20_000])
def test_a_reader_that_stops_reading_is_no_error(files: int) -> None:
    """`raycache ls | head -1` ends without a message of a broken pipe, for a short and a long listing."""
    code = (
        "import sys\n"
        "from tests.support.fake_cache import FakeCache; from raycache.cli import main, session\n"
        f"cache = FakeCache({{f'/lake/{{i}}': i for i in range({files})}})\n"
        "session.RayBackend.connect = lambda *_: cache\n"
        "sys.argv = ['raycache', 'ls', '/lake']; main.main()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT, **pipes) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ctrl_c_that_python_has_lost_still_ends_a_watch(capsys: pytest.CaptureFixture[str]) -> None:
    """It was pressed while something was finalised, where exceptions are printed and forgotten."""
    session = session_of(FakeCache())
    with pytest.raises(KeyboardInterrupt):
        session.interrupt()
    assert run(["stats", "--watch", "1"], session) == 130
    assert capsys.readouterr().err.strip() == "raycache: interrupted"
