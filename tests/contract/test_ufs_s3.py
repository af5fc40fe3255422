"""S3 alone: what its storage does about failures on the wire, wrong credentials, and large objects."""

from __future__ import annotations

import pickle
import random
import socket
import traceback

import pytest

from raycache.errors import (
    ConflictError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
    RaycacheError,
    UnavailableError,
)
from raycache.testing.seaweed import SeaweedServer
from raycache.types import FileVersion
from raycache.ufs.retry import Retrier, RetryPolicy
from raycache.ufs.s3.clients import bucket_region, make_clients
from raycache.ufs.s3.multipart import S3Sizes
from raycache.ufs.s3.options import S3Options
from raycache.ufs.s3.storage import S3Storage
from tests.support.exact_s3 import ACCESS_KEY, SECRET_KEY
from tests.support.s3_wire import ODD, PLAIN, Wire

MIB = 1 << 20


class TestFailures:
    @pytest.mark.parametrize("key", [ODD, PLAIN])
    @pytest.mark.parametrize(
        "failure",
        [(500, "InternalError"), (503, "SlowDown"), (502, ""), (504, ""), (429, ""), (400, "RequestTimeout"),
         "truncate", "short", "drop"],
    )  # fmt: skip
    def test_passing_ones_are_retried(self, wire: Wire, key: str, failure: tuple[int, str] | str) -> None:
        """A read survives a failure that passes, and returns the whole range."""
        wire.server.failures.extend([failure, failure])
        assert bytes(wire.storage.read(key, 2, 6)) == b"234567"
        assert len(wire.server.seen) == 3
        assert len(wire.waits_s) == 2

    @pytest.mark.parametrize("key", [ODD, PLAIN])
    @pytest.mark.parametrize("failure", [(503, "SlowDown"), "truncate", "short", "drop"])
    def test_lasting_ones_end_in_unavailable(self, wire: Wire, key: str, failure: tuple[int, str] | str) -> None:
        """A read that keeps failing ends after the attempts allowed, with an error that names the endpoint."""
        wire.server.failures.extend([failure] * 20)
        with pytest.raises(UnavailableError, match=wire.server.endpoint_url):
            wire.storage.read(key, 0, 10)
        assert len(wire.server.seen) == 4

    @pytest.mark.parametrize("key", [ODD, PLAIN])
    @pytest.mark.parametrize(
        ("failure", "kind"),
        [((403, "AccessDenied"), DeniedError), ((403, "SignatureDoesNotMatch"), DeniedError),
         ((403, "RequestTimeTooSkewed"), DeniedError), ((400, "ExpiredToken"), DeniedError), ((401, ""), DeniedError),
         ((412, "PreconditionFailed"), ConflictError), ((404, "NoSuchKey"), NotFoundError),
         ((400, "InvalidRequest"), InvalidRequestError), ((501, "NotImplemented"), InvalidRequestError)],
    )  # fmt: skip
    def test_refusals_are_not_retried(
        self, wire: Wire, key: str, failure: tuple[int, str], kind: type[RaycacheError]
    ) -> None:
        """What the server refuses for good is asked once, and its error class says what to do."""
        wire.server.failures.append(failure)
        with pytest.raises(kind) as caught:
            wire.storage.read(key, 0, 10)
        assert "s3://exact" in str(caught.value)
        assert len(wire.server.seen) == 1

    def test_all_requests_are_retried(self, wire: Wire) -> None:
        """Every operation survives one failure."""
        for operation in (
            lambda: wire.storage.list(""),
            lambda: wire.storage.head(PLAIN),
            lambda: wire.storage.head(ODD),
            lambda: wire.storage.put(PLAIN, b"x"),
            lambda: wire.storage.put(ODD, b"x"),
            lambda: wire.storage.copy(PLAIN, "copy"),
            lambda: wire.storage.delete([PLAIN]),
            lambda: wire.storage.delete([ODD, "bell\x07"]),
        ):
            wire.server.failures.append((503, "SlowDown"))
            operation()
        assert len(wire.waits_s) == 8

    def test_a_slow_answer_is_cut_off(self, wire: Wire) -> None:
        """A server that does not answer in time is unavailable, and is asked no more than allowed."""
        storage = S3Storage("s3://exact", wire.server.options(request_timeout_s=0.2, retries_max=1))
        wire.server.delay_s = 0.5
        try:
            for key in (PLAIN, ODD):
                with pytest.raises(UnavailableError, match="in time"):
                    storage.read(key, 0, 1)
        finally:
            wire.server.delay_s = 0.0
        assert len(wire.server.seen) == 4

    def test_wrong_region(self, wire: Wire) -> None:
        """A redirect to another region names the option to set, and is not retried."""
        wire.server.failures.append((301, "PermanentRedirect"))
        with pytest.raises(InvalidRequestError, match="set option region"):
            wire.storage.read(PLAIN, 0, 10)
        assert len(wire.server.seen) == 1

    @pytest.mark.parametrize("failure", [None, (403, "AccessDenied")])
    def test_bucket_region(self, wire: Wire, failure: tuple[int, str] | None) -> None:
        """A bucket's region is learnt also by those who may not use it."""
        boto = make_clients("exact", S3Options.parse(wire.server.options())).boto
        if failure:
            wire.server.failures.append(failure)
        assert bucket_region(boto, "exact") == "eu-exact-1"

    def test_endpoint_down(self) -> None:
        """Where nobody listens, the error names the endpoint and what to check."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        options = {"endpoint_url": url, "access_key_id": "a", "secret_access_key": "b", "retries_max": 1}
        storage = S3Storage("s3://exact", options)
        for attempt in (
            lambda: storage.read(PLAIN, 0, 1),
            lambda: storage.read(ODD, 0, 1),
            lambda: storage.list(""),
            lambda: storage.put("k", b"x"),
        ):
            with pytest.raises(UnavailableError, match=f"{url} cannot be reached.*check the endpoint"):
                attempt()

    def test_no_listing(self, wire: Wire) -> None:
        """An answer that is no listing is no empty listing."""
        wire.server.failures.extend([(200, "Whatever")] * 4)
        with pytest.raises(UnavailableError):
            wire.storage.list("")


class TestUploads:
    """With parts of 4 bytes: creation, parts and completion are one request each."""

    CONTENT = b"0123456789"

    @pytest.fixture
    def storage(self, wire: Wire) -> S3Storage:
        wire.server.uploads.clear()
        retrier = Retrier(RetryPolicy(attempts_max=2, backoff_first_s=0.0))
        return S3Storage("s3://exact", wire.server.options(), sizes=S3Sizes(4, 1), retrier=retrier)

    def test_lost_answers(self, wire: Wire, storage: S3Storage) -> None:
        """Each request's answer may get lost once; the object is whole and written once."""
        for position in range(1, 5):  # an upload whose creation's answer is lost stays behind, as S3 cannot tell
            wire.server.failures.extend([*["serve"] * position, "lose"])
            info = storage.put("target", self.CONTENT)
            assert info == storage.head("target")
            assert bytes(wire.server.lake.read("target", 0, 10)) == self.CONTENT
            assert (wire.server.uploads, list(wire.server.failures)) == ({}, [])
            wire.server.lake.delete(["target"])

    def test_a_gone_upload(self, wire: Wire, storage: S3Storage) -> None:
        """An upload that somebody else removed is an error, even if an older object has the name."""
        wire.server.lake.put("target", b"old")
        writer = storage.open_writer("target")
        writer.write(self.CONTENT[:8])  # whole parts, so that only the completion is left
        wire.server.uploads.clear()
        wire.server.failures.append((503, "SlowDown"))
        with pytest.raises(NotFoundError):
            writer.close()
        assert bytes(wire.server.lake.read("target", 0, 3)) == b"old"

    def test_a_gone_upload_is_not_excused_by_chance(self, wire: Wire, storage: S3Storage) -> None:
        """An older object of the same size does not make a first refusal a success."""
        wire.server.lake.put("target", b"same size"[:8])
        writer = storage.open_writer("target")
        writer.write(self.CONTENT[:8])
        wire.server.uploads.clear()
        with pytest.raises(NotFoundError):
            writer.close()

    def test_a_failing_part(self, wire: Wire, storage: S3Storage) -> None:
        """A part that cannot be sent fails the write, and the parts sent so far are removed."""
        wire.server.failures.extend(["serve", "serve", (503, "SlowDown"), (503, "SlowDown")])
        with pytest.raises(UnavailableError):
            storage.put("target", self.CONTENT)
        assert wire.server.uploads == {}
        with pytest.raises(NotFoundError):
            storage.head("target")


