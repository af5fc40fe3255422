"""What every UnderStorage promises, on every kind of lake, a real S3 server among them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from raycache.errors import ConflictError, InvalidRequestError, NotFoundError
from raycache.types import FileVersion
from raycache.ufs.base import ListPage
from raycache.ufs.memory import MemoryStorage
from raycache.ufs.trees import check_directory
from tests.support.stores import StoreOfAKind, files_of, fill, keys_of, pages, version_of


class TestObjects:
    @pytest.mark.parametrize("size", [1, 3, 100_000])
    def test_put_then_read(self, lake: StoreOfAKind, size: int) -> None:
        """What was put is what is read, whole and in part."""
        content = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        info = lake.storage.put("dir/file", content)
        assert (info.key, info.size_bytes) == ("dir/file", size)
        assert content.tobytes() == bytes(lake.storage.read("dir/file", 0, size))
        assert content.tobytes()[size - 1 :] == bytes(lake.storage.read("dir/file", size - 1, 1))
        middle = size // 3
        assert content.tobytes()[middle : middle + 1] == bytes(lake.storage.read("dir/file", middle, 1))

    def test_put_head_and_list_agree(self, lake: StoreOfAKind) -> None:
        """An object is described alike by put, head and list, so that all name the same version."""
        written = lake.storage.put("a/b", b"content")
        assert written == lake.storage.head("a/b")
        assert [written] == lake.storage.list("a/").objects
        assert written.etag or written.mtime_ns

    def test_empty_object(self, lake: StoreOfAKind) -> None:
        """An object may be empty."""
        lake.storage.put("empty", b"")
        assert lake.storage.head("empty").size_bytes == 0
        assert keys_of(lake.storage) == ["empty"]

    def test_put_replaces(self, lake: StoreOfAKind) -> None:
        """A put replaces the object, and the new one is another version."""
        old = lake.storage.put("k", b"old")
        new = lake.storage.put("k", b"newer")
        assert version_of(lake.storage, old).id() != version_of(lake.storage, new).id()
        assert bytes(lake.storage.read("k", 0, 5)) == b"newer"

    def test_read_of_another_version_conflicts(self, lake: StoreOfAKind) -> None:
        """A read bound to a version that is no longer there is a conflict, also when the size is the same."""
        if lake.kind == "arrow-mock":
            pytest.skip("its clock stands still, and it has no etags")
        old = version_of(lake.storage, lake.storage.put("k", b"old"))
        assert bytes(lake.storage.read("k", 0, 2, old)) == b"ol"
        while version_of(lake.storage, lake.storage.put("k", b"new")).mtime_ns == old.mtime_ns and not old.etag:
            pass  # the clock of files ticks a few hundred times a second
        with pytest.raises(ConflictError):
            lake.storage.read("k", 0, 2, old)

    def test_each_put_is_a_version(self, lake: StoreOfAKind) -> None:
        """What is written here over something of the same size is another version, however soon."""
        if lake.kind in ("local", "arrow-local", "arrow-mock"):
            pytest.skip("only to the tick of its clock")
        infos = [lake.storage.put("k", b"%d" % number) for number in range(3)]
        assert len({version_of(lake.storage, info).id() for info in infos}) == 3

    def test_read_of_a_shrunk_object_conflicts(self, lake: StoreOfAKind) -> None:
        """A bound read past the end of a smaller successor is a conflict, not a bad request."""
        old = version_of(lake.storage, lake.storage.put("k", b"a long content"))
        lake.storage.put("k", b"x")
        with pytest.raises(ConflictError):
            lake.storage.read("k", 8, 4, old)

    def test_missing(self, lake: StoreOfAKind) -> None:
        """A missing object is NotFoundError for head, read and copy, with its URI in the message."""
        fill(lake.storage, "there/x")
        version = FileVersion(f"{lake.storage.root_uri}/no/such", 3, '"e"', 1)
        for attempt in (
            lambda: lake.storage.head("no/such"),
            lambda: lake.storage.read("no/such", 0, 1),
            lambda: lake.storage.read("no/such", 0, 1, version),
            lambda: lake.storage.copy("no/such", "target"),
        ):
            with pytest.raises(NotFoundError) as caught:
                attempt()
            assert "no/such" in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_below_a_file(self, lake: StoreOfAKind) -> None:
        """A key below a file is missing, not an odd error."""
        fill(lake.storage, "file")
        for attempt in (lambda: lake.storage.head("file/x"), lambda: lake.storage.read("file/x", 0, 1)):
            with pytest.raises(NotFoundError):
                attempt()
        assert lake.storage.list("file/")[:2] == ([], [])
        lake.storage.delete(["file/x"])

    def test_a_directory_is_no_object(self, lake: StoreOfAKind) -> None:
        """The name of a directory is not an object, nor is the root."""
        fill(lake.storage, "d/x")
        for key in ("d", ""):
            with pytest.raises(NotFoundError):
                lake.storage.head(key)
        with pytest.raises(NotFoundError):
            lake.storage.read("d", 0, 1)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 0), (0, -1), (0, 4), (3, 1), (100, 1)])
    def test_bad_range(self, lake: StoreOfAKind, offset: int, length: int) -> None:
        """A range outside the object is refused rather than cut."""
        lake.storage.put("k", b"abc")
        with pytest.raises(InvalidRequestError):
            lake.storage.read("k", offset, length)

    def test_delete(self, lake: StoreOfAKind) -> None:
        """Delete removes what is there and does not mind what is not; a directory's name is no object."""
        fill(lake.storage, "a", "b", "c/d", "e")
        lake.storage.delete(["a", "nothing", "c/d", "c", "no/where/at/all"])
        assert [key for key in keys_of(lake.storage) if not key.endswith("/")] == ["b", "e"]
        lake.storage.delete([])

    def test_delete_many(self, lake: StoreOfAKind) -> None:
        """More keys than fit into one request of S3 are deleted in one call."""
        lake.storage.put("kept", b"1")
        fill(lake.storage, *(f"m/{n:04d}" for n in range(20)))
        lake.storage.delete([f"m/{n:04d}" for n in range(1100)])
        assert [key for key in keys_of(lake.storage) if not key.endswith("/")] == ["kept"]

    def test_copy(self, lake: StoreOfAKind) -> None:
        """A copy has the source's content, replaces the target, and is described by what comes back."""
        fill(lake.storage, "a b/source", "target/x")
        info = lake.storage.copy("a b/source", "target/x")
        assert info == lake.storage.head("target/x")
        assert bytes(lake.storage.read("target/x", 0, 10)) == b"a b/source"
        assert bytes(lake.storage.read("a b/source", 0, 10)) == b"a b/source"
        copied = lake.storage.copy("a b/source", "new/dir/y")
        assert copied.size_bytes == 10
        assert bytes(lake.storage.read("new/dir/y", 0, 10)) == b"a b/source"

    def test_copy_to_itself(self, lake: StoreOfAKind) -> None:
        """A copy onto itself leaves the object as it was."""
        before = lake.storage.put("k", b"abc")
        assert before == lake.storage.copy("k", "k")
        assert bytes(lake.storage.read("k", 0, 3)) == b"abc"

    def test_put_needs_a_name(self, lake: StoreOfAKind) -> None:
        """The root is no file to write."""
        for attempt in (lambda: lake.storage.put("", b"x"), lambda: lake.storage.open_writer("")):
            with pytest.raises(InvalidRequestError):
                attempt()


