"""The fsspec filesystem on a real cluster, over a disk and over S3 behind a counting proxy."""

from __future__ import annotations

import gc
import io
import pickle
from pathlib import Path

import fsspec
import pyarrow.fs as pafs
import pytest
import ray

import raycache
from raycache.cache import Cache
from raycache.errors import (
    AlreadyExistsError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
)
from raycache.filesystems.fsspec import RaycacheFileSystem
from raycache.testing.seaweed import SeaweedServer
from tests.support.lake import Lake, content

MIB = 1 << 20


# --- fsspec: looking ------------------------------------------------------------------------------------------------------


def test_listing_and_info_agree(fs: RaycacheFileSystem, place: str) -> None:
    """`ls`, `info`, `find`, `walk`, `glob` and `du` describe the same files in the same words."""
    fs.pipe({f"{place}/a.bin": b"123", f"{place}/sub/b.bin": b"4567", f"{place}/sub/deep/c.txt": b""})
    assert [f"{place}/a.bin", f"{place}/sub"] == fs.ls(place, detail=False)
    assert [fs.info(f"{place}/a.bin"), fs.info(f"{place}/sub")] == fs.ls(place)
    info = fs.info(f"{place}/a.bin")
    assert ("file", 3) == (info["type"], info["size"])
    assert info["mtime"] == info["LastModified"] == fs.modified(f"{place}/a.bin") == fs.created(f"{place}/a.bin")
    assert "directory" == fs.info(f"{place}/sub")["type"]
    files = [f"{place}/a.bin", f"{place}/sub/b.bin", f"{place}/sub/deep/c.txt"]
    assert files == fs.find(place)
    assert files[:2] == fs.find(place, maxdepth=2)
    assert sorted([place, f"{place}/sub", f"{place}/sub/deep", *files]) == fs.find(place, withdirs=True)
    assert [] == fs.find(f"{place}/nothing")
    assert 7 == fs.du(place)
    assert [f"{place}/a.bin", f"{place}/sub/b.bin"] == fs.glob(f"{place}/**/*.bin")
    assert [f"{place}/a.bin"] == fs.glob(f"{place}/*.bin")
    walked = [(path, dirs, names) for path, dirs, names in fs.walk(place)]
    assert [(place, ["sub"], ["a.bin"]), (f"{place}/sub", ["deep"], ["b.bin"])] == walked[:2]
    assert (True, False, True, False) == (
        fs.isdir(place),
        fs.isfile(place),
        fs.exists(f"{place}/sub/b.bin"),
        fs.exists(f"{place}/sub/b"),
    )


def test_missing_paths_raise_what_python_expects(fs: RaycacheFileSystem, place: str) -> None:
    """A missing path is a FileNotFoundError, a directory read as a file an IsADirectoryError; each is named."""
    fs.pipe(f"{place}/dir/file", b"1")
    for call in (fs.info, fs.ls, fs.cat_file, fs.open, fs.rm, fs.modified):
        with pytest.raises(FileNotFoundError, match="missing"):
            call(f"{place}/missing")
    for call in (fs.cat_file, fs.open, fs.rm):
        with pytest.raises(IsADirectoryError, match="dir"):
            call(f"{place}/dir")
    assert fs.exists(f"{place}/dir/file")


def test_checksums_follow_versions(fs: RaycacheFileSystem, place: str) -> None:
    """`ukey` and `checksum` change with the content, and not without."""
    fs.pipe(f"{place}/x", b"one")
    before = fs.ukey(f"{place}/x"), fs.checksum(f"{place}/x")
    assert before == (fs.ukey(f"{place}/x"), fs.checksum(f"{place}/x"))
    fs.pipe(f"{place}/x", b"other")
    assert before[0] != fs.ukey(f"{place}/x")
    assert before[1] != fs.checksum(f"{place}/x")