class TestVersions:
    @pytest.mark.parametrize("key", [ODD, PLAIN])
    @pytest.mark.parametrize("ignores_conditions", [False, True])
    def test_conflict_even_if_conditions_are_ignored(self, wire: Wire, key: str, ignores_conditions: bool) -> None:
        """A read of another version conflicts also where the store ignores If-Match."""
        wire.server.manners.ignores_conditions = ignores_conditions
        info = wire.server.lake.head(key)
        version = FileVersion(f"s3://exact/{key}", info.size_bytes, info.etag, info.mtime_ns)
        assert bytes(wire.storage.read(key, 0, 1, version)) == b"0"
        wire.server.lake.put(key, b"9876543210")
        with pytest.raises(ConflictError):
            wire.storage.read(key, 0, 1, version)

    @pytest.mark.parametrize("key", [ODD, PLAIN])
    def test_shrunk_even_if_conditions_are_ignored(self, wire: Wire, key: str) -> None:
        """A range that is gone with the version is a conflict, not a bad request."""
        wire.server.manners.ignores_conditions = True
        info = wire.server.lake.put(key, b"0123456789")
        version = FileVersion(f"s3://exact/{key}", info.size_bytes, info.etag, info.mtime_ns)
        wire.server.lake.put(key, b"01")
        with pytest.raises(ConflictError):
            wire.storage.read(key, 5, 3, version)

    def test_copy_of_a_changing_object(self, wire: Wire) -> None:
        """A source that is replaced while it is copied is a conflict: what came back would describe the old one."""
        wire.server.failures.extend(["serve", lambda: wire.server.lake.put(PLAIN, b"other")])
        with pytest.raises(ConflictError):
            wire.storage.copy(PLAIN, "copy")


