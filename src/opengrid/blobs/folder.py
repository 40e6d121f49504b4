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
from typing import BinaryIO

from opengrid.core.errors import InvalidValue, NotFound, Unusable

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


class FolderBlobs:
    """Blobs in one folder; a blob appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where a blob lies; NotFound when it does not exist, InvalidValue when `digest` is none."""
        path = self._place(digest)
        if not path.is_file():
            raise NotFound(f"no blob {digest[:12]}…", hint="upload it first")
        return path

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
        place = self._place(digest)
        found, size = hashlib.sha256(), 0
        with _disk_errors(self._root):
            try:
                with open(os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        raise InvalidValue(f"{staged.name} is no file")
                    while block := file.read(_BLOCK):
                        found.update(block)
                        size += len(block)
                    os.fchmod(file.fileno(), 0o444)
                if found.hexdigest() != digest:
                    raise InvalidValue(f"the file staged as {digest[:12]}… has SHA-256 {found.hexdigest()[:12]}…")
                place.parent.mkdir(exist_ok=True)
                os.replace(staged, place)
            except FileNotFoundError as error:
                raise NotFound(f"nothing is staged as {digest[:12]}…", hint="put it there first") from error
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENXIO):
                    raise
                raise InvalidValue(f"{staged.name} is no file") from error
            finally:
                staged.unlink(missing_ok=True)
        return size

    def adopt_all(self, staging: Path, digests: Collection[str]) -> None:
        """Take over what a folder holds of these; what is not what it says is taken away."""
        for digest in digests:
            with suppress(NotFound, InvalidValue):
                self.adopt(staging / digest, digest)

    def check(self, digests: Collection[str]) -> set[str]:
        """Read blobs; return those that are not here or not what they should be, which are removed."""
        damaged = {digest for digest in digests if self._digest(digest) != digest}
        self.remove(damaged)
        return damaged

    def size(self, digest: str) -> int | None:
        """Return a blob's bytes; None when it is not here."""
        try:
            return self._place(digest).stat().st_size
        except FileNotFoundError:
            return None

    def location(self, digest: str) -> str:
        """Return where a blob lies, or would, for people to see."""
        return str(self._place(digest))

    def remove(self, digests: Collection[str]) -> int:
        """Remove blobs, harmless where there is none; return the bytes that this freed."""
        freed = 0
        for digest in digests:
            freed += self.size(digest) or 0
            self._place(digest).unlink(missing_ok=True)
        return freed

    @property
    def links(self) -> None:
        """None: who shares the disk has paths, and others ask the server."""
        return None

    def _digest(self, digest: str) -> str | None:
        found = hashlib.sha256()
        try:
            with self.path(digest).open("rb") as file:
                while block := file.read(_BLOCK):
                    found.update(block)
        except (NotFound, OSError):
            return None
        return found.hexdigest()

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidValue(f"{digest!r} is no SHA-256 digest")
        return self._root / digest[:2] / digest


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


@contextmanager
def _disk_errors(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise Unusable(
            f"cannot write below {folder}: {error.strerror}", hint="free space there, or set GRID_STATE"
        ) from error