def test_invalidate_cache_shows_what_others_wrote(fs: RaycacheFileSystem, lake: Lake, s3: str) -> None:
    """A change made past the cache is seen after `invalidate_cache`, long before the metadata TTL."""
    fs.pipe(f"{s3}/a", b"1")
    assert [f"{s3}/a"] == fs.ls(s3, detail=False)
    lake.put(f"{s3.removeprefix('/s3/')}/b", b"2")
    assert [f"{s3}/a"] == fs.ls(s3, detail=False)
    fs.invalidate_cache(s3)
    assert [f"{s3}/a", f"{s3}/b"] == fs.ls(s3, detail=False)
    lake.put(f"{s3.removeprefix('/s3/')}/c", b"3")
    assert f"{s3}/c" in fs.ls(s3, detail=False, refresh=True)


# --- fsspec: reading ------------------------------------------------------------------------------------------------------


def test_cat_file_slices_as_python_does(fs: RaycacheFileSystem, data: tuple[str, bytes]) -> None:
    """`cat_file(path, start, end)` is `whole[start:end]`, negative bounds included."""
    path, whole = data
    bounds = [None, 0, 1, MIB - 1, MIB, len(whole) - 1, len(whole), len(whole) + 5, -1, -MIB, -len(whole) - 5]
    for start in bounds:
        for end in bounds:
            assert whole[start:end] == fs.cat_file(path, start, end), (start, end)


def test_cat_of_many(fs: RaycacheFileSystem, s3: str) -> None:
    """`cat` gives bytes for one path and a dict for several, for globs and for trees; errors go where asked."""
    fs.pipe({f"{s3}/{name}": name.encode() for name in ("a", "b", "d/c")})
    assert b"a" == fs.cat(f"{s3}/a")
    assert {f"{s3}/a": b"a", f"{s3}/b": b"b"} == fs.cat([f"{s3}/a", f"{s3}/b"])
    assert {f"{s3}/a": b"a", f"{s3}/b": b"b"} == fs.cat(f"{s3}/*")
    assert {f"{s3}/a": b"a", f"{s3}/b": b"b", f"{s3}/d/c": b"d/c"} == fs.cat(s3, recursive=True)
    some = [f"{s3}/a", f"{s3}/none"]
    assert {f"{s3}/a": b"a"} == fs.cat(some, on_error="omit")
    returned = fs.cat(some, on_error="return")
    assert b"a" == returned[f"{s3}/a"]
    assert isinstance(returned[f"{s3}/none"], NotFoundError)
    with pytest.raises(FileNotFoundError, match="none"):
        fs.cat(some)


def test_cat_ranges(fs: RaycacheFileSystem, data: tuple[str, bytes]) -> None:
    """Ranges come back in order, errors in their places unless they are to be raised."""
    path, whole = data
    ranges = [(0, 10), (MIB - 5, MIB + 5), (-7, None), (5, 5)]
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    assert [whole[start:end] for start, end in ranges] == fs.cat_ranges([path] * len(ranges), starts, ends)
    assert [whole[2:9]] * 2 == fs.cat_ranges([path, path], 2, 9)
    good, bad = fs.cat_ranges([path, path + "x"], [0, 0], [3, 3])
    assert (whole[:3], True) == (good, isinstance(bad, NotFoundError))
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([path + "x"], [0], [3], on_error="raise")
    with pytest.raises(InvalidRequestError):
        fs.cat_ranges([path], [0, 1], [3, 3])


