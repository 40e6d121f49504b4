"""Files of a source on this computer: each is read once, and copied on the way where the server takes it from."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.client.digests import KnownDigests
from opengrid.core.errors import Conflict, GridError, InvalidValue, Unusable
from opengrid.core.files import clone_file, copy_file, read_through

if TYPE_CHECKING:
    from opengrid.client.documents import OfferedFile

#: A file of at most so many bytes is read by one call.
SMALL = 1 << 20

#: The disk of the staging folder is looked at before so many bytes are put there.
_LOOK_BYTES = 64 << 20

#: A file that changes while it is read is read again so often.
_ROUNDS = 3

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file as it was read."""

    position: int
    path: str
    status: os.stat_result
    digest: str
    in_tree: bool = False  #: whether it was put where it will lie in the version

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.status.st_size

    def offered(self) -> OfferedFile:
        """Return what the server is told."""
        return {
            "position": self.position,
            "path": self.path,
            "size": self.status.st_size,
            "sha256": self.digest,
            "executable": bool(self.status.st_mode & 0o111),
            "in_tree": self.in_tree,
        }


class Changed(Exception):
    """A file is not as it was read."""


class Reader:
    """Reads files below `root`, from any thread.

    `staging` is a folder of the server's disk from which it takes contents by their digest, None without one; `tree` is
    one where files may be put as they will lie in the version; so many bytes of that disk stay free.
    `progress` is called with bytes that were dealt with, and with those of them that took time.
    """

    def __init__(
        self,
        root: Path,
        known: KnownDigests,
        progress: Callable[[int, int], None],
        *,
        staging: Path | None,
        tree: Path | None,
        least_free: int,
    ) -> None:
        self.root, self._known, self._progress = root, known, progress
        self._staging, self._tree, self._least_free = staging, tree, least_free
        self._room = 0  #: bytes that may be staged before the disk is looked at again
        self._can_clone = True  #: until the file systems have said that they cannot

    def read(self, position: int, path: str, status: os.stat_result) -> ReadFile:
        """Read a file, and stage it where there is room; return it with its digest.

        `status` is what the file was when it was listed. Raises a GridError that names what cannot be read.
        """
        return self._read(position, path, status, f"{self._tree}/{path}" if self._tree is not None else None)

    def _read(self, position: int, path: str, status: os.stat_result, in_tree: str | None) -> ReadFile:
        place = f"{self.root}/{path}"
        try:
            for _ in range(_ROUNDS):
                digest, is_in_tree, now = self._read_once(place, status, in_tree)
                if digest is not None:
                    self._known.add(path, status, digest)
                    return ReadFile(position, path, status, digest, is_in_tree)
                status = now
        except OSError as error:
            self._check_is_wanted()
            raise explained(error, place) from error
        raise keeps_changing(place)

    def read_again(self, file: ReadFile) -> ReadFile:
        """Read a file that was not as it had been; what lies in the tree of it may be a content by now, and stays."""
        self._known.forget(file.path)
        self._progress(-file.size, 0)
        place = self.place(file)
        try:
            status = place.stat()
        except OSError as error:
            raise explained(error, place) from error
        return self._read(file.position, file.path, status, None)

    def stage(self, file: ReadFile) -> None:
        """Bring a content that the server asks for to where it takes it from; Changed when the file has."""
        place = self.place(file)
        try:
            self._stage(place, file)
            if self.has_changed(file):
                raise Changed
        except OSError as error:
            self._check_is_wanted()
            raise explained(error, place) from error

    def has_changed(self, file: ReadFile) -> bool:
        """Return whether a file is not as it was read. Raises OSError."""
        return not _same(self.place(file).stat(), file.status)

    def place(self, file: ReadFile) -> Path:
        """Return where a file lies."""
        return self.root / file.path

    def _may_stage(self, staging: Path, size: int) -> bool:
        """Return whether there is room for so many bytes more; the disk is looked at for every 64 MiB."""
        if self._room < size:
            room = shutil.disk_usage(staging).free - self._least_free
            self._room = min(room, max(size, _LOOK_BYTES))
        if self._room < size:
            return False
        self._room -= size
        return True

    def _read_once(
        self, place: str, status: os.stat_result, in_tree: str | None
    ) -> tuple[str | None, bool, os.stat_result]:
        """Return a file's digest, None when it is not what it was, whether it was put `in_tree`, and what it is now."""
        digest, is_in_tree = None, False
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            content = os.read(descriptor, status.st_size) if status.st_size <= SMALL else None
            now = os.fstat(descriptor)
            if not stat.S_ISREG(now.st_mode):
                raise InvalidValue(f"{place} is no file any more", hint="repeat the command")
            if not _same(now, status):
                return None, False, now
            if content is None:
                digest, is_in_tree = self._read_large(place, descriptor, status, in_tree)
                now = os.fstat(descriptor)
                if not _same(now, status):
                    self._progress(-status.st_size, 0)
                    return None, False, now
            elif len(content) == status.st_size:
                digest = hashlib.sha256(content).hexdigest()
                self._read_some(status.st_size)
                is_in_tree = self._stage_small(content, digest, status, in_tree)
            return digest, is_in_tree, now
        finally:
            os.close(descriptor)

    def _stage_small(self, content: bytes, digest: str, status: os.stat_result, in_tree: str | None) -> bool:
        """Stage a content at once, where there is room; return whether it was put `in_tree`."""
        if self._staging is None or not self._may_stage(self._staging, len(content)):
            return False
        if in_tree is None:
            with contextlib.suppress(FileExistsError):  # the server looks at every byte of it
                _write_small(f"{self._staging}/{digest}", content, 0o444)
            return False
        try:
            return _write_small(in_tree, content, _mode(status))
        except FileNotFoundError:
            self._check_is_wanted()
            os.makedirs(os.path.dirname(in_tree), exist_ok=True)
        return _write_small(in_tree, content, _mode(status))

    def _check_is_wanted(self) -> None:
        """Raise Conflict when there is no place any more for what is read."""
        if not all(folder is None or folder.is_dir() for folder in (self._staging, self._tree)):
            raise Conflict(
                "the version was deleted meanwhile, or another command goes on with it",
                hint="repeat the command for another version",
            )

    def _read_large(self, place: str, descriptor: int, status: os.stat_result, in_tree: str | None) -> tuple[str, bool]:
        """Read a file through, into a copy where there is room; return its digest, and whether it was put `in_tree`.

        A copy that was broken off goes on where it was, and is staged, as a clone is: the server looks at every byte.
        """
        size = status.st_size
        if self._staging is None or not self._may_stage(self._staging, size):
            return read_through(descriptor, size, progress=self._read_some), False
        partial = self._staging / f"{_token(status)}.copy"
        is_begun = partial.exists()
        if self._can_clone and not is_begun:
            self._can_clone = is_begun = clone_file(Path(place), partial)
        copy = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            digest = read_through(descriptor, size, copy=copy, progress=self._read_some)
            if in_tree is None or is_begun:
                os.replace(partial, self._staging / digest)
                return digest, False
            os.fchmod(copy, _mode(status))
            self._check_is_wanted()
            os.makedirs(os.path.dirname(in_tree), exist_ok=True)
            os.replace(partial, in_tree)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            partial.unlink(missing_ok=True)
            return read_through(descriptor, size, progress=self._read_some), False
        finally:
            os.close(copy)
        return digest, True

    def _read_some(self, size: int) -> None:
        self._progress(size, size)

    def _stage(self, place: Path, file: ReadFile) -> None:
        if self._staging is None:
            raise ValueError("there is no folder to stage in")
        staged, partial = self._staging / file.digest, self._staging / f"{file.digest}.part"
        if staged.exists():
            return
        self._can_clone = self._can_clone and not partial.exists() and clone_file(place, partial)
        if self._can_clone:
            self._progress(file.size, 0)
        else:
            with contextlib.suppress(FileNotFoundError):
                self._progress(partial.stat().st_size, 0)
            copy_file(place, partial, self._read_some)
        os.replace(partial, staged)


