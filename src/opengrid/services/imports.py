"""Datastores that the server makes while nobody waits: of archives of the web, of buckets, and of mere references."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from opengrid.core.disks import DiskGuard
from opengrid.core.errors import Forbidden, GridError, InvalidValue
from opengrid.core.manifest import tree_digest
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind, DatastoreState, DatastoreVersion
from opengrid.services.callers import Caller
from opengrid.services.copying import BucketCopy
from opengrid.services.fetching import check_url
from opengrid.services.filling import Filling, Opened
from opengrid.services.references import OpenBucket, is_bucket, no_bucket, referred_files
from opengrid.services.unpacking import ArchiveCopy

log = structlog.get_logger(__name__)

#: How often the version says how far it is.
_TELL_S = 1.0

#: A version that was begun so often without becoming whole may be what ended the servers: it waits to be asked for.
_MOST_ROUNDS = 5


class _Closed(Exception):
    """This server ends."""


class _Deleted(Exception):
    """Nobody wants the version any more."""


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
        self._resuming = threading.Lock()  # two at once would both find a version that has failed
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

    def resume(self, name: str, version: int, caller: Caller) -> DatastoreVersion:
        """Go on with a version that has failed where it was; Conflict for one that cannot. Repeating is harmless."""
        with self._resuming:
            failed = self._filling.to_go_on(name, version, caller)
            if failed.state is DatastoreState.PROCESSING:
                return failed
            return self._begin(self._filling.open(name, failed.source, caller, failed.upload))

    def go_on(self) -> None:
        """Go on with the versions that an earlier server was filling."""
        for version in self._filling.filled_from("http://", "https://", "s3://"):
            if version.round % _MOST_ROUNDS == 0:
                reason = f"the server ended while it was made, which was begun {version.round} times"
                self._filling.fail(version, reason, may_go_on=True)
                continue
            owner = Caller(name=version.user, is_admin=False)
            try:
                self._begin(self._filling.open(version.name, version.source, owner, version.upload))
            except GridError as error:
                self._filling.fail(version, error.message, may_go_on=True)

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
                self._unpack(version, staging)
        except _Deleted:
            shutil.rmtree(staging, ignore_errors=True)  # to which something may have come since
            log.info("import ends: its version was deleted", datastore=version.name, version=version.version)
        except _Closed:
            log.info("import goes on with the next server", datastore=version.name, version=version.version)
        except (GridError, OSError) as error:
            is_final = isinstance(error, (InvalidValue, Forbidden))  # of a source that will not do
            self._filling.fail(version, _reason(error), may_go_on=not is_final)
        except Exception as error:
            log.exception("import failed", datastore=version.name, version=version.version)
            self._filling.fail(version, f"the server failed: {type(error).__name__}", may_go_on=False)
            raise

    def _copy(self, version: DatastoreVersion, staging: Path) -> None:
        found = referred_files(version.source, self._open_bucket)
        bucket = self._open_bucket(version.source)
        copy = BucketCopy(self._filling, self._disks, version, bucket, staging, self._teller(version))
        self._finish(version, copy.run(found))

    def _unpack(self, version: DatastoreVersion, staging: Path) -> None:
        tell, may = self._teller(version), self._may_ask_own_network
        copy = ArchiveCopy(self._filling, self._disks, version, staging, tell, may_ask_own_network=may)
        self._finish(version, copy.run())

    def _finish(self, version: DatastoreVersion, files: list[DatastoreFile]) -> None:
        digest = tree_digest((file.path, file.size, file.digest) for file in files)
        count, size = len(files), sum(file.size for file in files)
        self._filling.finish(version.name, version.version, version.round, digest=digest, files=count, size=size)

    def _teller(self, version: DatastoreVersion) -> Callable[[Callable[[], str]], None]:
        told = 0.0

        def tell(text: Callable[[], str]) -> None:
            nonlocal told
            if self._is_closed:
                raise _Closed
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                if not self._filling.tell(version, text()):
                    raise _Deleted

        return tell


def _reason(error: GridError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return f"{error.message} ({error.hint})" if error.hint else error.message