def test_a_file_behaves_like_one(fs: RaycacheFileSystem, data: tuple[str, bytes]) -> None:
    """read, seek, readinto, peek and pickling of an open file do what `io` says."""
    path, whole = data
    with fs.open(path) as file:
        assert (len(whole), 0, True, True, False) == (
            file.size,
            file.tell(),
            file.readable(),
            file.seekable(),
            file.writable(),
        )
        assert whole[:10] == file.read(10)
        assert whole[10:20] == file.peek(10)[:10]
        assert MIB - 3 == file.seek(MIB - 3)
        target = bytearray(10)
        assert (10, whole[MIB - 3 : MIB + 7]) == (file.readinto(target), bytes(target))
        assert whole[MIB + 7 :] == pickle.loads(pickle.dumps(file)).read()
        file.seek(-5, io.SEEK_END)
        assert (whole[-5:], b"") == (file.read(100), file.read())
        with pytest.raises(InvalidRequestError):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_lines(fs: RaycacheFileSystem, s3: str) -> None:
    """Lines are those of a local file, in binary and in text, whatever their length."""
    lines = [b"x" * size + b"\n" for size in (0, 1, 70_000, 65_536, 65_535, 200_000)] + [b"end"]
    whole = b"".join(lines)
    fs.pipe(f"{s3}/lines", whole)
    with fs.open(f"{s3}/lines") as file:
        assert lines == list(file)
        file.seek(0)
        assert (b"\n", b"x", b"\n", b"xxx") == (file.readline(), file.readline(1), file.readline(), file.readline(3))
        file.seek(2)
        assert whole[2 : whole.index(b"xx\n") + 3] == file.readuntil(b"xx\n")
    with fs.open(f"{s3}/lines", "r") as text:
        assert [line.decode() for line in lines] == list(text)
    assert whole[:3] == fs.read_block(f"{s3}/lines", 0, 2, delimiter=b"\n")


def test_readuntil_finds_a_mark_across_chunks(fs: RaycacheFileSystem, s3: str) -> None:
    """A mark of several bytes that lies on the border of two reads is found."""
    whole = b"." * 99 + b"<>" + b"rest"
    fs.pipe(f"{s3}/x", whole)
    with fs.open(f"{s3}/x") as file:
        assert (whole[:101], 101) == (file.readuntil(b"<>", blocks=100), file.tell())


def test_reads_are_in_place(data: tuple[str, bytes], fs: RaycacheFileSystem) -> None:
    """A repeated read of one block gives the same memory again: nothing was copied."""
    path, whole = data
    with fs.open(path) as file:
        file.read()
        first, again = file.read_at(10, 100), file.read_at(10, 100)
        assert whole[10:110] == first.to_pybytes()
        assert first.address == again.address


# --- fsspec: writing ------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_at_close(fs: RaycacheFileSystem, place: str) -> None:
    """While a file is written nothing, or the old version, is there; at close all of it."""
    path, whole = f"{place}/sub/x", content(1, 3 * MIB)
    with fs.open(path, "wb") as file:
        file.write(whole[:MIB])
        assert not fs.exists(path)
        file.write(memoryview(whole)[MIB:])
    assert whole == fs.cat_file(path)
    with fs.open(path, "wb") as file:
        file.write(b"new")
        assert whole == fs.cat_file(path)
    assert (b"new", 3) == (fs.cat_file(path), fs.info(path)["size"])


def test_an_aborted_write_leaves_nothing(fs: RaycacheFileSystem, place: str) -> None:
    """A failed `with` block, binary or text, and a file dropped unclosed change nothing in the lake."""
    fs.pipe(f"{place}/old", b"old")
    for mode, value in (("wb", b"partial" * MIB), ("w", "partial" * MIB)):
        with pytest.raises(RuntimeError, match="stop"), fs.open(f"{place}/old", mode) as file:
            file.write(value)
            raise RuntimeError("stop")
        file = fs.open(f"{place}/new", mode)
        file.write(value)
        del file
        gc.collect()
    assert [f"{place}/old"] == fs.ls(place, detail=False, refresh=True)
    assert b"old" == fs.cat_file(f"{place}/old")


