"""A tree of files with digests, and the rules that keep paths from outside inside their folder."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from opengrid.core.errors import InvalidValue

#: Longest path of a file, in characters.
_LONGEST_PATH = 1 << 12


def tree_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Return the SHA-256 over path, size and digest of every file of a tree, in the order of paths.

    It is equal for equal trees, wherever they lie.
    """
    whole = hashlib.sha256()
    for path, size, digest in files:
        whole.update(f"{path}\0{size}\0{digest}\n".encode("utf-8", "surrogateescape"))
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
        if not is_inside(path) or len(path) > _LONGEST_PATH or not _is_unicode(path):
            safe_path(Path("/"), path)  # which says more of some
            raise InvalidValue(f"{path[:100]!r} cannot be the path of a file")
        if path <= before:
            raise InvalidValue(f"{path!r} comes after {before!r}: paths are sorted, each once")
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
        before = path
    both = folders.intersection(paths)
    if both:
        raise InvalidValue(f"{min(both)!r} is a file and a folder")


def is_inside(path: str) -> bool:
    """Return whether a path is relative, in its shortest form, and leads nowhere else."""
    return "\0" not in path and not {"", ".", ".."}.intersection(path.split("/"))


def list_files(root: Path) -> list[tuple[str, os.stat_result]]:
    """Return the relative paths of all files below `root`, sorted, each with what its stat is.

    Links to files and folders count as what they are to. InvalidValue for links that lead in a circle, broken links and
    what is no file (devices, sockets).
    """
    return sorted(_walk(str(root), "", frozenset()), key=lambda found: found[0])


def _walk(folder: str, inside: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    here = os.stat(folder)
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        raise InvalidValue(f"{folder} is a link that leads in a circle", hint="remove it first")
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if not _is_unicode(entry.name):
            raise InvalidValue(f"the name of {entry.path!r} is not UTF-8", hint="rename it first")
        if _is_folder(entry):
            yield from _walk(entry.path, f"{inside}{entry.name}/", above | {identity})
        elif entry.is_file():
            yield inside + entry.name, entry.stat()
        else:
            raise InvalidValue(f"{entry.path} is no file (a broken link, device or socket)", hint="remove it first")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InvalidValue(f"{entry.path} is a link that leads in a circle", hint="remove it first") from error


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