def _mode(status: os.stat_result) -> int:
    """Return the mode of a version's file."""
    return 0o555 if status.st_mode & 0o111 else 0o444


def _write_small(place: str, content: bytes, mode: int) -> bool:
    """Make a file; return whether there was room. FileExistsError, FileNotFoundError as open() raises them."""
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            is_whole = os.write(descriptor, content) == len(content)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        is_whole = False
    if not is_whole:  # the server may have it already; if not, it says what to do
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
    return is_whole


def keeps_changing(place: Path | str) -> GridError:
    """Return the error for a file that is written to all the time."""
    return GridError(f"{place} keeps changing", hint="repeat the command when nobody writes to it any more")


def explained(error: OSError, place: Path | str) -> GridError:
    """Return what an error of the file system means to whoever typed the command."""
    again = "then repeat the command: it goes on where it was"
    if error.errno in _FULL:
        return Unusable(f"no space left for {place}", hint=f"free space there, {again}")
    if error.errno == errno.ENOENT:
        return Unusable(f"{place} has vanished", hint="repeat the command: it goes on where it was")
    return Unusable(f"cannot read {place}: {error.strerror}", hint=f"see to it that you may, {again}")


def _token(status: os.stat_result) -> str:
    """Return a name for the copy of a file as it is now, whose digest is not known yet."""
    stamp = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    return hashlib.sha256(stamp.encode()).hexdigest()


def _same(now: os.stat_result, then: os.stat_result) -> bool:
    return (now.st_size, now.st_mtime_ns, now.st_ino) == (then.st_size, then.st_mtime_ns, then.st_ino)
