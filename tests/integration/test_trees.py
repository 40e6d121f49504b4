"""Trees that are made beside what fills their versions."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from pathlib import Path

import pytest

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.records.datastores import DatastoreFile, DatastoreState, DatastoreVersion
from opengrid.services.trees import Trees


def make_version(name: str) -> DatastoreVersion:
    state = DatastoreState.PROCESSING
    return DatastoreVersion(
        name=name, version=1, user="ada", state=state, source="/d", digest=None, files=0, size=0, created_us=0
    )


def test_what_could_not_be_put_into_a_tree_beside_is_put_there_at_the_end(tmp_path: Path) -> None:
    contents = FolderBlobs(tmp_path / "contents")
    digest = hashlib.sha256(b"x").hexdigest()
    with contents.writing(digest) as writer:
        writer.write(b"x")
    files = [DatastoreFile(position=0, path="folder/file", size=1, digest=digest)]
    trees = Trees(tmp_path / "trees", contents, has_mounts=lambda: True)
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "data").touch()  # where no folder can be made
    trees.begin(make_version("data"), files)
    trees.begin(make_version("other"), files)
    trees.make(make_version("other"), files)  # by then the first has failed: they are made one after the other
    (tmp_path / "trees" / "data").unlink()

    trees.make(make_version("data"), files)

    assert (trees.path("data", 1) / "folder" / "file").read_bytes() == b"x"
    assert (trees.path("other", 1) / "folder" / "file").read_bytes() == b"x"


class Filled:
    """A version that a client on the same disk fills, and what makes its tree."""

    def __init__(self, folder: Path, *, has_mounts: bool = True) -> None:
        self.contents = FolderBlobs(folder / "contents")
        self._folder, self._has_mounts = folder / "trees", has_mounts
        self._folder.mkdir()
        self.version = make_version("data")
        self.trees = self.restarted()
        self.tree = self.trees.open(self.version)

    def restarted(self) -> Trees:
        """Return the trees of another server on the same folder."""
        return Trees(self._folder, self.contents, has_mounts=lambda: self._has_mounts)

    def put(self, path: str, content: bytes, *, mode: int = 0o444, position: int = 0) -> DatastoreFile:
        """Put a file where it will lie, as a client does."""
        assert self.tree is not None
        place = self.tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(mode)
        digest = hashlib.sha256(content).hexdigest()
        return DatastoreFile(
            position=position, path=path, size=len(content), digest=digest, executable=bool(mode & 0o111)
        )

    def made(self) -> dict[str, bytes]:
        root = self.trees.path("data", 1)
        return {place.relative_to(root).as_posix(): place.read_bytes() for place in root.rglob("*") if place.is_file()}

    def folders(self) -> set[str]:
        root = self.trees.path("data", 1)
        return {place.relative_to(root).as_posix() for place in root.rglob("*") if not place.is_file()}


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    filled = Filled(tmp_path)
    if filled.tree is None:
        pytest.skip("files of this file system share their blocks: trees are clones")
    return filled


@pytest.mark.parametrize(("mode", "sealed"), [(0o444, 0o444), (0o555, 0o555), (0o400, 0o444), (0o700, 0o555)])
def test_a_file_that_a_client_puts_into_the_tree_is_the_content(filled: Filled, mode: int, sealed: int) -> None:
    file = filled.put("folder/file", b"x", mode=mode)
    assert filled.trees.take(filled.version, [file]) == {"folder/file"}
    filled.trees.begin(filled.version, [file], {"folder/file"})
    filled.trees.make(filled.version, [file])
    place = filled.trees.path("data", 1) / "folder" / "file"
    assert place.samefile(filled.contents.path(file.digest))
    assert stat.S_IMODE(place.stat().st_mode) == sealed
    assert not place.parent.stat().st_mode & 0o222


def test_a_file_whose_content_is_here_already_is_that_content(filled: Filled) -> None:
    files = [filled.put("a", b"same"), filled.put("b", b"same", position=1)]
    taken = filled.trees.take(filled.version, files)
    filled.trees.begin(filled.version, files, taken)
    filled.trees.make(filled.version, files)
    content = filled.contents.path(files[0].digest)
    assert content.stat().st_nlink == 3
    assert filled.made() == {"a": b"same", "b": b"same"}


def test_what_is_not_what_it_says_is_no_content(filled: Filled, tmp_path: Path) -> None:
    assert filled.tree is not None
    longer = filled.put("longer", b"xy")._replace(size=1)
    gone = longer._replace(path="gone")
    (tmp_path / "secret").write_bytes(b"s")
    (filled.tree / "link").symlink_to(tmp_path / "secret")
    link = DatastoreFile(position=0, path="link", size=1, digest=hashlib.sha256(b"s").hexdigest())
    assert filled.trees.take(filled.version, [longer, gone, link]) == set()
    assert not filled.contents.sizes([longer.digest, link.digest])


def test_what_nobody_offered_is_not_in_the_version(filled: Filled) -> None:
    file = filled.put("folder/file", b"x")
    filled.put("folder/other", b"y")
    filled.put("empty/below/other", b"y")
    filled.put("folder/empty/other", b"y")
    assert filled.tree is not None
    (filled.tree / "elsewhere").symlink_to("/usr")
    filled.trees.begin(filled.version, [file], filled.trees.take(filled.version, [file]))
    filled.trees.make(filled.version, [file])
    assert filled.made() == {"folder/file": b"x"}
    assert filled.folders() == {"folder"}


def test_what_came_into_a_version_is_removed_when_it_is_verified(filled: Filled) -> None:
    file = filled.put("folder/file", b"x")
    filled.trees.take(filled.version, [file])
    filled.trees.make(filled.version, [file])
    tree = filled.trees.path("data", 1)
    tree.chmod(0o755)
    (tree / "new").mkdir()
    (tree / "new" / "file").write_bytes(b"y")
    verdict = filled.trees.verify(filled.version, [file])
    assert verdict.repaired == ("new", "new/file")
    assert (filled.made(), filled.folders()) == ({"folder/file": b"x"}, {"folder"})


def test_another_server_makes_the_tree_that_one_before_it_began(filled: Filled) -> None:
    files = [filled.put("a", b"before"), filled.put("b", b"other", position=1)]
    filled.trees.begin(filled.version, files, filled.trees.take(filled.version, files))
    filled.trees = filled.restarted()
    files[1] = filled.put("b", b"after", position=1)  # it had not been told of this one
    filled.trees.begin(filled.version, files[1:], filled.trees.take(filled.version, files[1:]))
    filled.trees.make(filled.version, files)
    assert filled.made() == {"a": b"before", "b": b"after"}
    assert [path.name for path in filled.trees.path("data", 1).parent.iterdir()] == ["1"]


def test_an_upload_that_is_begun_again_begins_with_an_empty_tree(filled: Filled) -> None:
    filled.put("a", b"x")
    filled.version = dataclasses.replace(filled.version, round=2)
    filled.tree = filled.trees.open(filled.version)
    file = filled.put("b", b"y")
    filled.trees.take(filled.version, [file])
    filled.trees.make(filled.version, [file])
    assert filled.made() == {"b": b"y"}


def test_where_trees_are_copies_a_client_puts_nothing_there(tmp_path: Path) -> None:
    assert Filled(tmp_path, has_mounts=False).tree is None
