"""A folder or file into a datastore version: read once, and only what the server lacks is sent."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.documents import DatastoreRow, OfferedFileDocument, UploadDocument
from opengrid.client.packs import Content, Uploader
from opengrid.core.errors import GridError, InvalidValue, NotFound, ServerUnreachable, Unusable
from opengrid.core.files import clone_file, copy_file
from opengrid.core.manifest import Manifest, ManifestFile, walk_files
from opengrid.core.packs import Packed
from opengrid.core.protocol import least_free_bytes

T = TypeVar("T")

_BLOCK = 1 << 20

#: Files that are offered together: so many, of so many bytes. Packs are made of what is offered together.
_BATCH_FILES, _BATCH_BYTES = 500, 128 << 20
_PACKED_FILES, _PACKED_BYTES = 4000, 256 << 20

#: So many packs are on their way at once.
_PACKS_AT_ONCE = 4

#: What is sent over HTTP in one request.
PART = 8 << 20

#: A server that does not answer is asked again so often, with pauses that grow from this.
_TRIES, _PAUSE_S = 6, 0.2

#: A file that changes while it is read is read again so often.
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What will be sent."""

    root: Path
    paths: tuple[str, ...]  #: relative, sorted
    size: int  #: bytes


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was read."""

    position: int
    path: str
    status: os.stat_result
    digest: str

    def offered(self) -> OfferedFileDocument:
        """Return what the server is told."""
        return {
            "position": self.position,
            "path": self.path,
            "size": self.status.st_size,
            "sha256": self.digest,
            "executable": bool(self.status.st_mode & 0o111),
        }


class _Changed(Exception):
    """A file is not as it was read."""


def find_material(source: Path) -> Material:
    """Return the files of a folder, or the one file; NotFound or InvalidValue when there is nothing to send."""
    try:
        if source.is_file():
            return Material(root=source.parent, paths=(source.name,), size=source.stat().st_size)
        if not source.exists():
            raise NotFound(f"there is no {source}", hint="give a folder or a file of this computer", field="source")
        if not source.is_dir():
            raise InvalidValue(f"{source} is neither a folder nor a file", field="source")
        paths = tuple(walk_files(source))
        size = sum((source / path).stat().st_size for path in paths)
    except OSError as error:
        raise _explained(error, Path(error.filename or source)) from error
    if not paths:
        raise InvalidValue(f"{source} is empty", hint="a datastore needs at least one file", field="source")
    return Material(root=source, paths=paths, size=size)


class Sender:
    """Sends one source into one version.

    `progress` is called with the bytes that were dealt with, once when they are read and once when the server has them,
    and with those of them that took time.
    """

    def __init__(
        self,
        api: Api,
        opened: UploadDocument,
        material: Material,
        known: KnownDigests,
        progress: Callable[[int, int], None],
    ) -> None:
        self._api, self._opened, self._material = api, opened, material
        self._known, self._progress = known, progress
        self._can_clone = True  #: until the file systems have said that they cannot
        staging = Path(opened["staging"])
        self._uploader = (
            Uploader(_UploadCarrier(api, opened), progress, shares=True, at_once=_PACKS_AT_ONCE)
            if opened["links"]
            else None
        )
        is_here = self._uploader is None and staging.is_dir() and os.access(staging, os.W_OK)
        self._staging = staging if is_here else None

    def run(self) -> DatastoreRow:
        """Send what is missing, and make the version whole. Repeating goes on where it was."""
        if self._staging is not None:
            self._check_space(self._staging)
        files: list[_Known] = []
        for batch in self._batches():
            files += self._save(batch)
            self._known.flush()
        manifest = Manifest(
            files=tuple(ManifestFile(path=f.path, size=f.status.st_size, sha256=f.digest) for f in files)
        )
        return _patiently(
            lambda: self._api.finish_datastore(
                self._opened, digest=manifest.digest, files=len(files), size=manifest.size
            )
        )

    def _check_space(self, staging: Path) -> None:
        """Refuse at once what certainly does not fit: files that the server has already need no space."""
        disk = shutil.disk_usage(staging)
        if disk.free < least_free_bytes(disk.total):
            raise Unusable(
                f"no space left for datastores in {staging}: {disk.free >> 20} MiB are free", hint="free space there"
            )

    def _batches(self) -> Iterator[list[_Known]]:
        packs = self._uploader is not None
        most_files, most_bytes = (_PACKED_FILES, _PACKED_BYTES) if packs else (_BATCH_FILES, _BATCH_BYTES)
        batch: list[_Known] = []
        size = 0
        for position, path in enumerate(self._material.paths):
            file = self._read(position, path)
            batch.append(file)
            size += file.status.st_size
            if len(batch) >= most_files or size >= most_bytes:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _read(self, position: int, path: str) -> _Known:
        place = self._material.root / path
        try:
            for _ in range(_ROUNDS):
                status = place.stat()
                digest = self._known.find(path, status)
                if digest is not None:
                    self._progress(status.st_size, 0)
                    return _Known(position, path, status, digest)
                digest = self._digest(place, status.st_size)
                if _same(place.stat(), status):
                    self._known.add(path, status, digest)
                    return _Known(position, path, status, digest)
                self._progress(-status.st_size, 0)
        except OSError as error:
            raise _explained(error, place) from error
        raise _keeps_changing(place)

    def _digest(self, place: Path, size: int) -> str:
        """Return the digest of the first `size` bytes: a file that grows faster than it is read has no end."""
        digest, left = hashlib.sha256(), size
        with place.open("rb", buffering=0) as file:
            while left and (block := file.read(min(_BLOCK, left))):
                digest.update(block)
                left -= len(block)
                self._progress(len(block), len(block))
        return digest.hexdigest()

    def _save(self, batch: list[_Known]) -> list[_Known]:
        """Bring files to the server; return them as they were when they came there."""
        saved = {file.position: file for file in batch}
        missing = self._offer(batch)
        self._progress(sum(f.status.st_size for f in batch) - sum(f.status.st_size for f in missing), 0)
        for last in (False, False, True):
            if not missing:
                break
            changed = self._bring(missing)
            if changed and last:
                raise _keeps_changing(self._material.root / changed[0].path)
            again = [self._read_again(file) if file in changed else file for file in missing]
            saved.update({file.position: file for file in again})
            missing = self._offer(again)
        if missing:
            raise _keeps_changing(self._material.root / missing[0].path)
        return list(saved.values())

    def _read_again(self, file: _Known) -> _Known:
        self._known.forget(file.path)
        self._progress(-file.status.st_size, 0)
        return self._read(file.position, file.path)

    def _offer(self, files: list[_Known]) -> list[_Known]:
        offered = [file.offered() for file in files]
        wanted = set(_patiently(lambda: self._api.offer_datastore_files(self._opened, offered)))
        return [file for file in files if file.digest in wanted]

    def _bring(self, files: list[_Known]) -> list[_Known]:
        """Stage or send contents; return the files that have changed since they were read."""
        changed: list[_Known] = []
        first_of: dict[str, _Known] = {}
        for file in files:
            first_of.setdefault(file.digest, file)
        if self._uploader is not None:
            return self._bring_packed(self._uploader, list(first_of.values()))
        for file in first_of.values():
            try:
                self._bring_one(file)
            except _Changed:
                changed.append(file)
        return changed

    def _bring_packed(self, uploader: Uploader, files: list[_Known]) -> list[_Known]:
        places = {file.digest: self._material.root / file.path for file in files}
        contents = [
            Content(sha256=file.digest, size=file.status.st_size, open=partial(places[file.digest].open, "rb"))
            for file in files
        ]
        try:
            changed = uploader.bring(contents)
            return [f for f in files if f.digest in changed or not _same(places[f.digest].stat(), f.status)]
        except OSError as error:
            raise _explained(error, Path(error.filename or self._material.root)) from error

    def _bring_one(self, file: _Known) -> None:
        place = self._material.root / file.path
        try:
            if self._staging is not None:
                self._stage(place, file, self._staging)
            else:
                self._send(place, file)
            if not _same(place.stat(), file.status):
                raise _Changed
        except OSError as error:
            raise _explained(error, place) from error

    def _stage(self, place: Path, file: _Known, staging: Path) -> None:
        staged, partial = staging / file.digest, staging / f"{file.digest}.part"
        if staged.exists():
            return
        is_begun = partial.exists()
        self._can_clone = self._can_clone and (is_begun or clone_file(place, partial))
        if self._can_clone and not is_begun:
            self._progress(file.status.st_size, 0)
        else:
            if is_begun:
                self._progress(partial.stat().st_size, 0)
            copy_file(place, partial, lambda size: self._progress(size, size))
        os.replace(partial, staged)

    def _send(self, place: Path, file: _Known) -> None:
        """Send what the server has not yet, part by part; of a large file it is asked first how much that is."""
        size, tries = file.status.st_size, 0
        arrived = self._ask(file) if size > PART or size == 0 else 0
        self._progress(arrived, 0)
        with place.open("rb") as source:
            while arrived < size:
                source.seek(arrived)
                part = source.read(PART)
                if not part:
                    raise _Changed
                before = arrived
                try:
                    arrived = self._send_part(file, part, arrived)
                except ServerUnreachable:
                    arrived, tries = self._ask(file), tries + 1
                    if tries > _TRIES and arrived == before:
                        raise
                self._progress(arrived - before, arrived - before)

    def _ask(self, file: _Known) -> int:
        """Return how much of a content the server has; of one without bytes this brings all."""
        return _patiently(lambda: self._send_part(file, b"", 0))

    def _send_part(self, file: _Known, part: bytes, offset: int) -> int:
        return self._api.send_datastore_part(
            self._opened, file.digest, io.BytesIO(part), offset=offset, size=file.status.st_size
        )


class _UploadCarrier:
    """The server, for one upload, asked by one thread at a time."""

    def __init__(self, api: Api, opened: UploadDocument) -> None:
        self._api, self._opened, self._lock = api, opened, threading.Lock()

    def links(self, packs: Sequence[str]) -> Mapping[str, str]:
        with self._lock:
            return _patiently(lambda: self._api.pack_links(self._opened, packs))

    def add(self, contents: Sequence[Packed]) -> Sequence[str]:
        with self._lock:
            return _patiently(lambda: self._api.add_packed(self._opened, contents))


def _patiently(ask: Callable[[], T]) -> T:
    for tries in range(_TRIES):
        try:
            return ask()
        except ServerUnreachable:
            time.sleep(_PAUSE_S * 2**tries)
    return ask()


def _same(now: os.stat_result, then: os.stat_result) -> bool:
    return (now.st_size, now.st_mtime_ns, now.st_ino) == (then.st_size, then.st_mtime_ns, then.st_ino)


def _keeps_changing(place: Path) -> GridError:
    return GridError(f"{place} keeps changing", hint="repeat the command when nobody writes to it any more")


def _explained(error: OSError, place: Path) -> GridError:
    again = "then repeat the command: it goes on where it was"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unusable(f"no space left for {place}", hint=f"free space there, {again}")
    if error.errno == errno.ENOENT:
        return Unusable(f"{place} has vanished", hint="repeat the command: it goes on where it was")
    return Unusable(f"cannot read {place}: {error.strerror}", hint=f"see to it that you may, {again}")
