"""Get HDFS for tests, from PyPI and the machine's own compiler: `python -m raycache.testing.stores.hadoop_setup`.

The sdist of pyspark 2.4.8 holds Hadoop 2.7.3 with all that it needs (220 MB); libhdfs, which pyarrow loads, is compiled from the
C sources in the sdist of pydoop 2.0.0 against the machine's JDK.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

#: Where it goes, and where `HdfsServer` looks.
INSTALLED = Path("build/stores/hadoop")
#: Of pyspark's jars: Hadoop's file system and what it needs.
_JARS = re.compile(
    r"(apache-log4j|apacheds|api-|commons-|guava|hadoop-(annotations|auth|common|hdfs)|htrace|jackson|javax|jaxb|jersey|jetty"
    r"|jsp|leveldb|log4j|netty|protobuf|slf4j|xercesImpl|xml-apis|xmlenc)[^/]*\.jar"
)
#: Their setup programs are of their time.
_CONSTRAINTS = "setuptools<70\npypandoc<1.8\n"


def java_home() -> Path | None:
    """The JDK of this machine; None when there is none."""
    named = os.environ.get("JAVA_HOME")
    javac = shutil.which("javac")
    home = Path(named) if named else javac and Path(javac).resolve().parents[1]
    return home if home and (home / "include/jni.h").exists() and next(home.rglob("libjvm.so"), None) else None


def main() -> int:
    """Install it, if it is not there."""
    home = java_home()
    if home is None or shutil.which("gcc") is None:
        _say("no JDK with headers, or no gcc, so no HDFS: what needs it is skipped")
        return 0
    if (INSTALLED / "libhdfs.so").exists():
        return 0
    _say(f"setting up: HDFS, from PyPI, into {INSTALLED} (220 MB to download)")
    downloads = INSTALLED / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    jars = INSTALLED / "jars"
    jars.mkdir(exist_ok=True)
    with tarfile.open(_download("pyspark", "2.4.8", downloads)) as archive:
        for member in archive:
            name = Path(member.name).name
            source = archive.extractfile(member) if "/deps/jars/" in member.name and _JARS.fullmatch(name) else None
            if source is not None:
                (jars / name).write_bytes(source.read())
    with tarfile.open(_download("pydoop", "2.0.0", downloads)) as archive:
        archive.extractall(downloads, filter="data")
    _compile(downloads / "pydoop-2.0.0/src/libhdfs", home)
    shutil.rmtree(downloads)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _download(package: str, version: str, folder: Path) -> Path:
    constraints = folder / "constraints.txt"
    constraints.write_text(_CONSTRAINTS)
    subprocess.run(
        [
            os.environ.get("PYTHON", "python3.11"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-binary", package, "--dest", str(folder), f"{package}=={version}",
        ],
        check=True,
        env={**os.environ, "PIP_CONSTRAINT": str(constraints.absolute())},
    )  # fmt: skip
    return next(folder.glob(f"{package}-{version}.tar.gz"))


def _compile(sources: Path, home: Path) -> None:
    jvm = next(home.rglob("libjvm.so")).parent
    folders = [sources, sources / "common", sources / "os/posix"]
    includes = [*folders, sources / "include", sources / "os", home / "include", home / "include/linux"]
    subprocess.run(
        [
            "gcc", "-O1", "-w", "-fPIC", "-shared", "-o", str(INSTALLED / "libhdfs.so"),
            *(f"-I{folder}" for folder in includes), *(str(path) for folder in folders for path in folder.glob("*.c")),
            f"-L{jvm}", "-ljvm", "-lpthread", f"-Wl,-rpath,{jvm}",
        ],
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