class TestSecrets:
    def test_never_shown(self, wire: Wire) -> None:
        """No key and no signed text is in any repr, message, field, cause or pickle, whatever the server repeats."""
        wire.server.failures.append((403, "SignatureDoesNotMatch"))
        with pytest.raises(DeniedError) as of_obstore:
            wire.storage.read(PLAIN, 0, 1)
        wire.server.failures.append((403, "SignatureDoesNotMatch"))
        with pytest.raises(DeniedError) as of_boto:
            wire.storage.read(ODD, 0, 1)
        with pytest.raises(InvalidRequestError) as of_options:
            S3Storage("s3://exact", {"access_key_id": ACCESS_KEY, "session_token": SECRET_KEY})
        shown = [repr(wire.storage), str(wire.storage), repr(wire.storage.__dict__)]
        for caught in (of_obstore, of_boto, of_options):
            error = caught.value
            shown += [str(error), repr(error), repr(error.fields), repr(pickle.dumps(error))]
            shown += traceback.format_exception(error)
        for text in shown:
            for secret in (ACCESS_KEY, SECRET_KEY, "secretly", "Signature="):
                assert secret not in text


class TestRealServer:
    def test_wrong_keys(self, s3_server: SeaweedServer, bucket: str) -> None:
        """Wrong keys are denied, and the message says which options to check."""
        for wrong in ({"secret_access_key": "wrong"}, {"access_key_id": "wrong"}):
            storage = S3Storage(f"s3://{bucket}", {**s3_server.options(), **wrong})
            for attempt in (
                lambda s=storage: s.list(""),
                lambda s=storage: s.head("k"),
                lambda s=storage: s.read("k", 0, 1),
                lambda s=storage: s.put("k", b"x"),
            ):
                with pytest.raises(DeniedError, match="check access_key_id"):
                    attempt()

    def test_missing_bucket(self, s3_server: SeaweedServer) -> None:
        """A missing bucket is not found, and the message names the bucket rather than the key."""
        storage = S3Storage("s3://no-such-bucket", s3_server.options())
        for attempt in (lambda: storage.list(""), lambda: storage.head("k"), lambda: storage.read("k", 0, 1)):
            with pytest.raises(NotFoundError, match="bucket s3://no-such-bucket does not exist"):
                attempt()

    def test_large_put(self, s3_server: SeaweedServer, bucket: str) -> None:
        """A large object goes in parts and comes back byte for byte."""
        storage = S3Storage(f"s3://{bucket}", s3_server.options())
        content = random.Random(0).randbytes(16 * MIB + 17)
        info = storage.put("large", content)
        assert info == storage.head("large")
        assert info.etag.endswith('-2"')
        assert bytes(storage.read("large", 0, len(content))) == content

    def test_writer_in_parts(self, s3_server: SeaweedServer, bucket: str) -> None:
        """Pieces of any size become parts of the right size, in order."""
        storage = S3Storage(f"s3://{bucket}", s3_server.options(), sizes=S3Sizes(5 * MIB, 2))
        content = random.Random(1).randbytes(16 * MIB)
        writer = storage.open_writer("w")
        for start in range(0, len(content), 3 * MIB):
            writer.write(content[start : start + 3 * MIB])
        info = writer.close()
        assert info == storage.head("w")
        assert info.etag.endswith('-4"')
        assert bytes(storage.read("w", 0, len(content))) == content

    def test_abort_removes_parts(self, s3_server: SeaweedServer, bucket: str) -> None:
        """An aborted upload leaves neither an object nor parts that cost money."""
        storage = S3Storage(f"s3://{bucket}", s3_server.options(), sizes=S3Sizes(5 * MIB, 2))
        writer = storage.open_writer("w")
        writer.write(bytes(11 * MIB))
        client = s3_server.client()
        assert len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])) == 1
        writer.abort()
        assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
        with pytest.raises(NotFoundError):
            storage.head("w")

    def test_copy_in_parts(self, s3_server: SeaweedServer, bucket: str) -> None:
        """A copy too large for one request goes in parts and keeps content and type."""
        sizes = S3Sizes(5 * MIB, 2, copy_single_bytes_max=6 * MIB, copy_part_size_bytes=5 * MIB)
        storage = S3Storage(f"s3://{bucket}", s3_server.options(), sizes=sizes)
        content = random.Random(2).randbytes(11 * MIB)
        client = s3_server.client()
        client.put_object(Bucket=bucket, Key="from here", Body=content, ContentType="text/x-odd", Metadata={"a": "b"})
        info = storage.copy("from here", "to/there")
        assert info == storage.head("to/there")
        assert bytes(storage.read("to/there", 0, len(content))) == content
        described = client.head_object(Bucket=bucket, Key="to/there")
        assert (described["ContentType"], described["Metadata"]) == ("text/x-odd", {"a": "b"})

    def test_credentials_from_the_environment(
        self, s3_server: SeaweedServer, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without keys in the options the environment's are used, by both clients."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
        storage = S3Storage(f"s3://{bucket}")
        storage.put("k", b"x")
        assert [info.key for info in storage.list("").objects] == ["k"]

    def test_options_beat_the_environment(
        self, s3_server: SeaweedServer, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given options are never mixed with what the environment says, by neither client."""
        for name, value in {
            "AWS_ACCESS_KEY_ID": "stale", "AWS_SECRET_ACCESS_KEY": "stale", "AWS_SESSION_TOKEN": "stale",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
            "AWS_REGION": "eu-nowhere-9", "AWS_SKIP_SIGNATURE": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        storage = S3Storage(f"s3://{bucket}", s3_server.options())
        storage.put("k", b"x")
        assert bytes(storage.read("k", 0, 1)) == b"x"
        assert [info.key for info in storage.list("").objects] == ["k"]
