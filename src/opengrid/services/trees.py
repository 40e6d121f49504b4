"""The trees of datastore versions on a folder store: made once of the contents, read-only, looked at before each use.

A file of a tree is a clone of its content where the file system can, so that no script reaches the content itself. Else
it is the content (a hard link), where ranks see trees through read-only mounts, and a copy where they cannot.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import Unusable
from opengrid.core.files import clone_file, copy_file
from opengrid.core.manifest import safe_path
from opengrid.core.records import DatastoreFile, DatastoreVersion

_BLOCK = 1 << 20

#: Modes of folders.
_SEALED, _OPEN = 0o555, 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a look at every byte of a version has found."""

    files: int
    damaged: tuple[str, ...]  #: paths whose content is nowhere any more
    repaired: tuple[str, ...]  #: paths that were put right


class Trees:
    """Folders `<root>/<name>/<version>`. `has_mounts` tells whether ranks see them through read-only mounts."""

    def __init__(self, root: Path, contents: Blobs, *, has_mounts: Callable[[], bool]) -> None:
        self._root, self._contents, self._has_mounts = root, contents, has_mounts
        self._can_clone = True  #: until the file system has said that it cannot

    def path(self, name: str, version: int) -> Path:
        """Return where a version's tree lies."""
        return self._root / name / str(version)

    @property
    def protection(self) -> str:
        """How scripts are kept from changing a version, in words."""
        if self._has_mounts():
            return "read-only mount in the ranks' own mount namespace"
        return "copies without write permission, looked at before each use, and repaired"

    def make(self, name: str, version: int, files: Sequence[DatastoreFile]) -> None:
        """Make a version's tree, whole or not at all; one that is there already is replaced."""
        place = self.path(name, version)
        partial = place.with_name(f".{version}.part")
        _remove(partial)
        try:
            partial.mkdir(parents=True)
            for file in files:
                self._put(file, safe_path(partial, file.path))
            _seal(partial)
            _remove(place)
            os.replace(partial, place)
        except OSError as error:
            hint = "free space there, or set GRID_STATE"
            raise Unusable(f"cannot make {place}: {error.strerror}", hint=hint) from error
        finally:
            _remove(partial)

    def is_untouched(self, found: DatastoreVersion) -> bool:
        """Return whether no file came, went, or was written since the version was made. Reads no content."""
        files = size = 0
        for status in _statuses(self.path(found.name, found.version)):
            files += 1
            size += status.st_size
            if found.ended_us is not None and status.st_mtime_ns // 1000 > found.ended_us:
                return False
        return (files, size) == (found.files, found.size)

    def verify(self, found: DatastoreVersion, files: Sequence[DatastoreFile]) -> Verdict:
        """Read every file; put right what is not as it was, as far as its content is whole elsewhere.

        A content that is damaged itself is forgotten, so that whoever sends it again makes the version whole.
        """
        tree = self.path(found.name, found.version)
        damaged: list[str] = []
        repaired = _remove_others(tree, {file.path for file in files})
        for file in files:
            place = safe_path(tree, file.path)
            if _digest(place) == file.digest:
                continue
            if not self._contents.check([file.digest]):
                with _writable(place.parent):
                    place.unlink(missing_ok=True)
                    self._put(file, place)
                repaired.append(file.path)
            else:
                damaged.append(file.path)
        if tree.is_dir():
            _seal(tree)
        return Verdict(files=len(files), damaged=tuple(damaged), repaired=tuple(sorted(repaired)))

    def remove(self, name: str, version: int) -> None:
        """Remove a version's tree; harmless when there is none."""
        _remove(self.path(name, version))
        with contextlib.suppress(OSError):  # other versions are there
            (self._root / name).rmdir()

    def _put(self, file: DatastoreFile, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        content, mode = self._contents.path(file.digest), 0o555 if file.executable else 0o444
        self._can_clone = self._can_clone and clone_file(content, place)
        if self._can_clone:
            os.chmod(place, mode)
        elif self._has_mounts() and _link(content, place):
            if file.executable:  # of all that have this content: they are one file
                os.chmod(place, mode)
        else:
            copy_file(content, place)
            os.chmod(place, mode)


def _link(content: Path, place: Path) -> bool:
    try:
        os.link(content, place)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        return False  # as many names as a file can have; or a file system without
    return True


def _digest(path: Path) -> str | None:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError:
        return None
    return found.hexdigest()


def _statuses(folder: Path | str) -> Iterator[os.stat_result]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _statuses(entry.path)
        else:
            yield entry.stat(follow_symlinks=False)


def _remove_others(tree: Path, known: set[str]) -> list[str]:
    removed: list[str] = []
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder) / name
            if path.relative_to(tree).as_posix() not in known:
                with _writable(path.parent):
                    path.unlink()
                removed.append(path.relative_to(tree).as_posix())
    return removed


def _seal(tree: Path) -> None:
    for folder, _, _ in os.walk(tree, topdown=False):
        os.chmod(folder, _SEALED)


@contextlib.contextmanager
def _writable(folder: Path) -> Generator[None]:
    if folder.is_dir():
        os.chmod(folder, _OPEN)
    yield


def _remove(tree: Path) -> None:
    if not tree.exists():
        return
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, stat.S_IRWXU)
    shutil.rmtree(tree)
