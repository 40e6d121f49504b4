"""Copies of buckets: objects become contents, several at a time, and a copy that was broken off goes on."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

from opengrid.core.disks import DiskGuard
from opengrid.core.errors import GridError, UserError
from opengrid.core.records.datastores import DatastoreFile, DatastoreVersion
from opengrid.core.sizes import size_text
from opengrid.services.filling import Filling
from opengrid.services.references import ObjectReader, etag_of

#: So many objects come at once: each waits for the network, not for us.
_AT_ONCE = 8

#: So many objects, or bytes, are staged before they are taken over: what a copy that is broken off may have lost.
_TOGETHER, _BYTES_TOGETHER = 500, 256 << 20

#: An object goes on where it was cut off, so often while nothing more of it comes.
_TRIES = 3


#: A file of a version, and the same as it was listed, which carries its pin.
Copied = tuple[DatastoreFile, DatastoreFile]


class BucketCopy:
    """Fills one version with the objects of a bucket, each as it was when it was listed.

    What was taken over stands in a journal beside what is staged, by ETag: a copy that begins again brings the rest.
    `tell` hears how far it is.
    """

    def __init__(
        self,
        filling: Filling,
        disks: DiskGuard,
        version: DatastoreVersion,
        bucket: ObjectReader,
        staging: Path,
        tell: Callable[[Callable[[], str]], None],
    ) -> None:
        self._filling, self._disks, self._version, self._bucket = filling, disks, version, bucket
        self._staging, self._tell = staging, tell
        self._journal = _Journal(staging / "copied")
        self._lock = threading.Lock()
        self._come = self._begun = self._total = 0  #: bytes: that are here, of what was begun, of all
        self._is_over = False

    def run(self, listed: Sequence[DatastoreFile]) -> list[DatastoreFile]:
        """Copy what was listed; return it with digests instead of pins."""
        self._total = sum(file.size for file in listed)
        files, left = self._take_known(listed)
        self._come = self._begun = sum(file.size for file in files)
        with closing(self._bring(left)) as coming:
            for batch in _batches(coming):
                self._offer(batch)
                self._journal.add(batch)
                files += [file for file, _ in batch]
        return sorted(files, key=_position)

    def _take_known(self, listed: Sequence[DatastoreFile]) -> tuple[list[DatastoreFile], list[DatastoreFile]]:
        """Offer what an earlier round has brought; return that, and what is left to be brought."""
        files: list[DatastoreFile] = []
        known = {file.position: digest for file in listed if (digest := self._journal.digest_of(file))}
        left = [file for file in listed if file.position not in known]
        copied = [(file._replace(digest=known[file.position]), file) for file in listed if file.position in known]
        for batch in _batches(copied):
            missing = self._offer(batch)
            files += [file for file, _ in batch if file.digest not in missing]
            left += [file for one, file in batch if one.digest in missing]
        return files, left

    def _offer(self, batch: Sequence[Copied]) -> set[str]:
        files = sorted((file for file, _ in batch), key=_position)
        return set(self._filling.offer(self._version.name, self._version.version, self._version.round, files))

    def _bring(self, listed: Iterable[DatastoreFile]) -> Generator[Copied]:
        """Stage objects; yield them as they come."""
        under_way: set[Future[Copied]] = set()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy") as threads:
            try:
                for file in listed:
                    with self._lock:
                        self._disks.check(self._staging, self._begun - self._come + file.size)
                        self._begun += file.size
                    under_way.add(threads.submit(self._copy, file))
                    if len(under_way) == _AT_ONCE:
                        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                        yield from (one.result() for one in done)
                yield from (one.result() for one in under_way)
            finally:
                self._is_over = True  # when one has failed, the others need not come

    def _copy(self, listed: DatastoreFile) -> Copied:
        """Stage an object, going on where it was cut off."""
        staged, digest, come, tries = self._staging / f"{listed.position}.object", hashlib.sha256(), 0, 0
        with staged.open("wb") as copy:
            while come < listed.size:
                before = come
                try:
                    for block in self._bucket.read(listed.path, come, listed.size - come, etag=etag_of(listed)):
                        copy.write(block)
                        digest.update(block)
                        come += len(block)
                        self._count(len(block))
                except UserError:
                    raise
                except GridError:
                    tries = 1 if come > before else tries + 1
                    if tries == _TRIES or self._is_over:
                        raise
        os.replace(staged, self._staging / digest.hexdigest())
        return listed._replace(digest=digest.hexdigest()), listed

    def _count(self, size: int) -> None:
        if self._is_over:
            raise GridError("another object could not be copied")
        with self._lock:
            self._come += size
            self._tell(lambda: f"copied {size_text(self._come)} of {size_text(self._total)}")


class _Journal:
    """Which objects have become which contents, one line for each; a line that was cut off says nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str, int], str] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                key, pin, size, digest = json.loads(line)
                self._known[str(key), str(pin), int(size)] = str(digest)
            except (ValueError, TypeError):
                break

    def digest_of(self, file: DatastoreFile) -> str | None:
        """Return the content of an object that is still the same; None where it is not known."""
        return self._known.get((file.path, file.digest, file.size))

    def add(self, copied: Iterable[Copied]) -> None:
        """Write down what was taken over."""
        with self._path.open("a") as journal:
            for file, listed in copied:
                journal.write(json.dumps([listed.path, listed.digest, listed.size, file.digest]) + "\n")


def _batches(copied: Iterable[Copied]) -> Iterator[list[Copied]]:
    batch: list[Copied] = []
    size = 0
    for one in copied:
        batch.append(one)
        size += one[0].size
        if len(batch) == _TOGETHER or size >= _BYTES_TOGETHER:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _position(file: DatastoreFile) -> int:
    return file.position
