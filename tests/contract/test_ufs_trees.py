"""What every UnderStorage promises of trees, ways and links."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycache.errors import RaycacheError
from raycache.ufs.base import ListPage
from raycache.ufs.identity import is_same, lies_in, rest_below
from raycache.ufs.trees import check_directory
from tests.support.stores import StoreOfAKind, fill, keys_of


class TestTrees:
    KEYS = ("t/a", "t/b/c", "t/b/d/e", "t-", "t0", "u/x")

    @pytest.mark.parametrize("contents_only", [False, True])
    def test_remove_tree(self, lake: StoreOfAKind, contents_only: bool) -> None:
        """A tree is removed with all that is in it, and nothing beside it."""
        fill(lake.storage, *self.KEYS)
        lake.storage.put("t/empty/", b"")
        lake.storage.remove_tree("t", contents_only=contents_only)
        empty = ["t/"] if contents_only and lake.storage.has_directories else []
        assert sorted(keys_of(lake.storage)) == ["t-", *empty, "t0", "u/x"]
        prefixes = lake.storage.list("", delimiter=True).prefixes
        assert sorted(prefixes) == [*empty, "u/"] or (lake.kind == "s3-seaweed" and contents_only)

    def test_remove_tree_of_nothing(self, lake: StoreOfAKind) -> None:
        """What is missing is no error."""
        fill(lake.storage, "u/x")
        lake.storage.remove_tree("t")
        lake.storage.remove_tree("t", contents_only=True)
        assert keys_of(lake.storage) == ["u/x"]

    def test_remove_the_whole_lake(self, lake: StoreOfAKind) -> None:
        """The root stays, and nothing in it."""
        fill(lake.storage, *self.KEYS)
        lake.storage.remove_tree("", contents_only=True)
        assert ListPage([], [], None) == lake.storage.list("", delimiter=True)

    def test_unfinished_files_go_with_their_tree(self, lake: StoreOfAKind) -> None:
        """What is being written, or was when its writer was killed, keeps no directory; the writer hears of it."""
        fill(lake.storage, "t/a")
        writer = lake.storage.open_writer("t/b/w")
        writer.write(b"half")
        lake.storage.remove_tree("t")
        assert keys_of(lake.storage) == []
        if lake.kind == "arrow-mock":
            pytest.skip("its files are one object with the name that is removed")
        if lake.storage.has_directories:
            with pytest.raises(RaycacheError):
                writer.close()
            assert keys_of(lake.storage) == []
        writer.abort()

    def test_ways(self, lake: StoreOfAKind) -> None:
        """One key is one object, two are two, and each lies in the directories above it; there or not."""
        fill(lake.storage, "a/b/c")
        for key in ("a/b/c", "a/b", "a/b/new", "new/er/x"):
            way, above = lake.storage.way(key), lake.storage.way(key.rpartition("/")[0])
            assert is_same(way, lake.storage.way(key))
            assert not is_same(way, above)
            assert lies_in(way, above)
            assert lies_in(way, lake.storage.way(""))
            assert not lies_in(above, way)
            assert key == rest_below(way, lake.storage.way(""))
        assert not is_same(lake.storage.way("a/b/c"), lake.storage.way("a/b/d"))
        assert rest_below(lake.storage.way("a/b/c"), lake.storage.way("new")) is None


@pytest.mark.parametrize("lake", ["local", "arrow-local"], indirect=True)
class TestLinks:
    def test_trees_are_removed_without_what_links_lead_to(self, lake: StoreOfAKind, tmp_path: Path) -> None:
        """A link to a directory or a file is removed; what it leads to stays, and so it is with a link as the tree."""
        fill(lake.storage, "outside/x", "outside/y/z", "t/own")
        (tmp_path / "t/dir").symlink_to(tmp_path / "outside")
        (tmp_path / "t/file").symlink_to("../outside/x")
        (tmp_path / "t/dead").symlink_to("nowhere")
        (tmp_path / "t/loop").symlink_to(".")
        (tmp_path / "link").symlink_to("outside")
        lake.storage.remove_tree("t", contents_only=True)
        assert keys_of(lake.storage, "t/") == ["t/"]
        lake.storage.remove_tree("link")
        lake.storage.remove_tree("t")
        assert keys_of(lake.storage) == ["outside/x", "outside/y/z"]

    def test_links_that_lead_nowhere_do_not_hide_their_directory(self, lake: StoreOfAKind, tmp_path: Path) -> None:
        """A directory with nothing but dead links and circles is an empty one, not a missing one."""
        lake.storage.make_directory("d/e")
        (tmp_path / "d/e/dead").symlink_to("nowhere")
        if lake.kind == "local":  # pyarrow does not tell that a link leads back
            (tmp_path / "d/e/loop").symlink_to("..")
            (tmp_path / "d/e/self").symlink_to(".")
        assert keys_of(lake.storage) == ["d/e/"]
        assert all(key.startswith("d/e/") and key.endswith("/") for key in keys_of(lake.storage, "d/e/"))
        check_directory(lake.storage, "d/e")
