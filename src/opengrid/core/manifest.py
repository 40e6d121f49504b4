"""A tree of files with digests, and the rules that keep paths from outside inside their folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from opengrid.core.errors import InvalidValue

#: Longest path of a file, in characters.
_LONGEST_PATH = 1 << 12


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


def check_paths(paths: Sequence[str]) -> None:
    """Raise InvalidValue unless these are the files of a tree: sorted, each once, inside it, none a folder too."""
    before = ""
    folders: set[str] = set()
    for path in paths:
        safe_path(Path("/"), path)
        if str(PurePosixPath(path)) != path or len(path) > _LONGEST_PATH or not _is_unicode(path):
            raise InvalidValue(f"{path[:100]!r} cannot be the path of a file")
        if path <= before:
            raise InvalidValue(f"{path!r} comes after {before!r}: paths are sorted, each once")
        folders.update(str(folder) for folder in PurePosixPath(path).parents)
        before = path
    both = folders.intersection(paths)
    if both:
        raise InvalidValue(f"{min(both)!r} is a file and a folder")


def walk_files(root: Path) -> Iterator[str]:
    """Yield the relative paths of all files below `root`, sorted; links to files and folders count as what they are to.

    InvalidValue for links that lead in a circle, broken links and what is no file (devices, sockets).
    """
    yield from sorted(os.path.relpath(path, root) for path in _walk(str(root), frozenset()))


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    here = os.stat(folder)
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        raise InvalidValue(f"{folder} is a link that leads in a circle", hint="remove it first")
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if not _is_unicode(entry.name):
            raise InvalidValue(f"the name of {entry.path!r} is not UTF-8", hint="rename it first")
        if entry.is_dir():
            yield from _walk(entry.path, above | {identity})
        elif entry.is_file():
            yield entry.path
        else:
            raise InvalidValue(f"{entry.path} is no file (a broken link, device or socket)", hint="remove it first")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