class TestWriters:
    def test_appears_at_close(self, lake: StoreOfAKind) -> None:
        """What is written piece by piece appears whole at close, and nothing of it before."""
        writer = lake.storage.open_writer("d/w")
        assert writer.write(b"abc") == 3
        assert writer.write(memoryview(b"de")) == 2
        assert [key for key in keys_of(lake.storage) if not key.endswith("/")] == []
        with pytest.raises(NotFoundError):
            lake.storage.head("d/w")
        info = writer.close()
        assert info == writer.close()
        assert info == lake.storage.head("d/w")
        writer.abort()
        assert bytes(lake.storage.read("d/w", 0, 5)) == b"abcde"
        assert keys_of(lake.storage) == ["d/w"]

    def test_replaces_only_at_close(self, lake: StoreOfAKind) -> None:
        """The old object stays readable until the writer closes."""
        old = version_of(lake.storage, lake.storage.put("k", b"old"))
        writer = lake.storage.open_writer("k")
        writer.write(b"fresh")
        assert bytes(lake.storage.read("k", 0, 3, old)) == b"old"
        writer.close()
        assert bytes(lake.storage.read("k", 0, 5)) == b"fresh"

    def test_abort(self, lake: StoreOfAKind) -> None:
        """An aborted writer leaves nothing, and the old object as it was."""
        lake.storage.put("k", b"old")
        writer = lake.storage.open_writer("k")
        writer.write(b"new")
        writer.abort()
        writer.abort()
        assert bytes(lake.storage.read("k", 0, 3)) == b"old"
        assert keys_of(lake.storage) == ["k"]
        for attempt in (writer.close, lambda: writer.write(b"more")):
            with pytest.raises(InvalidRequestError):
                attempt()

    def test_empty_writer(self, lake: StoreOfAKind) -> None:
        """A writer closed without a write makes an empty object."""
        assert lake.storage.open_writer("e").close().size_bytes == 0
        assert lake.storage.head("e").size_bytes == 0


