"""An S3 storage before a server that fails, or misbehaves, on order; its waits cost no time."""

from __future__ import annotations

import random
from collections import Counter
from urllib.parse import parse_qs, urlsplit

from raycache.clock import ManualClock
from raycache.ufs.retry import Retrier, RetryPolicy
from raycache.ufs.s3.storage import S3Storage
from tests.support.exact_s3 import ExactS3, Manners

#: The first goes through boto3, the second through obstore.
ODD, PLAIN = "a//odd", "plain"


class Wire:
    """One storage and its server."""

    def __init__(self, server: ExactS3, **options: object) -> None:
        self.server = server
        self.clock = ManualClock()
        self.waits_s: list[float] = []
        self._options = options
        self.storage = self.open()

    def open(self, **options: object) -> S3Storage:
        """A storage that has learnt nothing yet."""
        retrier = Retrier(
            RetryPolicy(attempts_max=4, total_s=60), clock=self.clock, sleep=self._sleep, random_source=random.Random(1)
        )
        return S3Storage("s3://exact", self.server.options(**{**self._options, **options}), retrier=retrier)

    def reset(self) -> None:
        """Forget what happened; the bucket holds `ODD` and `PLAIN`, of ten bytes each."""
        self.server.failures.clear()
        self.server.manners = Manners()
        self.server.later_s = 0
        self.server.lake.delete([info.key for info in self.server.lake.list("").objects])
        for key in (ODD, PLAIN):
            self.server.lake.put(key, b"0123456789")
        self.server.seen.clear()
        self.server.heads.clear()
        self.server.proxied = 0
        self.waits_s.clear()

    def asked(self) -> Counter[str]:
        """How often the server was asked for what, since the last call: HEAD, GET, PUT, DELETE, POST, or LIST."""
        counted = Counter(_verb(*request) for request in self.server.seen)
        self.server.seen.clear()
        return counted

    def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.clock.advance(seconds)


def _verb(method: str, target: str) -> str:
    return "LIST" if "list-type" in parse_qs(urlsplit(target).query) else method
