"""A folder that keeps one file per content, named by its SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import uuid
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from opengrid.core.errors import InvalidValue, NotFound, Unusable
from opengrid.core.files import CANNOT_LINK, file_digest, read_through

_DIGEST = re.compile(r"[0-9a-f]{64}")

#: The modes of contents.
_SEALED, _PROGRAM = 0o444, 0o555


class FolderBlobs:
    """Blobs in one folder; a blob appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where a blob lies; NotFound when it does not exist, InvalidValue when `digest` is none."""
        name = self._name(digest)
        if not os.path.isfile(name):
            raise NotFound(f"no blob {digest[:12]}…", hint="upload it first")
        return Path(name)

    def exists(self, digest: str) -> bool:
        """Return whether the blob is here, whole."""
        return self._place(digest).is_file()

    @contextmanager
    def writing(self, digest: str) -> Generator[BlobWriter]:
        """Receive a blob in pieces; on leaving without an error its content is verified and it appears."""
        place = self._place(digest)
        with _disk_errors(self._root):
            place.parent.mkdir(exist_ok=True)
            partial = place.with_name(f".{digest}.{uuid.uuid4().hex}.part")
            try:
                with partial.open("xb") as file:
                    writer = BlobWriter(file)
                    yield writer
                if writer.digest() != digest:
                    raise InvalidValue(
                        f"the bytes received for blob {digest[:12]}… have SHA-256 {writer.digest()[:12]}…"
                    )
                os.replace(partial, place)
            finally:
                partial.unlink(missing_ok=True)

    def adopt(self, staged: Path, digest: str) -> int:
        """Take over a file of the same disk: verified, then renamed; return its size. It is gone there in any case.

        InvalidValue when its content is another, NotFound when there is no such file.
        """
        with _disk_errors(self._root):
            return self._adopt(str(staged), digest)

    def adopt_all(self, staging: Path, digests: Collection[str]) -> None:
        """Take over what a folder holds of these; what is not what it says is taken away."""
        with _disk_errors(self._root):
            for digest in digests:
                with suppress(NotFound, InvalidValue):
                    self._adopt(f"{staging}/{digest}", digest)

    def share(self, staged: str, digest: str, size: int) -> bool:
        """Take over a file of the same disk; return whether it stays where it is, as another name of the content.

        Else it may be gone there. What is not what it says is not taken; a file of our own user's is taken at its word
        but for its size: who can put one there can write to the store, and looking again would double what it costs.
        """
        place = self._name(digest)
        try:  # a context for each of many files would take as long as the look at it
            status = os.lstat(staged)
            if status.st_size != size or not stat.S_ISREG(status.st_mode):
                return False
            if status.st_uid != os.geteuid():
                self._adopt(staged, digest)
                return False
            if stat.S_IMODE(status.st_mode) not in (_SEALED, _PROGRAM):  # somebody has a umask of their own
                os.chmod(staged, _PROGRAM if status.st_mode & 0o111 else _SEALED)
            try:
                return _link(staged, place)
            except OSError as error:
                if error.errno not in CANNOT_LINK:
                    raise
            self._adopt(staged, digest)
        except (NotFound, InvalidValue, FileNotFoundError):
            pass
        except OSError as error:
            _explain(error, self._root)
        return False

    def _adopt(self, staged: str, digest: str) -> int:
        place = self._name(digest)
        try:
            size = _seal(staged, digest)
            try:
                os.replace(staged, place)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                os.replace(staged, place)
        except FileNotFoundError as error:
            raise NotFound(f"nothing is staged as {digest[:12]}…", hint="put it there first") from error
        except BaseException:
            with suppress(OSError):
                os.unlink(staged)
            raise
        return size

    def check(self, digests: Collection[str]) -> set[str]:
        """Read blobs; return those that are not here or not what they should be, which are removed."""
        damaged = {digest for digest in digests if self._digest(digest) != digest}
        self.remove(damaged)
        return damaged

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """Return the bytes of those of these blobs that are here."""
        found: dict[str, int] = {}
        for digest in digests:
            with suppress(FileNotFoundError):
                found[digest] = os.stat(self._name(digest)).st_size
        return found

    def location(self, digest: str) -> str:
        """Return where a blob lies, or would, for people to see."""
        return self._name(digest)

    def remove(self, digests: Collection[str]) -> int:
        """Remove blobs, harmless where there is none; return the bytes that this freed."""
        freed = 0
        for digest in digests:
            with suppress(FileNotFoundError):
                place = self._name(digest)
                size = os.stat(place).st_size
                os.unlink(place)
                freed += size
        return freed

    @property
    def links(self) -> None:
        """None: who shares the disk has paths, and others ask the server."""
        return None

    def _digest(self, digest: str) -> str | None:
        try:
            return file_digest(self.path(digest))
        except (NotFound, OSError):
            return None

    def _place(self, digest: str) -> Path:
        return Path(self._name(digest))

    def _name(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise InvalidValue(f"{digest!r} is no SHA-256 digest")
        return f"{self._root}/{digest[:2]}/{digest}"


class BlobWriter:
    """One blob on its way in."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._hash.update(data)
        self._file.write(data)

    def digest(self) -> str:
        """Return the SHA-256 of what was written so far."""
        return self._hash.hexdigest()


def _link(staged: str, place: str) -> bool:
    try:
        os.link(staged, place)
    except FileExistsError:
        return False
    except FileNotFoundError:
        folder = os.path.dirname(place)
        if os.path.isdir(folder):
            raise
        os.makedirs(folder, exist_ok=True)
        return _link(staged, place)
    return True


def _seal(staged: str, digest: str) -> int:
    """Make a staged file one that nobody may write to; return its size. InvalidValue when its content is another."""
    try:
        descriptor = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise InvalidValue(f"{os.path.basename(staged)} is no file") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidValue(f"{os.path.basename(staged)} is no file")
        if stat.S_IMODE(status.st_mode) != _SEALED:
            os.fchmod(descriptor, _SEALED)
        found = read_through(descriptor, status.st_size)
        if found != digest:
            raise InvalidValue(f"the file staged as {digest[:12]}… has SHA-256 {found[:12]}…")
        return status.st_size
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        _explain(error, folder)


def _explain(error: OSError, folder: Path) -> NoReturn:
    """Raise what an error means to whoever keeps the disk, else itself."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        raise error
    raise Unusable(
        f"cannot write below {folder}: {error.strerror}", hint="free space there, or set GRID_STATE"
    ) from error
