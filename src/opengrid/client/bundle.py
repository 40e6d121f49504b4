"""A tree as one file: a tar archive that is the same for the same tree, named by its SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from opengrid.client import git
from opengrid.client.tree import Tree, TreeFile
from opengrid.core.errors import GridError, Unusable

#: Every file's time. Not 0: a zip file, which programs make of their code, begins with 1980 in every time zone.
_TIME = 315_619_200

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A packed tree."""

    file: BinaryIO  #: at its beginning
    digest: str  #: SHA-256
    size: int  #: bytes


@contextmanager
def packed(tree: Tree) -> Generator[Bundle]:
    """Pack a tree into a temporary file, which lasts as long as the block."""
    try:
        with tempfile.TemporaryFile(buffering=_BLOCK) as file:
            writer = _Writer(file)
            if tree.is_committed:
                _pack_commit(tree, writer)
            else:
                _pack_disk(tree, writer)
            writer.end()
            file.seek(0)
            yield Bundle(file=cast("BinaryIO", file), digest=writer.digest.hexdigest(), size=writer.size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unusable(
                f"no space left in {tempfile.gettempdir()} to pack {tree.root}", hint="set TMPDIR"
            ) from error
        raise


class _Writer:
    """Writes and hashes in one pass."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def head(self, entry: TreeFile, size: int = 0) -> None:
        info = tarfile.TarInfo(entry.path)
        info.mode, info.mtime, info.size = stat.S_IMODE(entry.mode) & 0o777, _TIME, size
        if entry.link is not None:
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        elif stat.S_ISDIR(entry.mode):
            info.type = tarfile.DIRTYPE
        self.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))

    def blocks(self, size: int, read: Callable[[int], bytes], path: str) -> None:
        left = size
        while left > 0:
            block = read(min(left, _BLOCK))
            if not block:
                raise GridError(f"{path} became shorter while it was read", hint="run again when nothing writes to it")
            self.write(block)
            left -= len(block)
        self.write(bytes(-size % tarfile.BLOCKSIZE))

    def end(self) -> None:
        self.write(bytes(2 * tarfile.BLOCKSIZE))


def _pack_disk(tree: Tree, writer: _Writer) -> None:
    for entry in tree.files:
        if entry.link is not None or stat.S_ISDIR(entry.mode):
            writer.head(entry)
            continue
        try:
            # Without buffer: nearly every file is one read.
            with open(tree.root / entry.path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                writer.head(entry, size)
                writer.blocks(size, file.read, entry.path)
        except FileNotFoundError as error:
            raise GridError(f"{entry.path} disappeared while it was read", hint="run again") from error
        except PermissionError as error:
            raise Unusable(
                f"cannot read {tree.root / entry.path}: {error.strerror}", hint="let git ignore it"
            ) from error


def _pack_commit(tree: Tree, writer: _Writer) -> None:
    """Pack what `git archive` gives, so that attributes and filters (line ends, LFS) do what they do everywhere."""
    process = git.open_archive(tree.root, tree.commit or "HEAD")
    out, err = process.stdout, process.stderr
    if out is None or err is None:
        raise AssertionError("started with pipes")
    folders = {"."}
    with process:
        try:
            with tarfile.open(fileobj=out, mode="r|") as archive:
                for entry, content in _archived(archive):
                    folders.add(entry.path)
                    writer.head(entry, entry.size if content is not None else 0)
                    if content is not None:
                        writer.blocks(entry.size, content.read, entry.path)
        except tarfile.TarError as error:
            said = err.read().decode(errors="replace").strip() or str(error)
            raise GridError(f"git cannot give the commit: {said}") from error
    if tree.directory not in folders:  # made since the commit
        writer.head(TreeFile(path=tree.directory, mode=stat.S_IFDIR | 0o755))


def _archived(archive: tarfile.TarFile) -> Iterator[tuple[TreeFile, IO[bytes] | None]]:
    for member in archive:
        kind = stat.S_IFDIR if member.isdir() else stat.S_IFLNK if member.issym() else stat.S_IFREG
        link = member.linkname if member.issym() else None
        entry = TreeFile(path=member.name.rstrip("/"), mode=kind | member.mode, size=member.size, link=link)
        yield entry, archive.extractfile(member) if member.isreg() else None
