"""The trees of datastore versions on a folder store: made once of the contents, read-only, looked at before each use.

A file of a tree is a clone of its content where the file system can, so that no script reaches the content itself. Else
it is the content (a hard link), where ranks see trees through read-only mounts, and a copy where they cannot.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import Unusable
from opengrid.core.files import clone_file, copy_file, file_digest, statuses
from opengrid.core.manifest import safe_path
from opengrid.core.records.datastores import DatastoreFile, DatastoreVersion

#: So many trees are made beside one another while their files come.
_MOST_BEGUN = 16

#: Modes of folders.
_SEALED, _OPEN = 0o555, 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a look at every byte of a version has found."""

    files: int
    damaged: tuple[str, ...]  #: paths whose content is nowhere any more
    repaired: tuple[str, ...]  #: paths that were put right


@dataclass(slots=True)
class _Begun:
    """A tree on its way."""

    round: int  #: of the upload
    folder: Path
    files: dict[str, str] = field(default_factory=dict[str, str])  #: digests by path
    folders: set[str] = field(default_factory=lambda: {""})

    def place(self, path: str) -> str:
        """Return where a file of it lies."""
        return f"{self.folder}/{path}"


class Trees:
    """Folders `<root>/<name>/<version>`. `has_mounts` tells whether ranks see them through read-only mounts."""

    def __init__(self, root: Path, contents: Blobs, *, has_mounts: Callable[[], bool]) -> None:
        self._root, self._contents, self._has_mounts = root, contents, has_mounts
        self._begun: dict[tuple[str, int], _Begun] = {}
        self._beside = ThreadPoolExecutor(1)
        self._coming: dict[tuple[str, int], Future[None]] = {}  #: the last that was handed over of each tree
        self._remembering = threading.Lock()
        self._making = [threading.Lock() for _ in range(64)]  #: by chance two versions have the same
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

    def begin(self, version: DatastoreVersion, files: Sequence[DatastoreFile]) -> None:
        """Have files of a version that is being filled put where make() needs them, while others are on their way.

        The paths were checked together, as those of one tree. Returns at once: what then goes wrong, make() meets too.
        """
        self._coming[version.name, version.version] = self._beside.submit(self._begin, version, files)

    def _begin(self, version: DatastoreVersion, files: Sequence[DatastoreFile]) -> None:
        key = version.name, version.version
        with self._alone(*key), self._explained(*key):
            begun = self._begun.get(key)
            if begun is None or begun.round != version.round:
                begun = _Begun(version.round, self._partial(*key))
                self._remember(key, begun)
            for file in files:
                self._put_into(begun, file)

    def make(self, name: str, version: int, files: Sequence[DatastoreFile]) -> None:
        """Make a version's tree, whole or not at all; one that is there already is replaced.

        The paths were checked together, as those of one tree.
        """
        place = self.path(name, version)
        self._wait(name, version)
        with self._alone(name, version), self._explained(name, version):
            begun = self._forget(name, version) or _Begun(0, self._partial(name, version))
            wanted = {file.path for file in files}
            for path in begun.files.keys() - wanted:
                os.unlink(begun.place(path))
            for file in files:
                self._put_into(begun, file)
            _seal(begun.folder)
            _remove(place)
            os.replace(begun.folder, place)

    def _wait(self, name: str, version: int) -> None:
        """Let what begin() was given come to its end, good or bad."""
        coming = self._coming.pop((name, version), None)
        if coming is not None:
            coming.exception()

    def _partial(self, name: str, version: int) -> Path:
        """Return an empty folder for what will be a version's tree."""
        partial = self._partial_place(name, version)
        _remove(partial)
        partial.mkdir(parents=True)
        return partial

    def _partial_place(self, name: str, version: int) -> Path:
        return self.path(name, version).with_name(f".{version}.part")

    def _put_into(self, begun: _Begun, file: DatastoreFile) -> None:
        if begun.files.get(file.path) == file.digest:
            return
        folder, place = file.path.rpartition("/")[0], begun.place(file.path)
        if folder not in begun.folders:
            os.makedirs(f"{begun.folder}/{folder}", exist_ok=True)
            begun.folders.add(folder)
        if file.path in begun.files:  # it changed while it was sent
            os.unlink(place)
        self._put(file, place)
        begun.files[file.path] = file.digest

    def _alone(self, name: str, version: int) -> threading.Lock:
        return self._making[hash((name, version)) % len(self._making)]

    def _remember(self, key: tuple[str, int], begun: _Begun) -> None:
        with self._remembering:
            self._begun[key] = begun
            while len(self._begun) > _MOST_BEGUN:
                self._begun.pop(next(iter(self._begun)))  # to be made from the beginning

    def _forget(self, name: str, version: int) -> _Begun | None:
        with self._remembering:
            return self._begun.pop((name, version), None)

    @contextlib.contextmanager
    def _explained(self, name: str, version: int) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            self._forget(name, version)
            _remove(self._partial_place(name, version))
            if not isinstance(error, OSError):
                raise
            hint = "free space there, or set GRID_STATE"
            raise Unusable(f"cannot make {self.path(name, version)}: {error.strerror}", hint=hint) from error

    def is_untouched(self, found: DatastoreVersion) -> bool:
        """Return whether no file came, went, or was written since the version was made. Reads no content."""
        files = size = 0
        for status in statuses(self.path(found.name, found.version)):
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
                    place.parent.mkdir(parents=True, exist_ok=True)
                    self._put(file, str(place))
                repaired.append(file.path)
            else:
                damaged.append(file.path)
        if tree.is_dir():
            _seal(tree)
        return Verdict(files=len(files), damaged=tuple(damaged), repaired=tuple(sorted(repaired)))

    def remove(self, name: str, version: int) -> None:
        """Remove a version's tree, also one that was begun; harmless when there is none."""
        self._wait(name, version)
        with self._alone(name, version):
            self._forget(name, version)
            _remove(self._partial_place(name, version))
        _remove(self.path(name, version))
        with contextlib.suppress(OSError):  # other versions are there
            (self._root / name).rmdir()

    def _put(self, file: DatastoreFile, place: str) -> None:
        content, mode = self._contents.location(file.digest), 0o555 if file.executable else 0o444
        self._can_clone = self._can_clone and clone_file(Path(content), Path(place))
        if self._can_clone:
            os.chmod(place, mode)
        elif self._has_mounts() and _link(content, place):
            if file.executable:  # of all that have this content: they are one file
                os.chmod(place, mode)
        else:
            copy_file(Path(content), Path(place))
            os.chmod(place, mode)


def _link(content: str, place: str) -> bool:
    try:
        os.link(content, place)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        return False  # as many names as a file can have; or a file system without
    return True


def _digest(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None


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