class TestListings:
    KEYS = ("a", "b/1", "b/2", "b/sub/x", "b/sub/y", "b.txt", "b-", "c/deep/er/z", "\u00fc", "z")

    @pytest.mark.parametrize("limit", [1, 3, 1000])
    def test_flat(self, lake: StoreOfAKind, limit: int) -> None:
        """Pages of any size give each key once, in order, and never more than asked for."""
        fill(lake.storage, *self.KEYS)
        found = pages(lambda token: lake.storage.list("", limit=limit, token=token))
        keys = [info.key for page in found for info in page.objects]
        assert sorted(self.KEYS) == (keys if lake.ordered else sorted(keys))
        assert all(len(page.objects) <= limit and not page.prefixes for page in found)

    @pytest.mark.parametrize("limit", [1, 3, 1000])
    def test_delimiter(self, lake: StoreOfAKind, limit: int) -> None:
        """With a delimiter each directory comes once, as a prefix, also over pages."""
        if limit < 1000 and not lake.pages_prefixes:
            pytest.skip("this server gives all prefixes with each page")
        fill(lake.storage, *self.KEYS)
        for prefix in ("", "b", "b/", "b/s", "c/", "c/deep", "nothing"):
            found = pages(lambda token, p=prefix: lake.storage.list(p, delimiter=True, limit=limit, token=token))
            rolled = {(k[: k.index("/", len(prefix)) + 1] if "/" in k[len(prefix) :] else k)
                      for k in self.KEYS if k.startswith(prefix)}  # fmt: skip
            objects = [info.key for page in found for info in page.objects]
            prefixes = [name for page in found for name in page.prefixes]
            assert sorted(r for r in rolled if r.endswith("/")) == sorted(prefixes)
            assert sorted(r for r in rolled if not r.endswith("/")) == sorted(objects)
            assert all(len(page.objects) + len(page.prefixes) <= limit for page in found)

    def test_prefix_is_text(self, lake: StoreOfAKind) -> None:
        """A prefix need not end at a slash, and one that nothing starts with gives an empty page."""
        fill(lake.storage, *self.KEYS)
        assert keys_of(lake.storage, "b/su") == ["b/sub/x", "b/sub/y"]
        assert sorted(keys_of(lake.storage, "b")) == ["b-", "b.txt", "b/1", "b/2", "b/sub/x", "b/sub/y"]
        assert keys_of(lake.storage, "bb") == []
        assert keys_of(lake.storage, "no/where/") == []

    @pytest.mark.parametrize("limit", [1, 1000])
    def test_start_after(self, lake: StoreOfAKind, limit: int) -> None:
        """start_after leaves out that key and all before it, whether or not there is such a key."""
        fill(lake.storage, "d/a", "d/b", "d/c", "e")
        assert keys_of(lake.storage, start_after="d/b", limit=limit) == ["d/c", "e"]
        assert keys_of(lake.storage, "d/", start_after="d/bb", limit=limit) == ["d/c"]
        assert keys_of(lake.storage, start_after="x", limit=limit) == []

    def test_tokens_outlive_their_walk(self, lake: StoreOfAKind) -> None:
        """A token works twice, and after many other listings have begun."""
        fill(lake.storage, *(f"{d}/{n}" for d in "ab" for n in range(4)))
        first = lake.storage.list("", limit=3)
        for _ in range(40):
            lake.storage.list("", limit=1)
        again = [lake.storage.list("", limit=3, token=first.next_token) for _ in range(2)]
        assert [[info.key for info in page.objects] for page in again] == [["a/3", "b/0", "b/1"]] * 2

    def test_live_changes(self, lake: StoreOfAKind) -> None:
        """What appears or vanishes between two pages does no harm to the others."""
        fill(lake.storage, *(f"d/{n}" for n in range(6)))
        first = lake.storage.list("d/", limit=2)
        lake.storage.delete(["d/1", "d/2"])
        fill(lake.storage, "d/00")
        rest = lake.storage.list("d/", token=first.next_token)
        assert [info.key for info in first.objects] == ["d/0", "d/1"]
        assert [info.key for info in rest.objects if info.key != "d/2"] == ["d/3", "d/4", "d/5"]

    @pytest.mark.parametrize("limit", [0, 1001, -1])
    def test_bad_limit(self, lake: StoreOfAKind, limit: int) -> None:
        """A page holds 1 to 1,000 entries."""
        with pytest.raises(InvalidRequestError):
            lake.storage.list("", limit=limit)

    def test_empty_lake(self, lake: StoreOfAKind) -> None:
        """A lake with nothing in it lists nothing."""
        assert ListPage([], [], None) == lake.storage.list("")
        assert ListPage([], [], None) == lake.storage.list("", delimiter=True)


