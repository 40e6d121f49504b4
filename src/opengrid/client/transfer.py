"""A folder or file into a datastore version: read once, and only what the server lacks is sent."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.http import patiently
from opengrid.client.reading import SMALL, Changed, Reader, ReadFile, explained, keeps_changing
from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.manifest import list_files, tree_digest

if TYPE_CHECKING:
    from opengrid.client.documents import DatastoreRow, UploadDocument
    from opengrid.client.packing import Packing
    from opengrid.client.parts import Parts

#: Files that are offered together: so many that have to be read, of so many bytes. Packs are made of them.
_BATCH_FILES, _BATCH_BYTES = 1000, 128 << 20
_PACKED_FILES, _PACKED_BYTES = 4000, 256 << 20

#: Files that are offered together where most of them have not changed: as many as the server takes.
_MOST_FILES = 4000

#: So many batches are read while one is on its way to the server.
_BATCHES_AHEAD = 4

#: So many large files are read at the same time.
_READ_AT_ONCE = min(4, os.cpu_count() or 1)

#: A file's position, its path, what was there when it was listed, and its digest where that has not changed.
_Listed = tuple[int, str, os.stat_result, str | None]

#: Files of which some are still being read.
_Reading = list["ReadFile | Future[ReadFile]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What will be sent."""

    root: Path
    files: tuple[tuple[str, os.stat_result], ...]  #: relative paths, sorted, and what was there when it was listed
    size: int  #: bytes


