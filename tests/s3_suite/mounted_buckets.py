"""Lets the suite make its buckets by mounting them, and its clean-up go past the endpoint."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import boto3

from raycache.cache import Cache
from raycache.errors import RaycacheError
from raycache.testing.seaweed import SeaweedServer


class MountedBuckets:
    """A plugin of pytest.

    Args:
        cache: whose endpoint is tested.
        server: the lake.
        checkout: of the suite.
    """

    def __init__(self, cache: Cache, server: SeaweedServer, checkout: Path) -> None:
        self._cache = cache
        self._server = server
        self._checkout = checkout
        self._lake = server.make_bucket("suite")
        self._mounted: list[str] = []
        #: "passed", "failed" or "skipped" by the name of a test.
        self.outcomes: dict[str, str] = {}

    def pytest_configure(self) -> None:
        sys.path.insert(0, str(self._checkout))
        functional: Any = importlib.import_module("s3tests.functional")
        functional.setup = lambda: None
        functional.teardown = self._clean
        boto3.setup_default_session()
        events = boto3.DEFAULT_SESSION.events
        events.register("before-call.s3.CreateBucket", self._create)
        events.register("before-call.s3.DeleteBucket", self._delete)

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.rpartition("/")[2]
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[name] = report.outcome

    def _create(self, params: dict[str, Any], **_: Any) -> None:
        """Mount it; the request itself then finds a bucket that is there."""
        name = urlsplit(params["url"]).path.strip("/")
        if name in self._mounted:
            return
        with contextlib.suppress(RaycacheError):  # a bad name: the endpoint has to say so
            self._cache.mount(f"/{name}", f"s3://{self._lake}/{name}", self._server.options(), readonly=False)
            self._mounted.append(name)

    def _delete(self, params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]] | None:
        name = urlsplit(params["url"]).path.strip("/")
        if name not in self._mounted:
            return None
        self._unmount(name)
        return SimpleNamespace(status_code=204), {"ResponseMetadata": {"HTTPStatusCode": 204}}

    def _clean(self) -> None:
        for name in list(self._mounted):
            self._unmount(name)

    def _unmount(self, name: str) -> None:
        self._mounted.remove(name)
        self._cache.unmount(f"/{name}")
        client = self._server.client()
        listed = client.list_objects_v2(Bucket=self._lake, Prefix=f"{name}/")
        keys: Any = [{"Key": item["Key"]} for item in listed.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=self._lake, Delete={"Objects": keys})
