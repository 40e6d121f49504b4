"""Bundles from outside never write outside."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from opengrid.core.errors import InvalidValue, Unusable
from opengrid.node.workspace import make_folder, unpack


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.mtime = kind, link, mode, 1_000_000_000
    return member


def _bundle(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            content = member.name.encode() if member.isreg() else b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _unpack(tmp_path: Path, *members: tarfile.TarInfo) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    unpack(_bundle(tmp_path / "b.tar", *members), folder)
    return folder


def test_files_folders_and_links_come_out_as_they_went_in(tmp_path: Path) -> None:
    folder = _unpack(
        tmp_path,
        _member("./", tarfile.DIRTYPE, mode=0o755),
        _member("./src/train.py"),
        _member("run.sh", mode=0o555),
        _member("empty", tarfile.DIRTYPE, mode=0o755),
        _member("latest", tarfile.SYMTYPE, "src/train.py"),
        _member("data", tarfile.SYMTYPE, "/datasets/stl10"),
    )
    assert (folder / "src/train.py").read_text() == "./src/train.py"
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o755, "executable, and its owner may write"
    assert (folder / "empty").is_dir()
    assert (folder / "latest").read_text() == "./src/train.py"
    assert str((folder / "data").readlink()) == "/datasets/stl10", "the user's own tree may point outside"
    assert (folder / "run.sh").stat().st_mtime == 1_000_000_000


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a/../b", ""])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match="leaves its folder"):
        _unpack(tmp_path, _member(name))
    assert not (tmp_path / "evil").exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(OSError, match="File exists"):
        _unpack(tmp_path, _member("link", tarfile.SYMTYPE, str(outside)), _member("link/evil"))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE])
def test_devices_pipes_and_hard_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(InvalidValue, match="no file, folder or link"):
        _unpack(tmp_path, _member("thing", kind, "/etc/passwd"))


@pytest.mark.parametrize("content", [b"", b"no tar file at all" * 100, None])
def test_a_bundle_that_is_none_is_named_broken(tmp_path: Path, content: bytes | None) -> None:
    bundle = _bundle(tmp_path / "b.tar", *(_member(f"f{i}") for i in range(50)))
    bundle.write_bytes(bundle.read_bytes()[:10_000] if content is None else content)
    with pytest.raises(InvalidValue, match="broken"):
        unpack(bundle, tmp_path)


def test_a_folder_appears_whole_or_not_at_all_and_is_made_once(tmp_path: Path) -> None:
    good = _bundle(tmp_path / "good.tar", _member("file"))
    bad = _bundle(tmp_path / "bad.tar", _member("file"), _member("../evil"))
    folder = tmp_path / "work" / "node0"
    with pytest.raises(InvalidValue):
        make_folder(bad, folder)
    assert list(folder.parent.iterdir()) == []
    make_folder(good, folder)
    (folder / "written").touch()
    make_folder(good, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["file", "written"]
    assert [path.name for path in folder.parent.iterdir()] == ["node0"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match=r"cannot make .*file"):
        make_folder(_bundle(tmp_path / "b.tar", _member("x")), tmp_path / "file" / "folder")