class TestDirectories:
    def test_only_one_that_is_there_can_be_mounted(self, lake: StoreOfAKind) -> None:
        """With files, or made empty, it will do; else there is none of that name, where names of directories count."""
        storage = lake.storage
        storage.put("d/e/f", b"1")
        storage.put("empty/", b"")
        storage.put("empty-too/x", b"1")
        for key in ("", "d", "d/e", "empty"):
            check_directory(storage, key)
        for key in ("d/e/f", "d/g", "empt", "nowhere/at/all"):
            if storage.has_directories:
                with pytest.raises(NotFoundError, match=f"no directory .*{key};"):
                    check_directory(storage, key)
            else:
                check_directory(storage, key)

    def test_markers(self, lake: StoreOfAKind) -> None:
        """A marker object, or an empty directory, is listed as an object of size 0 whose key ends in a slash."""
        lake.storage.put("m/empty/", b"")
        lake.storage.put("m/x", b"1")
        assert [i[:2] for i in lake.storage.list("").objects] == [("m/empty/", 0), ("m/x", 1)]
        page = lake.storage.list("m/", delimiter=True)
        assert ([info.key for info in page.objects], page.prefixes) == (["m/x"], ["m/empty/"])
        assert [info.key for info in lake.storage.list("m/empty/", delimiter=True).objects] == ["m/empty/"]
        lake.storage.delete(["m/empty/"])
        assert keys_of(lake.storage) == ["m/x"]

    def test_make_and_remove(self, lake: StoreOfAKind) -> None:
        """A directory can be made with all above it and removed when empty; where there are none, both do nothing."""
        lake.storage.make_directory("p/q/r")
        lake.storage.make_directory("p/q/r")
        expected = ["p/q/r/"] if lake.storage.has_directories else []
        assert expected == keys_of(lake.storage)
        lake.storage.remove_directory("p/q/r")
        assert (["p/q/"] if expected else []) == keys_of(lake.storage)
        lake.storage.remove_directory("p/q/r")

    def test_remove_refuses_what_is_not_empty(self, lake: StoreOfAKind) -> None:
        """A directory with something in it is not removed."""
        fill(lake.storage, "d/x")
        with pytest.raises(InvalidRequestError):
            lake.storage.remove_directory("d")
        assert keys_of(lake.storage) == ["d/x"]