def test_large_files_are_put_and_got_whole(fs: RaycacheFileSystem, lake: Lake, s3: str, tmp_path: Path) -> None:
    """A file of several parts goes up as a multipart upload and comes down with every byte; none is left unfinished."""
    whole = content(2, 37 * MIB)
    (tmp_path / "up").write_bytes(whole)
    fs.put(str(tmp_path / "up"), f"{s3}/large")
    fs.get(f"{s3}/large", str(tmp_path / "down"))
    assert whole == (tmp_path / "down").read_bytes()
    assert "-" in fs.info(f"{s3}/large")["ETag"]
    with pytest.raises(RuntimeError), fs.open(f"{s3}/aborted", "wb") as file:
        file.write(whole)
        raise RuntimeError
    uploads = lake.server.client().list_multipart_uploads(Bucket=lake.bucket, Prefix=f"{lake.name}/")
    assert [] == uploads.get("Uploads", [])


def test_a_transaction_commits_all_or_none(fs: RaycacheFileSystem, place: str) -> None:
    """Files of a transaction appear when it ends well, and not at all when it fails."""
    with fs.transaction:
        for name in ("a", "b"):
            with fs.open(f"{place}/{name}", "wb") as file:
                file.write(name.encode())
        assert not fs.exists(f"{place}/a")
    assert {f"{place}/a": b"a", f"{place}/b": b"b"} == fs.cat(f"{place}/*")
    with pytest.raises(RuntimeError), fs.transaction:
        with fs.open(f"{place}/c", "wb") as file:
            file.write(b"c")
        raise RuntimeError
    assert not fs.exists(f"{place}/c")


def test_modes_that_cannot_be_are_refused(fs: RaycacheFileSystem, place: str) -> None:
    """Appending is refused with what to do instead; exclusive creation of what exists is refused too."""
    fs.pipe(f"{place}/x", b"1")
    with pytest.raises(InvalidRequestError, match="whole"):
        fs.open(f"{place}/x", "ab")
    with pytest.raises(AlreadyExistsError):
        fs.open(f"{place}/x", "xb")
    with pytest.raises(InvalidRequestError):
        fs.touch(f"{place}/x", truncate=False)
    with pytest.raises(InvalidRequestError):
        fs.sign(f"{place}/x")
    assert b"1" == fs.cat_file(f"{place}/x")


def test_read_only_mounts_refuse_every_change(cache: Cache, fs: RaycacheFileSystem, tmp_path: Path) -> None:
    """On a mount without `readonly=False` each way to write is a PermissionError that says so, and changes nothing."""
    (tmp_path / "x").write_bytes(b"1")
    cache.mount("/readonly", f"file://{tmp_path}")
    try:
        for call in (
            lambda: fs.pipe("/readonly/x", b"2"),
            lambda: fs.open("/readonly/x", "wb"),
            lambda: fs.rm("/readonly/x"),
            lambda: fs.rm("/readonly", recursive=True),
            lambda: fs.mkdir("/readonly/d"),
            lambda: fs.cp_file("/readonly/x", "/readonly/y"),
            lambda: fs.mv("/readonly/x", "/readonly/y"),
            lambda: fs.touch("/readonly/x"),
            lambda: fs.rmdir("/readonly"),
            lambda: cache.filesystem().delete_dir("/readonly"),
            lambda: cache.filesystem().open_output_stream("/readonly/x"),
            lambda: fs.pipe(f"file://{tmp_path}/x", b"2"),
        ):
            with pytest.raises(PermissionError, match="readonly=False"):
                call()
        with pytest.raises(DeniedError):
            cache.open("/readonly/x", "wb")
    finally:
        cache.unmount("/readonly")
    assert ["x"] == [path.name for path in tmp_path.iterdir()]
    assert b"1" == (tmp_path / "x").read_bytes()


