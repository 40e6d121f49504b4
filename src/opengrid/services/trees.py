"""The trees of datastore versions on a folder store: made once of the contents, read-only, looked at before each use.

A file of a tree is a clone of its content where the file system can, so that no script reaches the content itself. Else
it is the content (a hard link), where ranks see trees through read-only mounts, and a copy where they cannot.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import Unusable
from opengrid.core.files import CANNOT_LINK, clone_file, copy_file, file_digest, remove_folder, statuses
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
    files: dict[str, str] = field(default_factory=dict[str, str])  #: digests of what is known to be there, by path
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
        self._can_clone: bool | None = None  #: whether the file system can; None until it was asked

    def path(self, name: str, version: int) -> Path:
        """Return where a version's tree lies."""
        return self._root / name / str(version)

    @property
    def protection(self) -> str:
        """How scripts are kept from changing a version, in words."""
        if self._has_mounts():
            return "read-only mount in the ranks' own mount namespace"
        return "copies without write permission, looked at before each use, and repaired"

    def open(self, version: DatastoreVersion) -> Path | None:
        """Return an empty folder where who fills a version may put files as they will lie in its tree.

        None where a file of a tree is not the content itself. What earlier rounds of the upload put there is gone.
        """
        with self._alone(version.name, version.version), self._explained(version):
            self._forget(version.name, version.version)
            self._remove_partials(version.name, version.version)
            partial = self._partial(version)
            partial.mkdir(parents=True)
            return partial if self._are_contents() else None

    def take(self, version: DatastoreVersion, files: Sequence[DatastoreFile]) -> set[str]:
        """Make contents of files that were put where open() said; return the paths of those that now are both.

        The paths were checked together, as those of one tree.
        """
        partial = self._partial(version)
        return {file.path for file in files if self._contents.share(f"{partial}/{file.path}", file.digest, file.size)}

    def begin(self, version: DatastoreVersion, files: Sequence[DatastoreFile], taken: Collection[str] = ()) -> None:
        """Have files of a version that is being filled put where make() needs them, while others are on their way.

        The paths were checked together, as those of one tree; what take() returned is there. Returns at once: what then
        goes wrong, make() meets too.
        """
        with contextlib.suppress(RuntimeError):  # the server ends
            self._coming[version.name, version.version] = self._beside.submit(self._begin, version, files, taken)

    def _begin(self, version: DatastoreVersion, files: Sequence[DatastoreFile], taken: Collection[str]) -> None:
        with self._alone(version.name, version.version), self._explained(version):
            begun = self._begun_of(version)
            begun.files.update({file.path: file.digest for file in files if file.path in taken})
            for file in files:
                self._put_into(begun, file)

    def make(self, version: DatastoreVersion, files: Sequence[DatastoreFile]) -> None:
        """Make a version's tree, whole or not at all; one that is there already is replaced.

        The paths were checked together, as those of one tree.
        """
        place = self.path(version.name, version.version)
        self._wait(version.name, version.version)
        with self._alone(version.name, version.version), self._explained(version):
            begun = self._begun_of(version)
            for file in files:
                self._put_into(begun, file)
            _seal(begun.folder, {file.path for file in files})
            remove_folder(place)
            os.replace(begun.folder, place)
            self._forget(version.name, version.version)
            self._remove_partials(version.name, version.version)

    def close(self) -> None:
        """Let what begin() was given come to its end, and take no more: the next server may go on with the trees."""
        self._beside.shutdown()

    def _wait(self, name: str, version: int) -> None:
        """Let what begin() was given come to its end, good or bad."""
        coming = self._coming.pop((name, version), None)
        if coming is not None:
            coming.exception()

    def _partial(self, version: DatastoreVersion) -> Path:
        """Return where what will be a version's tree lies in this round of its upload."""
        return self._root / version.name / f".{version.version}.{version.round}.part"

    def _remove_partials(self, name: str, version: int) -> None:
        for partial in (self._root / name).glob(f".{version}.*.part*"):
            remove_folder(partial)

    def _put_into(self, begun: _Begun, file: DatastoreFile) -> None:
        if begun.files.get(file.path) == file.digest:
            return
        folder, place = file.path.rpartition("/")[0], begun.place(file.path)
        if folder not in begun.folders:
            os.makedirs(f"{begun.folder}/{folder}", exist_ok=True)
            begun.folders.add(folder)
        try:
            self._put(file, place)
        except FileExistsError:  # it changed while it was sent, or its content was here
            os.unlink(place)
            self._put(file, place)
        begun.files[file.path] = file.digest

    def _alone(self, name: str, version: int) -> threading.Lock:
        return self._making[hash((name, version)) % len(self._making)]

    def _begun_of(self, version: DatastoreVersion) -> _Begun:
        """Return what is known of a tree on its way: of one that another server began, or that was forgotten, nothing.

        What lies there then is looked at when a file is put into its place.
        """
        with self._remembering:
            begun = self._begun.pop((version.name, version.version), None)
            if begun is None or begun.round != version.round:
                begun = _Begun(version.round, self._partial(version))
                begun.folder.mkdir(parents=True, exist_ok=True)
            self._begun[version.name, version.version] = begun
            while len(self._begun) > _MOST_BEGUN:
                self._begun.pop(next(iter(self._begun)))
            return begun

    def _forget(self, name: str, version: int) -> None:
        with self._remembering:
            self._begun.pop((name, version), None)

    @contextlib.contextmanager
    def _explained(self, version: DatastoreVersion) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            self._forget(version.name, version.version)
            remove_folder(self._partial(version))
            if not isinstance(error, OSError):
                raise
            place, hint = self.path(version.name, version.version), "free space there, or set GRID_STATE"
            raise Unusable(f"cannot make {place}: {error.strerror}", hint=hint) from error

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
        known = {file.path for file in files}
        repaired = _seal(tree, known)
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
        _seal(tree, known)
        return Verdict(files=len(files), damaged=tuple(damaged), repaired=tuple(sorted(repaired)))

    def remove(self, name: str, version: int) -> None:
        """Remove a version's tree, also one that was begun; harmless when there is none."""
        self._wait(name, version)
        with self._alone(name, version):
            self._forget(name, version)
            self._remove_partials(name, version)
        remove_folder(self.path(name, version))
        with contextlib.suppress(OSError):  # other versions are there
            (self._root / name).rmdir()

    def _put(self, file: DatastoreFile, place: str) -> None:
        content, mode = self._contents.location(file.digest), 0o555 if file.executable else 0o444
        if self._clones() and clone_file(Path(content), Path(place)):
            os.chmod(place, mode)
        elif self._has_mounts() and _link(content, place):
            if file.executable:  # of all that have this content: they are one file
                os.chmod(place, mode)
        else:
            Path(place).unlink(missing_ok=True)  # else it would be continued
            copy_file(Path(content), Path(place))
            os.chmod(place, mode)

    def _are_contents(self) -> bool:
        """Return whether a file of a tree is the content under another name."""
        return self._has_mounts() and not self._clones()

    def _clones(self) -> bool:
        if self._can_clone is None:
            with tempfile.TemporaryDirectory(dir=self._root, prefix=".clone-") as trial:
                source = Path(trial, "source")
                source.write_bytes(b"x")
                self._can_clone = clone_file(source, Path(trial, "clone"))
        return self._can_clone


def _link(content: str, place: str) -> bool:
    try:
        os.link(content, place)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        return False
    return True


def _digest(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None


def _seal(tree: Path, known: set[str]) -> list[str]:
    """Make a tree one that nobody may write to, and remove what it should not have; return the paths of that."""
    removed: list[str] = []
    folders = _folders_of(known)
    for folder, below, names in os.walk(tree, topdown=False):
        inside = f"{folder}/"[len(f"{tree}/") :]
        for path in ({inside + name for name in names} - known) | ({inside + name for name in below} - folders):
            place = f"{tree}/{path}"
            with _writable(Path(folder)):
                if os.path.isdir(place) and not os.path.islink(place):
                    os.rmdir(place)  # what was in it was removed before
                else:
                    os.unlink(place)
            removed.append(path)
        os.chmod(folder, _SEALED)
    return removed


def _folders_of(paths: Iterable[str]) -> set[str]:
    """Return all folders that some of these paths lie in, or below."""
    folders: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in folders:
            folders.add(path)
    return folders


@contextlib.contextmanager
def _writable(folder: Path) -> Generator[None]:
    if folder.is_dir():
        os.chmod(folder, _OPEN)
    yield