def find_material(source: Path) -> Material:
    """Return the files of a folder, or the one file; NotFound or InvalidValue when there is nothing to send."""
    try:
        if source.is_file():
            status = source.stat()
            return Material(root=source.parent, files=((source.name, status),), size=status.st_size)
        if not source.exists():
            raise NotFound(f"there is no {source}", hint="give a folder or a file of this computer", field="source")
        if not source.is_dir():
            raise InvalidValue(f"{source} is neither a folder nor a file", field="source")
        files = tuple(list_files(source))
    except OSError as error:
        raise explained(error, error.filename or source) from error
    if not files:
        raise InvalidValue(f"{source} is empty", hint="a datastore needs at least one file", field="source")
    return Material(root=source, files=files, size=sum(status.st_size for _, status in files))


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
        self._known, self._tell, self._telling = known, progress, threading.Lock()
        self._is_over = False  #: nothing more shall be done: the command ends
        staging = Path(opened["staging"])
        is_here = not opened["links"] and staging.is_dir() and os.access(staging, os.W_OK)
        self._staging = staging if is_here else None
        tree = Path(opened["tree"]) if self._staging is not None and opened["tree"] is not None else None
        self._reader = Reader(
            material.root,
            known,
            self._progress,
            staging=self._staging,
            tree=tree if tree is not None and _is_ours(tree) else None,
            least_free=opened["least_free"],
        )
        self._carrier = self._start_carrier() if self._staging is None else None

    def run(self) -> DatastoreRow:
        """Send what is missing, and make the version whole. Repeating goes on where it was."""
        files = self._send_all()
        digest = tree_digest((file.path, file.size, file.digest) for file in files)
        size = sum(file.size for file in files)
        return patiently(lambda: self._api.finish_datastore(self._opened, digest=digest, files=len(files), size=size))

    def _send_all(self) -> list[ReadFile]:
        """Bring all files to the server: while some are on their way, the next are read, large ones several at once."""
        files: list[ReadFile] = []
        saving: deque[Future[list[ReadFile]]] = deque()
        with ThreadPoolExecutor(1) as sending, ThreadPoolExecutor(_READ_AT_ONCE) as reading:
            try:
                for batch in _ahead(self._start_reading(batch, reading) for batch in self._batches()):
                    read = [file if isinstance(file, ReadFile) else file.result() for file in batch]
                    saving.append(sending.submit(self._save, read))
                    if len(saving) > _BATCHES_AHEAD:
                        files += saving.popleft().result()
                for saved in saving:
                    files += saved.result()
            except BaseException:
                self._is_over = True
                raise
        return files

    def _batches(self) -> Iterator[list[_Listed]]:
        is_packed = self._opened["links"]
        most_files, most_bytes = (_PACKED_FILES, _PACKED_BYTES) if is_packed else (_BATCH_FILES, _BATCH_BYTES)
        batch: list[_Listed] = []
        unread = size = 0
        for position, (path, status) in enumerate(self._material.files):
            digest = self._known.find(path, status)
            batch.append((position, path, status, digest))
            unread += digest is None
            size += status.st_size
            if unread >= most_files or size >= most_bytes or len(batch) >= _MOST_FILES:
                yield batch
                batch, unread, size = [], 0, 0
        if batch:
            yield batch

    def _start_reading(self, batch: list[_Listed], reading: ThreadPoolExecutor) -> _Reading:
        """Begin to read what has changed since its digest was remembered; small files are read at once."""
        self._progress(sum(status.st_size for _, _, status, digest in batch if digest is not None), 0)
        read: _Reading = []
        for position, path, status, digest in batch:
            if digest is not None:
                read.append(ReadFile(position, path, status, digest))
            elif status.st_size <= SMALL:
                read.append(self._reader.read(position, path, status))
            else:
                read.append(reading.submit(self._reader.read, position, path, status))
        return read

    def _progress(self, done: int, came: int) -> None:
        with self._telling:
            if self._is_over:
                raise _Over
            self._tell(done, came)

    def _save(self, batch: list[ReadFile]) -> list[ReadFile]:
        """Bring files to the server; return them as they were when they came there, which outlives this process."""
        saved = {file.position: file for file in batch}
        missing = self._offer(batch)
        self._progress(sum(f.size for f in batch) - sum(f.size for f in missing), 0)
        for last in (False, False, True):
            if not missing:
                break
            changed = self._bring(missing)
            if changed and last:
                raise keeps_changing(self._reader.place(changed[0]))
            again = [self._reader.read_again(file) if file in changed else file for file in missing]
            saved.update({file.position: file for file in again})
            missing = self._offer(again)
        if missing:
            raise keeps_changing(self._reader.place(missing[0]))
        self._known.flush()
        return list(saved.values())

    def _offer(self, files: list[ReadFile]) -> list[ReadFile]:
        offered = [file.offered() for file in files]
        wanted = set(patiently(lambda: self._api.offer_datastore_files(self._opened, offered)))
        return [file for file in files if file.digest in wanted]

    def _bring(self, files: list[ReadFile]) -> list[ReadFile]:
        """Stage or send contents; return the files that have changed since they were read."""
        first_of: dict[str, ReadFile] = {}
        for file in files:
            first_of.setdefault(file.digest, file)
        if self._carrier is not None:
            return self._carrier.bring(list(first_of.values()))
        changed: list[ReadFile] = []
        for file in first_of.values():
            try:
                self._reader.stage(file)
            except Changed:
                changed.append(file)
        return changed

    def _start_carrier(self) -> Packing | Parts:
        if self._opened["links"]:
            from opengrid.client.packing import Packing  # it takes time, and only buckets need it

            return Packing(self._api, self._opened, self._reader, self._progress)
        from opengrid.client.parts import Parts

        return Parts(self._api, self._opened, self._reader, self._progress)


def _is_ours(folder: Path) -> bool:
    """Return whether what we put into a folder belongs to whose folder it is."""
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


class _Over(Exception):
    """The command has ended with an error: what still runs beside it ends too."""


def _ahead(batches: Iterable[_Reading]) -> Iterator[_Reading]:
    """Yield each of these when it has been read, or when the one after it has begun."""
    before: deque[_Reading] = deque()
    for batch in batches:
        before.append(batch)
        while len(before) > 1 or (before and all(isinstance(file, ReadFile) for file in before[0])):
            yield before.popleft()
    yield from before
