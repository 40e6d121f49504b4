"""Archives unpacked: of every kind, with nothing outside, no bombs, and what is wrong named."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from opengrid.core.errors import InvalidValue
from opengrid.services import archives
from opengrid.services.archives import unpack

FILES = {"top.txt": b"top", "deep/er/ünï çode.bin": b"x" * 300_000, "deep/empty": b"", "-dash": b"top"}


def tar_of(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name == "-dash" else 0o644
            packed.addfile(info, io.BytesIO(content))
        for info in more:
            packed.addfile(info)
    return out.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("folder/", b"")
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


class Folder:
    def __init__(self, path: Path) -> None:
        self.path, self.into = path, path / "into"
        self.into.mkdir()

    def unpack(self, content: bytes, most: int = 1 << 30) -> dict[str, bytes]:
        archive = self.path / "archive"
        archive.write_bytes(content)
        found = unpack(archive, self.into, most=most, progress=lambda _: None)
        for one in found.values():
            content = (self.into / one.digest).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (one.size, one.digest)
        return {path: (self.into / one.digest).read_bytes() for path, one in found.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    "pack",
    [
        lambda: zip_of(FILES),
        lambda: tar_of(FILES),
        lambda: gzip.compress(tar_of(FILES)),
        lambda: bz2.compress(tar_of(FILES)),
        lambda: lzma.compress(tar_of(FILES)),
        lambda: zstandard.compress(tar_of(FILES)),
    ],
    ids=["zip", "tar", "gz", "bz2", "xz", "zst"],
)
def test_every_kind_is_known_by_its_content(folder: Folder, pack: Callable[[], bytes]) -> None:
    assert folder.unpack(pack()) == FILES


def test_a_file_that_may_be_executed_stays_so_and_the_last_of_one_name_counts(folder: Folder) -> None:
    archive = folder.path / "archive"
    archive.write_bytes(tar_of({"-dash": b"1"})[:1024] + tar_of({"-dash": b"22", "b": b"3"}))
    found = unpack(archive, folder.into, most=1000, progress=lambda _: None)
    assert (found["-dash"].executable, found["b"].executable) == (True, False)
    assert found["-dash"].size == 2


def test_links_among_the_files_become_what_they_are_to(folder: Folder) -> None:
    links = [
        special("deep/er/up", tarfile.SYMTYPE, "../../top.txt"),
        special("hard", tarfile.LNKTYPE, "top.txt"),
        special("chain", tarfile.SYMTYPE, "hard"),
    ]
    found = folder.unpack(tar_of(FILES, *links))
    assert found == {**FILES, "deep/er/up": b"top", "hard": b"top", "chain": b"top"}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (special("passwd", tarfile.SYMTYPE, "/etc/passwd"), "passwd, a link to no file of it"),
        (special("up", tarfile.SYMTYPE, "../../etc/passwd"), "up, a link"),
        (special("hard", tarfile.LNKTYPE, "../outside"), "hard, a link"),
        (special("loop", tarfile.SYMTYPE, "loop"), "loop, a link"),
        (special("null", tarfile.CHRTYPE), "null, which is no file"),
        (special("pipe", tarfile.FIFOTYPE), "pipe, which is no file"),
        (special("../evil", tarfile.REGTYPE), "leaves its folder"),
        (special("/evil", tarfile.REGTYPE), "leaves its folder"),
        (special("a/../../evil", tarfile.REGTYPE), "leaves its folder"),
    ],
)
def test_nothing_leads_out_of_a_tar(folder: Folder, info: tarfile.TarInfo, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        folder.unpack(tar_of(FILES, info))
    assert sorted(p.name for p in folder.path.iterdir()) == ["archive", "into"]


def test_nothing_leads_out_of_a_zip(folder: Folder) -> None:
    for name in ("../evil", "/evil", "a/../../evil"):
        with pytest.raises(InvalidValue, match="leaves its folder"):
            folder.unpack(zip_of({name: b"x"}))
    link = zipfile.ZipInfo("passwd")
    link.external_attr = 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidValue, match="passwd, a link"):
        folder.unpack(out.getvalue())


def test_a_bomb_ends_at_the_limit(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_ALWAYS_FINE", 1 << 20)
    bomb = b"\0" * (16 << 20)
    for packed in (
        zip_of({"bomb": bomb}),
        gzip.compress(tar_of({"bomb": bomb})),
        zstandard.compress(tar_of({"b": bomb})),
    ):
        with pytest.raises(InvalidValue, match="more than"):
            folder.unpack(packed)
        assert sum(p.stat().st_size for p in folder.into.iterdir()) < 8 << 20
    with pytest.raises(InvalidValue, match="more than 10 B, at b"):
        folder.unpack(tar_of({"a": b"12345", "b": b"123456"}), most=10)


def test_an_archive_of_too_many_files_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_FILES", 10)
    with pytest.raises(InvalidValue, match="more than 10 files"):
        folder.unpack(tar_of({str(i): b"" for i in range(11)}))


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - b for b in content[middle : middle + 50]) + content[middle + 50 :]


NOISE = {"noise": hashlib.shake_128(b"seed").digest(500_000)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive at all",
        b"PK\x03\x04 nor this",
        b"<html>404</html>" * 100,
        gzip.compress(tar_of(NOISE))[:-100_000],
        zstandard.compress(tar_of(NOISE))[:-100_000],
        tar_of(NOISE)[:-100_000],
        damaged(gzip.compress(tar_of(NOISE))),
        damaged(lzma.compress(tar_of(NOISE))),
        damaged(zstandard.ZstdCompressor(write_checksum=True).compress(tar_of(NOISE))),
        damaged(zip_of(NOISE)),
        zip_of(NOISE)[:-10_000],
        zstandard.compress(b"no tar"),
        gzip.compress(b"no tar"),
    ],
    ids=range(14),
)
def test_what_is_broken_or_none_is_refused(folder: Folder, content: bytes) -> None:
    with pytest.raises(InvalidValue):
        folder.unpack(content)
