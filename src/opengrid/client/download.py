"""Artifacts into a folder: what is there already is kept, what was broken off goes on, everything is verified."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from opengrid.client.api import Api
from opengrid.client.http import PAUSE_S, TRIES, patiently
from opengrid.client.links import BucketClient, located_blocks
from opengrid.core.errors import GridError, InvalidValue, NotFound, ServerUnreachable, Unusable
from opengrid.core.files import file_digest, read_through
from opengrid.core.manifest import safe_path

if TYPE_CHECKING:
    from opengrid.client.documents import ArtifactRow

#: Files up to this size come in one answer, over one connection.
_SMALL = 1 << 20

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)

#: What says that a file cannot have its name here; others can.
_OF_THE_NAME = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class NoPlace(InvalidValue):
    """A file cannot lie where it belongs."""

    code = "no_place"


def place_of(folder: Path, path: str) -> Path:
    """Return where a file lies below a folder; NoPlace when that would be outside, whatever the file is called."""
    place = safe_path(folder, path)
    inside, parent = os.path.realpath(folder), os.path.realpath(place.parent)
    if parent != inside and not parent.startswith(os.path.join(inside, "")):
        raise NoPlace(f"{place.parent} leads out of {folder}", hint="is one of its folders a link?")
    return place


def is_there(place: Path, row: ArtifactRow) -> bool:
    """Return whether a file is there with the artifact's content."""
    try:
        return (
            not place.is_symlink()
            and place.is_file()
            and place.stat().st_size == row["size"]
            and file_digest(place) == row["sha256"]
        )
    except OSError:
        return False


def fetch(
    api: Api,
    experiment: str,
    row: ArtifactRow,
    place: Path,
    partial: Path,
    progress: Callable[[int], None],
    *,
    alike: Path | None = None,
) -> None:
    """Bring an artifact to its place, whole or not at all; what came so far stays in `partial` until then.

    `alike` is a file that has had the same content: it is copied if it still has. Long zeros become holes.
    `progress` is called with the bytes of every block, negative when some have to come again. NotFound when the
    artifact has another content by now; NoPlace when something else lies there; Unusable when the disk is full.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            raise NoPlace(f"{place} is a folder here", hint="move it away, or choose another --download_dir")
        if alike is not None and _copied(alike, row, partial):
            progress(row["size"])
        elif row["size"] <= _SMALL:
            _fetch_small(api, experiment, row, partial)
            progress(row["size"])
        else:
            _fetch_large(api, experiment, row, partial, progress)
        os.replace(partial, place)
    except NotFound:
        partial.unlink(missing_ok=True)
        raise
    except OSError as error:
        kind = NoPlace if error.errno in _OF_THE_NAME else Unusable
        raise kind(f"cannot write {place}: {error.strerror}", hint="what came so far is kept") from error


def _copied(alike: Path, row: ArtifactRow, partial: Path) -> bool:
    try:
        source = alike.open("rb", buffering=0)
    except OSError:
        return False
    with source, partial.open("wb", buffering=0) as copy:
        if read_through(source.fileno(), row["size"], copy=copy.fileno()) == row["sha256"]:
            return True
    partial.unlink()
    return False


def _fetch_small(api: Api, experiment: str, row: ArtifactRow, partial: Path) -> None:
    for last in (False, True):
        content = patiently(lambda: _content(api, experiment, row)) if row["size"] else b""
        if hashlib.sha256(content).hexdigest() == row["sha256"]:
            partial.write_bytes(content)
            return
        if last:
            raise _damaged(row)


def _fetch_large(api: Api, experiment: str, row: ArtifactRow, partial: Path, progress: Callable[[int], None]) -> None:
    for last in (False, True):
        digest = _complete(api, experiment, row, partial, progress)
        if digest == row["sha256"]:
            return
        partial.unlink()
        progress(-row["size"])
        if last:
            raise _damaged(row)


def _complete(api: Api, experiment: str, row: ArtifactRow, partial: Path, progress: Callable[[int], None]) -> str:
    """Append what is missing; return the digest of all."""
    partial.touch()
    digest, tries = hashlib.sha256(), 0
    size = _read(partial, digest.update)
    progress(size)
    with partial.open("r+b") as file:
        file.seek(size)
        while size < row["size"]:
            before = size
            try:
                with _blocks(api, experiment, row, size) as blocks:
                    for block in blocks:
                        _write(file, block, is_last=size + len(block) == row["size"])
                        digest.update(block)
                        size += len(block)
                        progress(len(block))
            except ServerUnreachable:
                tries = 1 if size > before else tries + 1
                if tries > TRIES:
                    raise
                time.sleep(PAUSE_S * 2**tries)
    return digest.hexdigest()


def _write(file: BinaryIO, block: bytes, *, is_last: bool) -> None:
    """Write a block, or leave a hole for one of zeros; not in the end, which says how long the file is."""
    if block == _ZEROS[: len(block)] and not is_last:
        file.seek(len(block), os.SEEK_CUR)
    else:
        file.write(block)


def _content(api: Api, experiment: str, row: ArtifactRow) -> bytes:
    if not _is_in_bucket(row):
        return api.artifact(experiment, row)
    with _blocks(api, experiment, row, 0) as blocks:
        return b"".join(blocks)


@contextmanager
def _blocks(api: Api, experiment: str, row: ArtifactRow, offset: int) -> Generator[Iterator[bytes]]:
    """Give the blocks of an artifact from an offset on, from the bucket itself when it rests in one."""
    if not _is_in_bucket(row):
        with api.artifact_blocks(experiment, row, offset) as blocks:
            yield blocks
        return
    bucket = BucketClient()
    try:
        yield located_blocks(bucket, lambda: api.locate_artifact(experiment, row), offset)
    finally:
        bucket.close()


def _is_in_bucket(row: ArtifactRow) -> bool:
    return row["stored_at"].startswith("s3://")


def _read(path: Path, take: Callable[[bytes], object]) -> int:
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            take(block)
            size += len(block)
    return size


def _damaged(row: ArtifactRow) -> GridError:
    return GridError(f"{row['path']} arrived damaged, twice", hint="try again; is the server's disk in order?")
