"""Datastores that the server makes while nobody waits: of archives of the web, of buckets, and of mere references."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import structlog

from opengrid.core.disks import DiskGuard
from opengrid.core.errors import GridError
from opengrid.core.manifest import tree_digest
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind, DatastoreVersion
from opengrid.core.sizes import size_text
from opengrid.services.archives import Unpacked, unpack
from opengrid.services.callers import Caller
from opengrid.services.copying import BucketCopy
from opengrid.services.fetching import check_url, fetch
from opengrid.services.filling import MOST_FILES, Filling, Opened
from opengrid.services.references import OpenBucket, is_bucket, no_bucket, referred_files

log = structlog.get_logger(__name__)

#: How often the version says how far it is.
_TELL_S = 1.0

#: A version that was begun so often without becoming whole may be what ended the servers.
_MOST_ROUNDS = 5


class _Closed(Exception):
    """This server ends."""


class Imports:
    """One thread for each version that is being made. What a server leaves half made, the next one goes on with."""

    def __init__(
        self,
        filling: Filling,
        disks: DiskGuard,
        *,
        may_ask_own_network: bool,
        open_bucket: OpenBucket = no_bucket,
    ) -> None:
        self._filling, self._disks, self._may_ask_own_network = filling, disks, may_ask_own_network
        self._open_bucket = open_bucket
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    @property
    def are_running(self) -> bool:
        """Whether a version is being made."""
        return any(thread.is_alive() for thread in self._threads)

    def start(
        self, name: str, source: str, caller: Caller, kind: DatastoreKind = DatastoreKind.COPIED
    ) -> DatastoreVersion:
        """Open the next version of a datastore and begin to fill it; Forbidden, InvalidValue for an address."""
        if kind is DatastoreKind.COPIED and not is_bucket(source):
            check_url(source, may_ask_own_network=self._may_ask_own_network)
        return self._begin(self._filling.open(name, source, caller, kind=kind))

    def go_on(self) -> None:
        """Go on with the versions that an earlier server was filling."""
        for version in self._filling.filled_from("http://", "https://", "s3://"):
            if version.round >= _MOST_ROUNDS:
                self._filling.fail(version, f"the server ended {version.round} times meanwhile; create it again")
                continue
            owner = Caller(name=version.user, is_admin=False)
            try:
                self._begin(self._filling.open(version.name, version.source, owner, version.upload))
            except GridError as error:
                self._filling.fail(version, error.message)

    def close(self) -> None:
        """Have the threads end when they next tell how far they are."""
        self._is_closed = True

    def _begin(self, opened: Opened) -> DatastoreVersion:
        thread = threading.Thread(target=self._fill, args=(opened.version, opened.staging), name="import", daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()
        return opened.version

    def _fill(self, version: DatastoreVersion, staging: Path) -> None:
        try:
            if version.kind is DatastoreKind.REFERENCED:
                self._filling.refer(version)
            elif is_bucket(version.source):
                self._copy(version, staging)
            else:
                archive = staging / "archive"
                self._fetch(version, archive)
                files = self._unpack(version, archive, staging)
                archive.unlink()
                self._store(version, files)
        except _Closed:
            log.info("import goes on with the next server", datastore=version.name, version=version.version)
        except (GridError, OSError) as error:
            self._filling.fail(version, _reason(error))
        except Exception as error:
            log.exception("import failed", datastore=version.name, version=version.version)
            self._filling.fail(version, f"the server failed: {type(error).__name__}")
            raise

    def _copy(self, version: DatastoreVersion, staging: Path) -> None:
        found = referred_files(version.source, self._open_bucket)
        bucket = self._open_bucket(version.source)
        copy = BucketCopy(self._filling, self._disks, version, bucket, staging, self._teller(version))
        self._finish(version, copy.run(found))

    def _fetch(self, version: DatastoreVersion, archive: Path) -> None:
        tell = self._teller(version)

        def progress(come: int, total: int | None) -> None:
            tell(lambda: f"fetched {size_text(come)}" + (f" of {size_text(total)}" if total else ""))

        room = self._room(archive.parent)
        may = self._may_ask_own_network
        fetch(version.source, archive, most=room, may_ask_own_network=may, progress=progress)

    def _unpack(self, version: DatastoreVersion, archive: Path, staging: Path) -> Mapping[str, Unpacked]:
        tell, done = self._teller(version), 0

        def progress(size: int) -> None:
            nonlocal done
            done += size
            tell(lambda: f"unpacked {size_text(done)}")

        return unpack(archive, staging, most=self._room(staging), progress=progress)

    def _store(self, version: DatastoreVersion, unpacked: Mapping[str, Unpacked]) -> None:
        self._filling.tell(version, "storing")
        files = [
            DatastoreFile(position=i, path=path, size=one.size, digest=one.digest, executable=one.executable)
            for i, (path, one) in enumerate(sorted(unpacked.items()))
        ]
        for batch in _batches(files):
            self._filling.offer(version.name, version.version, version.round, batch)
        self._finish(version, files)

    def _finish(self, version: DatastoreVersion, files: list[DatastoreFile]) -> None:
        digest = tree_digest((file.path, file.size, file.digest) for file in files)
        count, size = len(files), sum(file.size for file in files)
        self._filling.finish(version.name, version.version, version.round, digest=digest, files=count, size=size)

    def _room(self, folder: Path) -> int:
        self._disks.check(folder)
        return self._disks.room(folder)

    def _teller(self, version: DatastoreVersion) -> Callable[[Callable[[], str]], None]:
        told = 0.0

        def tell(text: Callable[[], str]) -> None:
            nonlocal told
            if self._is_closed:
                raise _Closed
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                self._filling.tell(version, text())

        return tell


def _reason(error: GridError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _batches(files: list[DatastoreFile]) -> Iterator[list[DatastoreFile]]:
    left = iter(files)
    while batch := list(islice(left, MOST_FILES)):
        yield batch
