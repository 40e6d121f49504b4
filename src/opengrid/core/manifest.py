"""A tree of files with digests, and the rules that keep paths from outside inside their folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from opengrid.core.errors import InvalidValue

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """One file of a tree."""

    path: str  #: relative, with `/`
    size: int  #: bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All files of a tree, sorted by path."""

    files: tuple[ManifestFile, ...]

    @property
    def size(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 over path, size and digest of every file: equal for equal trees, wherever they lie."""
        whole = hashlib.sha256()
        for file in self.files:
            whole.update(f"{file.path}\0{file.size}\0{file.sha256}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()


def safe_path(root: Path, relative: str) -> Path:
    """Return `root/relative`; InvalidValue for absolute paths and those that leave `root`."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative or not path.parts:
        raise InvalidValue(f"the path {relative!r} leaves its folder")
    return root.joinpath(*path.parts)


def walk_files(root: Path) -> Iterator[str]:
    """Yield the relative paths of all files below `root`, sorted; links to files count as files.

    InvalidValue for links to folders, broken links and what is no file (devices, sockets).
    """
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        linked = next((n for n in folders if (Path(folder) / n).is_symlink()), None)
        if linked is not None:
            raise InvalidValue(f"{Path(folder) / linked} is a link to a folder", hint="put the folder itself there")
        for name in names:
            path = Path(folder) / name
            if not path.is_file():
                raise InvalidValue(f"{path} is no file (a broken link, device or socket)", hint="remove it first")
            found.append(path.relative_to(root).as_posix())
    yield from sorted(found)


def read_manifest(root: Path, progress: Callable[[int], None] | None = None) -> Manifest:
    """Read and hash all files below `root`; `progress` is called with the number of bytes of each block read."""
    return Manifest(files=tuple(_read_file(root, path, progress) for path in walk_files(root)))


def _read_file(root: Path, path: str, progress: Callable[[int], None] | None) -> ManifestFile:
    digest, size = hashlib.sha256(), 0
    with (root / path).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
            if progress is not None:
                progress(len(block))
    return ManifestFile(path=path, size=size, sha256=digest.hexdigest())