ODD_KEYS = (
    "sp ace", "plus+", "per%cent", "per%20cent", "q?x=1&y", "hash#", "a&b=c;d", "quote'\"", "<xml>&amp;",
    "star*", "[glob]{1}", "~tilde", "co:lon", "uni/\u00fc/\u65e5\u672c", "nfd-e\u0301", "emoji \U0001f600", "trail ", ".dot",
    "..dots..", "x/" + "long" * 50,
)  # fmt: skip
LITERAL_KEYS = (
    "a//b", "/lead", "//lead2", "trail//x", "a/./b", "a/../b", ".", "..", "tab\t", "line\n", "return\r", "bell\x07",
    "del\x7f", "\uffff", "back\\slash", "a/", "a//",
)  # fmt: skip


class TestKeys:
    def test_taken_literally(self, lake: StoreOfAKind) -> None:
        """A key is taken as it is by every operation."""
        for key in filter(lake.has_name, (*ODD_KEYS, *(LITERAL_KEYS if lake.literal else ()))):
            self.check_key(lake, key)

    def check_key(self, lake: StoreOfAKind, key: str) -> None:
        storage = lake.storage
        content = b"" if key.endswith("/") else key.encode()
        info = storage.put(key, content)
        assert (key, len(content)) == info[:2]
        assert info == storage.head(key)
        assert [info] == files_of(storage)
        assert [info] == storage.list(key).objects
        assert [] == storage.list(key, start_after=key).objects
        if content:
            assert content == bytes(storage.read(key, 0, len(content), version_of(storage, info)))
        copy = storage.copy(key, "copy of " + key.strip("/"))
        assert copy == storage.head(copy.key)
        writer = storage.open_writer(key)
        writer.write(content)
        again = writer.close()
        assert info[:2] == again[:2]
        assert info.etag == again.etag or not lake.names_content
        storage.delete([key])
        assert [copy] == files_of(storage)
        storage.delete([copy.key])

    def test_literal_keys_together(self, lake: StoreOfAKind) -> None:
        """Keys that differ only in slashes are different objects, where the store keeps no directories."""
        keys = sorted({*LITERAL_KEYS, "a/b", "lead", "a"} if lake.literal else {"a/b", "lead"})
        for key in keys:
            lake.storage.put(key, key.encode())
        assert keys == keys_of(lake.storage)
        assert keys == keys_of(lake.storage, limit=1)
        assert all(key.encode() == bytes(lake.storage.read(key, 0, len(key.encode()))) for key in keys)
        page = lake.storage.list("a/", delimiter=True)
        expected = (["a/", "a/b"], ["a/../", "a/./", "a//"]) if lake.literal else (["a/b"], [])
        assert expected == ([info.key for info in page.objects], page.prefixes)


@pytest.mark.parametrize("lake", ["local", "arrow-local", "arrow-mock"], indirect=True)
@pytest.mark.parametrize("key", ["a//b", "/lead", "a/../b", "..", "a/.", "nul\0"])
def test_unsayable_keys(lake: StoreOfAKind, key: str) -> None:
    """Where keys are paths, an impossible one is refused for writing, missing for reading, and lists nothing."""
    fill(lake.storage, "a/b", "lead", "b")
    with pytest.raises(InvalidRequestError):
        lake.storage.put(key, b"x")
    for attempt in (lambda: lake.storage.head(key), lambda: lake.storage.read(key, 0, 1)):
        with pytest.raises(NotFoundError):
            attempt()
    assert keys_of(lake.storage, key) == []


def test_hundred_thousand_keys() -> None:
    """A prefix of 100,000 keys is listed in pages of 1,000, each key once."""
    storage = MemoryStorage()
    for n in range(100_000):
        storage.put(f"p/{n:06d}", b"")
    found = pages(lambda token: storage.list("p/", token=token))
    assert len(found) == 100
    assert [f"p/{n:06d}" for n in range(100_000)] == list(
        itertools.chain.from_iterable([info.key for info in page.objects] for page in found)
    )