def test_writes_drop_older_versions_everywhere(cache: Cache, fs: RaycacheFileSystem, s3: str) -> None:
    """After an overwrite, another process reads the new version at once, though the metadata TTL is long."""
    fs.pipe(f"{s3}/x", b"old")

    @ray.remote(num_cpus=0)
    class Reader:
        def read(self, path: str) -> bytes:
            return bytes(raycache.connect().read(path).to_pybytes())

        def look(self, path: str) -> bytes:
            return bytes(fsspec.filesystem("raycache").cat_file(path))

    reader = Reader.remote()
    assert b"old" == ray.get(reader.read.remote(f"{s3}/x"), timeout=60)
    fs.pipe(f"{s3}/y", b"1")
    assert b"1" == ray.get(reader.look.remote(f"{s3}/y"), timeout=60)
    fs.pipe(f"{s3}/x", b"new")
    assert b"new" == fs.cat_file(f"{s3}/x")
    other = Reader.remote()
    assert b"new" == ray.get(other.look.remote(f"{s3}/x"), timeout=60)


# --- fsspec: copying, moving, deleting ----------------------------------------------------------------------------------


def test_trees_move_and_copy(fs: RaycacheFileSystem, place: str) -> None:
    """A tree is copied and moved with every byte; the source is there after a copy and gone after a move."""
    tree = {f"{place}/from/{name}": content(7, 1000 + len(name)) for name in ("a", "b/c", "b/d/e")}
    fs.pipe(tree)
    fs.copy(f"{place}/from", f"{place}/copied", recursive=True)
    expected = {path.replace("/from/", "/copied/"): data for path, data in tree.items()}
    assert expected == fs.cat(f"{place}/copied", recursive=True)
    fs.mv(f"{place}/copied", f"{place}/moved", recursive=True)
    assert {path.replace("/from/", "/moved/"): data for path, data in tree.items()} == fs.cat(
        f"{place}/moved", recursive=True
    )
    assert (False, True) == (fs.exists(f"{place}/copied"), fs.exists(f"{place}/from/b/d/e"))
    fs.mv(f"{place}/moved/a", f"{place}/one")
    assert tree[f"{place}/from/a"] == fs.cat_file(f"{place}/one")
    assert not fs.exists(f"{place}/moved/a")


def test_copies_inside_s3_are_made_by_s3(fs: RaycacheFileSystem, lake: Lake, s3: str) -> None:
    """A copy and a move inside one bucket read no byte of the object."""
    fs.pipe({f"{s3}/from/{number}": content(number, MIB) for number in range(20)})
    lake.proxy.reset()
    fs.copy(f"{s3}/from", f"{s3}/copied", recursive=True)
    fs.mv(f"{s3}/copied", f"{s3}/moved", recursive=True)
    assert 0 == lake.proxy.counters().data_bytes
    assert 20 * MIB == fs.du(f"{s3}/moved")


def test_copies_cross_stores(fs: RaycacheFileSystem, s3: str, disk: str) -> None:
    """A file is copied from S3 to a disk and back through this process."""
    whole = content(3, 20 * MIB + 1)
    fs.pipe(f"{s3}/x", whole)
    fs.copy(f"{s3}/x", f"{disk}/x")
    fs.mv(f"{disk}/x", f"{s3}/back")
    assert whole == fs.cat_file(f"{s3}/back")
    assert [] == fs.ls(disk)


def test_moving_onto_itself_loses_nothing(fs: RaycacheFileSystem, lake: Lake, s3: str) -> None:
    """Two names of one object are one object: a move between them, or of a tree into itself, keeps every byte."""
    key = s3.removeprefix("/s3/")
    fs.pipe({f"{s3}/d/x": b"1", f"{s3}/d/y": b"2"})
    fs.mv(f"{s3}/d/x", f"{lake.uri}/{key}/d/x")
    fs.mv(f"{s3}/d/x", f"raycache://{s3}/d/x")
    fs.copy(f"{s3}/d/x", f"{s3}/d/x")
    with pytest.raises(InvalidRequestError, match="outside"):
        fs.mv(f"{s3}/d", f"{s3}/d/e/", recursive=True)
    arrow = raycache.connect().filesystem()
    arrow.move(f"{s3}/d", f"/@s3/{lake.bucket}/{lake.name}/{key}/d")
    arrow.move(f"{s3}/d/x", f"/@s3/{lake.bucket}/{lake.name}/{key}/d/x")
    arrow.copy_file(f"{s3}/d/x", f"/@s3/{lake.bucket}/{lake.name}/{key}/d/x")
    with pytest.raises(ValueError, match="outside"):
        arrow.move(f"{s3}/d", f"{s3}/d/e")
    assert {f"{s3}/d/x": b"1", f"{s3}/d/y": b"2"} == fs.cat(f"{s3}/d", recursive=True)


