"""One file's content: whole, still as it was scanned, hashed, and brought to the server."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from opengrid.client.http import Http
from opengrid.core import checkpoint_file
from opengrid.core.disks import reserved_bytes
from opengrid.core.files import copy_open, read_through
from opengrid.core.protocol import ArtifactFile
from opengrid.node.scan import linked_file
from opengrid.node.settling import Version

#: How files of scripts are opened: whatever has taken a file's place, nobody waits and nothing is followed.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

#: What the kernel counts a file's space in.
_BLOCK = 512

#: The server reads what it is given once more before it answers: it gets a second for so many bytes.
_SERVER_BYTES_A_SECOND = 20 << 20


class NotNow(Exception):
    """A file cannot be saved as it is at the moment."""


def check_whole(path: Path, *, thorough: bool) -> None:
    """Refuse a checkpoint that somebody was killed while writing: it must not replace the whole one before it.

    A computer that went down may leave files of the right size without their content: `thorough` reads them.
    """
    if checkpoint_file.may_be_anything(path.name) and not checkpoint_file.is_of_torch(path):
        return
    problem = checkpoint_file.torn(path) or (checkpoint_file.damaged(path) if thorough else None)
    if problem is not None:
        raise NotNow(f"it is torn: {problem}")


def version_of(path: Path) -> Version | None:
    """Return what tells a file's content from another, None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Version(status.st_size, status.st_mtime_ns, status.st_ino)


def opened(root: Path, path: str, version: Version) -> BinaryIO:
    """Open a file that was scanned, with nothing else in its place. Raises NotNow and OSError."""
    place = os.path.join(root, path)
    try:
        descriptor = os.open(place, _READ)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        target = linked_file(os.path.realpath(root), place)
        if target is None:
            raise NotNow("it is a link that leaves the work folder") from None
        descriptor = os.open(target, _READ)
    file = io.FileIO(descriptor)
    if _version(file) != version:
        file.close()
        raise NotNow("it kept changing")
    return file


def _version(file: BinaryIO) -> Version | None:
    status = os.fstat(file.fileno())
    return Version(status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def digest_as_scanned(root: Path, path: str, version: Version) -> str:
    """Return the SHA-256 of a file that was scanned, with nothing else in its place. Raises NotNow and OSError."""
    with opened(root, path, version) as file:
        digest = read_through(file.fileno(), version.size)
        if _version(file) != version:
            raise NotNow("it kept changing")
    return digest


def stage(file: BinaryIO, offer: ArtifactFile, staging: Path) -> None:
    """Copy a file to where the server takes it from, its holes as holes. Raises OSError."""
    disk = shutil.disk_usage(staging)
    needed = min(offer.size, os.fstat(file.fileno()).st_blocks * _BLOCK)
    if disk.free - needed < reserved_bytes(disk.total):
        raise OSError(errno.ENOSPC, f"no space left for {offer.size} bytes: {disk.free >> 20} MiB are free")
    staged = os.path.join(staging, offer.sha256)
    try:
        copy = os.open(staged, _CREATE, 0o600)
    except FileExistsError:  # of an earlier try; it may be write-protected
        os.unlink(staged)
        copy = os.open(staged, _CREATE, 0o600)
    try:
        copy_open(file.fileno(), copy)
    except BaseException:
        os.unlink(staged)
        raise
    finally:
        os.close(copy)


def put(http: Http, file: BinaryIO, offer: ArtifactFile) -> None:
    """Send a file to the server."""
    file.seek(0)
    http.request(
        "PUT",
        f"/agent/v1/artifacts/contents/{offer.sha256}",
        body=file,
        timeout_s=server_time_s(offer.size),
    )


def server_time_s(size: int) -> float:
    """Return how long the server may take over so many bytes."""
    return 60 + size / _SERVER_BYTES_A_SECOND
