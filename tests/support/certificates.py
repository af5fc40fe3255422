"""Certificates for servers on `localhost`, by the `openssl` command."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificates(NamedTuple):
    """An authority, and a server that it vouches for."""

    authority_file: Path
    server: ssl.SSLContext


def make_certificates(directory: Path) -> Certificates:
    """Make both; takes a tenth of a second."""

    def run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    def request(name: str, *more: str) -> tuple[str, ...]:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
        return ("req", *key, *more, "-subj", f"/CN={name}")

    run(*request("authority", "-x509", "-days", "2", "-out", "authority.pem"))
    run(*request("localhost", "-out", "localhost.csr"))
    (directory / "extensions").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    run(
        "x509", "-req", "-in", "localhost.csr", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial",
        "-out", "localhost.pem", "-days", "2", "-extfile", "extensions",
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "localhost.pem", directory / "localhost.key")
    return Certificates(directory / "authority.pem", context)