def test_rm_takes_lists_globs_and_trees(fs: RaycacheFileSystem, place: str) -> None:
    """`rm` deletes what is named and nothing else; a missing path stops it before anything is gone."""
    names = ["a", "b", "c1", "c2", "t/u/v", "t/w"]
    fs.pipe({f"{place}/{name}": b"" for name in names})
    with pytest.raises(FileNotFoundError):
        fs.rm([f"{place}/a", f"{place}/missing"])
    assert fs.exists(f"{place}/a")
    fs.rm([f"{place}/a", f"{place}/b"])
    fs.rm(f"{place}/c*")
    assert [f"{place}/t/u/v", f"{place}/t/w"] == fs.find(place)
    fs.rm(f"{place}/t", recursive=True, maxdepth=1)
    assert [f"{place}/t/u/v"] == fs.find(place)
    fs.rm(f"{place}/t", recursive=True)
    assert not fs.exists(f"{place}/t")


def test_directories_on_a_disk_are_real(fs: RaycacheFileSystem, disk: str, tmp_path: Path) -> None:
    """On a disk directories are made, refused, listed empty and removed as the local filesystem does."""
    fs.mkdir(f"{disk}/a/b")
    assert (True, []) == ((tmp_path / "a" / "b").is_dir(), fs.ls(f"{disk}/a/b"))
    with pytest.raises(FileExistsError):
        fs.mkdir(f"{disk}/a")
    with pytest.raises(FileExistsError):
        fs.makedirs(f"{disk}/a/b")
    fs.makedirs(f"{disk}/a/b", exist_ok=True)
    with pytest.raises(FileNotFoundError):
        fs.mkdir(f"{disk}/no/parent", create_parents=False)
    with pytest.raises(InvalidRequestError, match="empty"):
        fs.rmdir(f"{disk}/a")
    fs.rmdir(f"{disk}/a/b")
    with pytest.raises(FileNotFoundError):
        fs.rmdir(f"{disk}/a/b")
    fs.pipe(f"{disk}/a/f", b"")
    with pytest.raises(NotADirectoryError):
        fs.rmdir(f"{disk}/a/f")
    with pytest.raises(FileExistsError):
        fs.mkdir(f"{disk}/a/f")


def test_directories_on_s3_are_prefixes(fs: RaycacheFileSystem, s3: str) -> None:
    """On S3 making a directory leaves no object behind, and a directory is there as long as a key is."""
    fs.mkdir(f"{s3}/d")
    fs.makedirs(f"{s3}/d/e", exist_ok=False)
    assert not fs.exists(f"{s3}/d")
    fs.pipe(f"{s3}/d/e/x", b"")
    assert fs.isdir(f"{s3}/d")
    fs.rm(f"{s3}/d", recursive=True)
    assert not fs.exists(f"{s3}/d")


# --- fsspec: URLs -----------------------------------------------------------------------------------------------------------


