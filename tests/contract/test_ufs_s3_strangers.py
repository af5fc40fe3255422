"""S3 stores that are not AWS: the right bytes or an error, whatever they make of etags, ranges, HEAD and batches."""

from __future__ import annotations

import itertools
import logging

import pytest

from raycache.errors import ConflictError, DeniedError, InvalidRequestError, NotFoundError, UnavailableError
from raycache.types import FileVersion
from raycache.ufs.base import ObjectInfo
from raycache.ufs.s3.storage import S3Storage
from tests.support.exact_s3 import Manners
from tests.support.s3_wire import ODD, PLAIN, Wire

both_clients = pytest.mark.parametrize("key", [ODD, PLAIN])


def bare(etag: str) -> str:
    return etag.strip('"')


def weak(etag: str) -> str:
    return f"W/{etag}"


def other(etag: str) -> str:
    return f'"other-{bare(etag)}"'


def none(etag: str) -> None:
    return None


def version_of(info: ObjectInfo) -> FileVersion:
    return FileVersion(f"s3://exact/{info.key}", info.size_bytes, info.etag, info.mtime_ns)


def listed(storage: S3Storage, key: str) -> FileVersion:
    return version_of(storage.list(key).objects[0])


class TestEtags:
    @both_clients
    @pytest.mark.parametrize(
        "manners",
        [
            Manners(lists_etag=bare),
            Manners(lists_etag=bare, heads_etag=bare, gets_etag=bare, matches_etag=bare),
            Manners(heads_etag=weak, gets_etag=weak),
            Manners(heads_etag=weak, gets_etag=weak, matches_etag=lambda etag: "a weak one never matches"),
            Manners(matches_etag=bare),
            Manners(lists_etag=other),
            Manners(lists_etag=none),
            Manners(heads_etag=other, gets_etag=other, matches_etag=other),
            Manners(gets_etag=other, matches_etag=other),
            Manners(gets_etag=none),
        ],
    )  # fmt: skip
    def test_a_spelling_is_no_change(self, wire: Wire, key: str, manners: Manners) -> None:
        """However a store spells etags, and wherever a version comes from: it is read; and a change is a conflict."""
        for find in (listed, lambda storage, key: version_of(storage.head(key))):
            wire.reset()
            wire.server.manners = manners
            storage = wire.open()
            version = find(storage, key)
            for start in (0, 3):
                assert bytes(storage.read(key, start, 2, version)) == b"0123456789"[start : start + 2]
            wire.server.later_s = 1 if none in (manners.gets_etag, manners.lists_etag) else 0
            wire.server.lake.put(key, b"9876543210")
            with pytest.raises(ConflictError):
                storage.read(key, 5, 2, version)
            assert bytes(storage.read(key, 5, 2, find(storage, key))) == b"43"

    @both_clients
    def test_learnt_once(self, wire: Wire, key: str) -> None:
        """Another spelling costs requests at the first read of a file; conditions that are not understood, once in all."""
        wire.server.manners = Manners(lists_etag=other)
        storage = wire.open()
        version = listed(storage, key)
        wire.asked()
        for _ in range(5):
            storage.read(key, 0, 2, version)
        assert wire.asked() == {"GET": 6, "HEAD": 1, "LIST": 1}
        wire.server.manners = Manners(matches_etag=bare)
        storage = wire.open()
        for name in (PLAIN, ODD):
            storage.read(name, 0, 2, version_of(wire.server.lake.head(name)))
        assert wire.asked() == {"GET": 3, "HEAD": 1}

    @both_clients
    @pytest.mark.parametrize("ignores_conditions", [False, True])
    def test_another_one_at_every_request(self, wire: Wire, key: str, ignores_conditions: bool) -> None:
        """Nothing tells versions apart then: a read that is bound to one is a conflict after a few requests."""
        numbers = itertools.count()

        def fresh(_: str) -> str:
            return f'"{next(numbers)}"'

        wire.server.manners = Manners(
            lists_etag=fresh,
            heads_etag=fresh,
            gets_etag=fresh,
            matches_etag=fresh,
            ignores_conditions=ignores_conditions,
        )
        storage = wire.open()
        assert bytes(storage.read(key, 3, 2)) == b"34"
        for version in (listed(storage, key), version_of(storage.head(key))):
            wire.asked()
            with pytest.raises(ConflictError, match="no longer the version"):
                storage.read(key, 3, 2, version)
            assert wire.asked().total() <= 5

    def test_no_price_where_all_is_well(self, wire: Wire) -> None:
        """A bound read is one request, and a change costs one HEAD more to be sure of, when its time says so."""
        storage = wire.open()
        version = listed(storage, PLAIN)
        wire.asked()
        storage.read(PLAIN, 0, 2, version)
        assert wire.asked() == {"GET": 1}
        wire.server.later_s = 1
        wire.server.lake.put(PLAIN, b"9876543210")
        with pytest.raises(ConflictError):
            storage.read(PLAIN, 0, 2, version)
        assert wire.asked() == {"GET": 1, "HEAD": 1}

    @pytest.mark.parametrize("manners", [Manners(matches_etag=bare), Manners(matches_etag=weak, heads_etag=weak)])
    def test_copies(self, wire: Wire, manners: Manners) -> None:
        """A condition that is not understood hinders no copy, and one that is still guards it."""
        wire.server.manners = manners
        storage = wire.open()
        storage.copy(PLAIN, "copy")
        assert bytes(storage.read("copy", 0, 10)) == b"0123456789"
        wire.server.failures.extend(["serve", lambda: wire.server.lake.put(PLAIN, b"other")])
        with pytest.raises(ConflictError):
            storage.copy(PLAIN, "copy")

    def test_a_writer_knows_what_it_wrote(self, wire: Wire) -> None:
        """Etags are spelled alike by put, head and list, whatever the answers say."""
        wire.server.manners = Manners(lists_etag=bare, heads_etag=weak, gets_etag=bare)
        storage = wire.open()
        written = storage.put("w", b"abc")
        assert written == storage.head("w") == storage.list("w").objects[0]
        assert bytes(storage.read("w", 0, 3, version_of(written))) == b"abc"


