"""What a machine keeps of datastores: each content once, by its digest, and trees of versions, made of links to them.

Bounded: what was not used for longest goes, never what an agent of this machine uses. Several agents, and a server on
the same host, share one cache.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from opengrid.core.disks import DiskGuard
from opengrid.core.files import copy_file, file_digest, statuses
from opengrid.core.manifest import safe_path
from opengrid.core.protocol import DataFile

_BLOCK = 1 << 20

#: What may be about to be used is not removed.
_FRESH_S = 60.0

#: What to do where a machine has no room for data.
NO_ROOM = "free space there; where a cluster keeps data, its --work-dir says"


class Tree(NamedTuple):
    """A version's tree as it was made."""

    place: str
    files: int
    size: int
    made_ns: int


class DataCache:
    """The cache of one machine: in `folder` contents as `ab/<sha256>`, and a file per tree that says how it was made.

    It keeps to `most` bytes and leaves the disk what `disks` says. Trees that were taken are in use until this process
    ends.
    """

    def __init__(self, folder: Path, most: int, *, disks: DiskGuard) -> None:
        self._folder, self._most, self._disks = folder, most, disks
        self._trees = folder / "trees"
        self._taken: dict[str, int] = {}  #: locks, by tree

    def take(self, name: str, place: Path, make: Callable[[bool], Sequence[DataFile]]) -> None:
        """Have a whole tree at `place`, from now on in use.

        Unless it is there as it was made, `make` has to bring the contents of its files and return these; it is told
        whether what is in the cache must be looked at, and calls `reserve` before it brings any. Raises OSError.
        """
        for folder in (self._trees, self._folder / "locks"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name not in self._taken:
            self._taken[name] = _open(self._trees / name)
            fcntl.flock(self._taken[name], fcntl.LOCK_SH)  # from now on it is in use
        descriptor = self._taken[name]
        with self._alone(name):  # another experiment's agent may be making the same
            made = _read(descriptor)
            if made is None or made.place != str(place) or not _is_untouched(made):
                with self._alone(".contents"):  # who makes room must not meet what another brings or links
                    files = make(made is not None)
                    _write(descriptor, self._make_tree(place, files))
                    self._make_room(0)
        os.utime(descriptor)

    def reserve(self, size: int) -> None:
        """Make room for contents of so many bytes; Unusable when the disk cannot have it. For `make` alone."""
        self._make_room(size)
        self._disks.check(self._folder, size, hint=NO_ROOM)

    def make_room(self) -> bool:
        """Remove what nobody uses until the disk has room for something new; return whether there was anything."""
        if not self._trees.is_dir():
            return False
        with self._alone(".contents"):
            return self._make_room(0)

    def close(self) -> None:
        """Let go the trees that were taken."""
        while self._taken:
            os.close(self._taken.popitem()[1])

    def has(self, digest: str, size: int) -> bool:
        """Return whether a content is here, as far as its size tells."""
        try:
            path = self.path(digest)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used now, written when it was
            return path.stat().st_size == size
        except FileNotFoundError:
            return False

    def check(self, digest: str) -> bool:
        """Read a content; return whether it is what it should be. What is not is removed."""
        with contextlib.suppress(FileNotFoundError):
            if file_digest(self.path(digest)) == digest:
                return True
        self.path(digest).unlink(missing_ok=True)
        return False

    def path(self, digest: str) -> Path:
        """Return where a content is kept."""
        return self._folder / digest[:2] / digest

    def partial(self, digest: str) -> Path:
        """Return the file that a content is written to until it is whole; what is in there was written earlier."""
        place = self.path(digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        return place.with_name(f".{digest}.part")

    def keep(self, digest: str) -> None:
        """Take what was written for a content as whole."""
        partial = self.partial(digest)
        partial.chmod(0o444)  # no script is to change what others read
        os.replace(partial, self.path(digest))

    @contextmanager
    def _alone(self, name: str) -> Generator[None]:
        with open(_open(self._folder / "locks" / name), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_tree(self, place: Path, files: Sequence[DataFile]) -> Tree:
        partial = place.with_name(f".{place.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o755, parents=True)
        for file in files:
            self._put(file, safe_path(partial, file.path))
        shutil.rmtree(place, ignore_errors=True)
        os.rename(partial, place)
        size = sum(file.size for file in files)
        return Tree(str(place), len(files), size, time.time_ns())

    def _put(self, file: DataFile, place: Path) -> None:
        content = self.path(file.sha256)
        try:
            os.link(content, place)
        except FileNotFoundError:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(content, place)
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
                raise
            copy_file(content, place)
        if file.executable:  # of all that have this content, where they are one file
            place.chmod(0o555)

    def _make_room(self, size: int) -> bool:
        """Remove what nobody uses until so many bytes more fit; return whether there was anything to remove."""
        removed = False
        while True:
            fits, some = self._remove_contents(size)
            removed |= some
            if fits or not self._remove_oldest_tree():
                return removed
            removed = True

    def _remove_contents(self, size: int) -> tuple[bool, bool]:
        """Remove contents that no tree has, the oldest first; return whether the rest fits, and whether some went."""
        found = [(path, path.stat()) for path in self._folder.glob("[0-9a-f][0-9a-f]/*")]
        total = before = sum(status.st_size for _, status in found)
        for path, status in sorted(found, key=lambda one: one[1].st_atime_ns):
            if self._fits(total, size) or time.time() - status.st_atime < _FRESH_S:
                break
            if status.st_nlink == 1:
                path.unlink(missing_ok=True)
                total -= status.st_size
        return self._fits(total, size), total < before

    def _fits(self, total: int, size: int) -> bool:
        return total + size <= self._most and self._disks.lack(self._folder, size=size) is None

    def _remove_oldest_tree(self) -> bool:
        """Remove the tree that nobody uses and was not used for longest; return whether there was one."""
        for path in sorted(self._trees.iterdir(), key=lambda one: one.stat().st_mtime_ns):
            with open(_open(path), "rb") as file:
                made = _read(file.fileno())
                if made is None:
                    continue
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(made.place, ignore_errors=True)
                    os.truncate(file.fileno(), 0)
                    return True
        return False


def _is_untouched(made: Tree) -> bool:
    """Return whether no file came, went, or was written since a tree was made. Reads no content."""
    files = size = 0
    for status in statuses(made.place):
        files += 1
        size += status.st_size
        if status.st_mtime_ns > made.made_ns:
            return False
    return (files, size) == (made.files, made.size)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _read(descriptor: int) -> Tree | None:
    try:
        place, files, size, made_ns = json.loads(os.pread(descriptor, 1 << 16, 0))
        return Tree(str(place), int(files), int(size), int(made_ns))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, made: Tree) -> None:
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(made).encode(), 0)