def test_urls_of_all_kinds_open(lake: Lake, fs: RaycacheFileSystem, s3: str) -> None:
    """The protocol alone, with fsspec's prefix, and chained before the store's own URL mean the same bytes."""
    fs.pipe(f"{s3}/x", b"bytes")
    key = s3.removeprefix("/s3/")
    for url in (f"raycache://{s3}/x", f"fsspec+raycache://{s3}/x", f"raycache::{lake.uri}/{key}/x"):
        opened = url.removeprefix("fsspec+")
        with fsspec.open(opened) as file:
            assert b"bytes" == file.read(), url
    chained, path = fsspec.url_to_fs(f"raycache::{lake.uri}/{key}")
    assert f"{lake.bucket}/{lake.name}/{key}" == path
    assert [f"{path}/x"] == chained.ls(path, detail=False) == chained.find(path) == chained.glob(f"{path}/*")
    assert [f"{lake.uri}/{key}/x"] == fs.glob(f"{lake.uri}/{key}/*")
    arrow, arrow_path = pafs.FileSystem.from_uri(f"fsspec+raycache://{s3}/x")
    assert b"bytes" == arrow.open_input_file(arrow_path).read()


def test_chained_options_mount_a_new_bucket(s3_server: SeaweedServer, cache: Cache) -> None:
    """A bucket nobody has mounted opens with the credentials of the chained URL, as s3fs names them."""
    bucket = s3_server.make_bucket("chained-options")
    s3_server.client().put_object(Bucket=bucket, Key="dir/x", Body=b"bytes")
    options = s3_server.options()
    s3fs_options = {
        "key": options["access_key_id"],
        "secret": options["secret_access_key"],
        "client_kwargs": {"endpoint_url": options["endpoint_url"]},
    }
    with fsspec.open(f"raycache::s3://{bucket}/dir/x", s3=s3fs_options) as file:
        assert b"bytes" == file.read()
    assert options["secret_access_key"] not in repr(cache.mounts())


def test_links_on_a_disk_are_deleted_as_links(fs: RaycacheFileSystem, disk: str, tmp_path: Path) -> None:
    """Recursive deletes and moves, with a depth, of a glob or whole, leave what links lead to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for number, work in enumerate((
        lambda victim: fs.rm(victim, recursive=True),
        lambda victim: fs.rm(victim, recursive=True, maxdepth=2),
        lambda victim: fs.rm(f"{victim}/**", recursive=True),
        lambda victim: fs.mv(victim, f"{victim}-moved", recursive=True),
        lambda victim: fs.mv(victim, f"{victim}-moved", recursive=True, maxdepth=3),
    )):  # fmt: skip
        (outside / "kept").write_bytes(b"1")
        victim = f"{disk}/victim{number}"
        fs.pipe(f"{victim}/sub/x", b"2")
        (path,) = tmp_path.rglob(f"victim{number}")
        (path / "sub/link").symlink_to(outside)
        (path / "file").symlink_to(outside / "kept")
        assert fs.cat_file(f"{victim}/sub/link/kept") == b"1"
        work(victim)
        assert (outside / "kept").read_bytes() == b"1"
        assert not (path / "sub/x").exists()


def test_keys_of_a_mapping_may_hold_brackets(fs: RaycacheFileSystem, place: str) -> None:
    """They are read, listed and deleted as what they are, beside what they would match; globs stay globs."""
    mapping = fs.get_mapper(f"{place}/map")
    values = {"a[1]": b"odd", "a1": b"plain", "b[0-9]/c*": b"deep", "b1/cx": b"matched"}
    mapping.setitems(values)
    assert values == {key: mapping[key] for key in mapping} == mapping.getitems(list(values))
    assert {f"{place}/map/a1": b"plain"} == fs.cat(f"{place}/map/a[0-2]")
    assert [f"{place}/map/b[0-9]/c*"] == fs.expand_path(f"{place}/map/b[0-9]/c*")
    del mapping["a[1]"]
    assert ["a1", "b1/cx", "b[0-9]/c*"] == sorted(mapping)
    with pytest.raises(FileNotFoundError):
        fs.cat(f"{place}/map/z[1]")