class TestRanges:
    @both_clients
    def test_ignored(self, wire: Wire, key: str, caplog: pytest.LogCaptureFixture) -> None:
        """A store that sends the whole object has the part taken out of it, and that is said once."""
        wire.server.manners = Manners(ignores_ranges=True)
        storage = wire.open()
        version = version_of(storage.head(key))
        with caplog.at_level(logging.WARNING, "raycache"):
            for start, length in ((0, 10), (3, 4), (9, 1), (0, 1)):
                assert bytes(storage.read(key, start, length, version)) == b"0123456789"[start : start + length]
        assert [wire.server.endpoint_url in record.message for record in caplog.records] == [True]
        with pytest.raises(InvalidRequestError, match="it has 10"):
            storage.read(key, 8, 4)
        wire.server.lake.put(key, b"01234")
        with pytest.raises(ConflictError):
            storage.read(key, 3, 4, version)

    def test_ignored_for_large_objects(self, wire: Wire) -> None:
        """The part may lie anywhere in what comes in pieces."""
        content = bytes(range(256)) * (12 << 10)  # 3 MiB
        wire.server.lake.put(PLAIN, content)
        wire.server.manners = Manners(ignores_ranges=True)
        storage = wire.open()
        for start, length in ((0, 1 << 20), ((1 << 20) - 5, 10), (len(content) - 7, 7), (100, len(content) - 200)):
            assert bytes(storage.read(PLAIN, start, length)) == content[start : start + length]

    @both_clients
    def test_another_one(self, wire: Wire, key: str) -> None:
        """Other bytes than those asked for are an error, and none of them is returned."""
        wire.server.manners = Manners(shifts_ranges=1)
        with pytest.raises(UnavailableError, match="another range"):
            wire.open().read(key, 2, 4)


class TestRefusals:
    @both_clients
    @pytest.mark.parametrize("refusal", [(403, ""), (405, ""), (501, ""), (400, "")])
    def test_no_head(self, wire: Wire, key: str, refusal: tuple[int, str]) -> None:
        """Where HEAD is refused, GET or a listing says what stands at a key, or that nothing does."""
        stands = wire.server.lake.head(key)
        wire.server.lake.put("empty", b"")
        for refuses in ({"HEAD": refusal}, {"HEAD": refusal, "GET": (403, "AccessDenied")}):
            wire.server.manners = Manners(refuses=refuses)
            storage = wire.open()
            found = storage.head(key)
            assert found[:3] == stands[:3]
            assert found.mtime_ns // 10**9 == stands.mtime_ns // 10**9
            assert storage.head("empty").size_bytes == 0
            with pytest.raises(NotFoundError):
                storage.head("nothing")

    def test_nothing_but_get(self, wire: Wire) -> None:
        """Where only GET is allowed, files can be described and read; for the rest the words of the refusal stay."""
        wire.server.manners = Manners(refuses=dict.fromkeys(("LIST", "BUCKET", "HEAD"), (403, "AccessDenied")))
        storage = wire.open()
        assert bytes(storage.read(PLAIN, 0, 3, version_of(storage.head(PLAIN)))) == b"012"
        with pytest.raises(DeniedError):
            storage.list("")

    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
    def test_why_a_head_is_refused(self, wire: Wire, code: str) -> None:
        """A HEAD has no body; what is wrong with the credentials is asked for, and said."""
        wire.server.manners = Manners(refuses={"HEAD": (400, ""), "GET": (403, code), "LIST": (403, code)})
        with pytest.raises(DeniedError, match=code):
            wire.open().head(PLAIN)


class TestDeletes:
    KEYS = ("a", "b c", "d//e", "bell\x07")

    @pytest.mark.parametrize(
        "manners",
        [
            Manners(wants_md5=True),
            Manners(refuses={"POST": (501, "NotImplemented")}),
            Manners(refuses={"POST": (405, "MethodNotAllowed")}, misses_deleted=True),
            Manners(refuses={"POST": (400, "InvalidRequest")}),
        ],
    )  # fmt: skip
    def test_whatever_batches_need(self, wire: Wire, manners: Manners) -> None:
        """Objects are deleted where batches need an MD5, and where there are none; missing ones are no error."""
        wire.server.manners = manners
        storage = wire.open()
        for key in self.KEYS:
            wire.server.lake.put(key, b"x")
        storage.delete([*self.KEYS, "nothing"])
        assert [info.key for info in wire.server.lake.list("").objects] == [ODD, PLAIN]
        wire.asked()
        storage.delete(["x", "y"])
        asked = wire.asked()
        assert asked == ({"POST": 1} if manners.wants_md5 else {"DELETE": 2})

    def test_denied(self, wire: Wire) -> None:
        """What may not be deleted is said, by batches and one by one."""
        for refuses in ({"POST": (403, "AccessDenied")}, {"POST": (501, ""), "DELETE": (403, "AccessDenied")}):
            wire.server.manners = Manners(refuses=refuses)
            with pytest.raises(DeniedError):
                wire.open().delete(["a", "b"])

    def test_not_deleted_though_answered(self, wire: Wire) -> None:
        """A batch of which the answer names a failure is an error."""
        wire.server.manners = Manners(keeps=frozenset({"kept"}))
        wire.server.lake.put("kept", b"x")
        with pytest.raises(DeniedError, match="kept"):
            wire.open().delete(["kept", "b"])
