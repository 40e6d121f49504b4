"""Archives that somebody else made: unpacked file by file, under their digests, inside, and within a limit."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

from opengrid.core.errors import InvalidValue
from opengrid.core.manifest import safe_path
from opengrid.core.names import printable
from opengrid.core.sizes import size_text

_BLOCK = 1 << 20

#: What is unpacked may be so many times larger than the archive, and so large in any case.
_MOST_RATIO, _ALWAYS_FINE = 100, 1 << 30

#: Most files of an archive, and most links from one to the next.
_MOST_FILES, _MOST_LINKS = 2_000_000, 40

#: Most blocks that may follow the end of what tar has packed.
_MOST_REST = 64

#: What readers of archives raise when one is broken; OSErrors that have a number are the disk's own.
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError)

#: What compressed files begin with, and what reads them.
_SIGNS: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
}
_LONGEST_SIGN = max(map(len, _SIGNS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """One file of an archive, whose content lies in a folder under its digest."""

    size: int
    digest: str
    executable: bool


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    mode: int
    link: str | None  #: the path of the member that it is another name of
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, into: Path, *, most: int, progress: Callable[[int], None]) -> dict[str, Unpacked]:
    """Put every file of a zip or tar archive into a folder, named by its SHA-256; return them by their paths.

    `most` bytes may come out of it; `progress` is called with the bytes of every block. InvalidValue for what is no
    such archive, is broken, encrypted, too large, or holds anything but files, folders and links among them.
    """
    most = min(most, max(_ALWAYS_FINE, _MOST_RATIO * archive.stat().st_size))
    found: dict[str, Unpacked] = {}
    links: dict[str, str] = {}
    left = most
    try:
        with _opened(archive) as members:
            for member in members:
                path = _checked(member.path)
                if len(found) + len(links) >= _MOST_FILES:
                    raise InvalidValue(f"the archive holds more than {_MOST_FILES:,} files")
                if member.link is not None:
                    links[path] = member.link
                    continue
                file = member.open()
                if file is None:
                    raise InvalidValue(f"the archive holds no content of {printable(path)}")
                with file:
                    unpacked = _write(file, into, member.mode, left, progress)
                if unpacked is None:
                    raise InvalidValue(
                        f"the archive holds more than {size_text(most)}, at {printable(path)}",
                        hint="unpack it yourself, and create the datastore from the folder",
                    )
                left -= unpacked.size
                links.pop(path, None)
                found[path] = unpacked
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise InvalidValue(f"the archive is broken or of an unknown kind: {error}") from error
    return {**found, **{path: _followed(path, links, found) for path in links}}


@contextlib.contextmanager
def _opened(archive: Path) -> Generator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed)
        return
    # By our own decompressors: tarfile's, where it cannot seek, look at no checksum.
    with archive.open("rb") as file, _decompressed(file) as source, tarfile.open(fileobj=source, mode="r|") as packed:
        yield _tar_members(packed, source)


def _decompressed(file: BinaryIO) -> IO[bytes]:
    begin = file.read(_LONGEST_SIGN)
    file.seek(0)
    kind = next((kind for sign, kind in _SIGNS.items() if begin.startswith(sign)), None)
    return file if kind is None else cast("IO[bytes]", kind(file))


def _zip_members(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            continue
        if info.flag_bits & 1:
            raise InvalidValue(f"{printable(info.filename)} is encrypted", hint="unpack it yourself")
        link = None
        if stat.S_ISLNK(mode):
            target = packed.read(info)[: 1 << 12].decode("utf-8", "replace")
            link = posixpath.join(posixpath.dirname(info.filename), target)
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise InvalidValue(f"the archive holds {printable(info.filename)}, which is no file, folder or link")
        yield _Member(info.filename, mode, link, lambda info=info: packed.open(info))


def _tar_members(packed: tarfile.TarFile, source: IO[bytes]) -> Iterator[_Member]:
    while (info := packed.next()) is not None:
        packed.members = []  # pyright: ignore[reportAttributeAccessIssue] - else it remembers every one
        if info.isdir():
            continue
        if info.issym():
            link = posixpath.join(posixpath.dirname(info.name), info.linkname)
        elif info.islnk():
            link = info.linkname
        elif info.isreg():
            link = None
        else:
            raise InvalidValue(f"the archive holds {printable(info.name)}, which is no file, folder or link")
        yield _Member(info.name, info.mode, link, lambda info=info: packed.extractfile(info))
    for _ in range(_MOST_REST):  # a checksum comes last
        if not source.read(_BLOCK):
            break


def _checked(path: str) -> str:
    safe_path(Path("/"), path)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"the name {path!r} in the archive is not UTF-8") from None
    return posixpath.normpath(path)


def _write(file: IO[bytes], into: Path, mode: int, most: int, progress: Callable[[int], None]) -> Unpacked | None:
    """Write a content under its digest; None when it has more than `most` bytes."""
    partial, digest, size = into / "unpacking.part", hashlib.sha256(), 0
    with partial.open("wb") as copy:
        while block := file.read(_BLOCK):
            size += len(block)
            if size > most:
                return None
            digest.update(block)
            copy.write(block)
            progress(len(block))
    os.replace(partial, into / digest.hexdigest())
    return Unpacked(size=size, digest=digest.hexdigest(), executable=bool(mode & 0o111))


def _followed(path: str, links: dict[str, str], found: dict[str, Unpacked]) -> Unpacked:
    target = path
    for _ in range(_MOST_LINKS):
        target = posixpath.normpath(links[target])
        if target in found:
            return found[target]
        if target not in links:
            break
    raise InvalidValue(f"the archive holds {printable(path)}, a link to no file of it ({printable(links[path])})")
