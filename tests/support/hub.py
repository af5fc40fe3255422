"""A small Hub: one dataset with commits, over HTTP, answering what the client of Hugging Face asks for a read."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

NAME = "owner/data"
TOKEN = "hf_hunter2"
_API, _FILES = f"/api/datasets/{NAME}", f"/datasets/{NAME}/resolve/"


class Hub:
    """As a context manager. `commit` changes the files of the branch `main`."""

    def __init__(self, *, private: bool = False) -> None:
        self.private = private
        #: Content by path, by commit.
        self.commits: dict[str, dict[str, bytes]] = {}
        self.main = ""
        #: "METHOD path range" of each request, without its query.
        self.seen: list[str] = []
        #: Statuses to answer the next requests with.
        self.failures: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(self, **files: bytes | None) -> str:
        """Change files, None removes one; "__" stands for "/", and "_dot_" for "."."""
        changed = dict(self.commits.get(self.main, {}))
        for name, content in files.items():
            path = name.replace("__", "/").replace("_dot_", ".")
            if content is None:
                changed.pop(path)
            else:
                changed[path] = content
        self.main = hashlib.sha1(repr(sorted(changed.items())).encode(), usedforsecurity=False).hexdigest()
        self.commits[self.main] = changed
        return self.main

    def files(self, revision: str) -> dict[str, bytes] | None:
        return self.commits.get(self.main if revision == "main" else revision)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as the Hub describes it; larger ones are LFS's."""
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    found["oid"] = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if len(content) > 1000:
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return found


def _tree(files: dict[str, bytes], directory: str) -> list[dict[str, Any]] | None:
    """What is right in a directory; None where there is none."""
    base = f"{directory}/" if directory else ""
    found: dict[str, dict[str, Any]] = {}
    for path, content in files.items():
        if path.startswith(base):
            name, _, below = path[len(base) :].partition("/")
            folder = {"type": "directory", "path": base + name, "size": 0, "oid": "0" * 40}
            found[name] = folder if below else _entry(path, content)
    return list(found.values()) if found or not base else None


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            hub.seen.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
            if hub.failures:
                self._answer(hub.failures.pop(0), b"later")
            elif hub.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer(401, b"", {"X-Error-Message": "no"})
            elif path.startswith("/stored/"):
                self._stored(path)
            elif path.startswith(_FILES):
                revision, _, name = path.removeprefix(_FILES).partition("/")
                there = name in (hub.files(revision) or {})
                self._answer(302 if there else 404, b"", {"Location": f"/stored/{revision}/{name}"} if there else {})
            elif path == _API or path.startswith(f"{_API}/"):
                self._api(path.removeprefix(_API).strip("/"), form)
            else:
                self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        do_POST = do_HEAD = do_GET  # noqa: N815

        def _api(self, path: str, form: str) -> None:
            verb, _, rest = path.partition("/")
            revision, _, name = rest.partition("/")
            files = hub.files(revision or "main")
            found: Any = None
            if files is None:
                self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return
            if verb in ("", "revision"):
                sha = hub.main if revision in ("", "main") else revision
                found = {"id": NAME, "sha": sha, "siblings": [], "private": hub.private, "tags": [], "downloads": 0}
            elif verb == "paths-info":
                wanted = parse_qs(form)["paths"]
                folders = [
                    {"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in wanted if _tree(files, p)
                ]
                found = [_entry(p, files[p]) for p in wanted if p in files] or folders
            elif verb == "tree":
                found = _tree(files, name)
            if found is None:
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            else:
                self._answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

        def _stored(self, path: str) -> None:
            _, _, revision, name = path.split("/", 3)
            content = (hub.files(revision) or {})[name]
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            span = {"Content-Range": f"bytes {first}-{last}/{len(content)}", "ETag": '"of-the-store"'}
            self._answer(206, content[first : last + 1], span)

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
