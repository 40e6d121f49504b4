"""Datastores made of archives of the web: fetched, unpacked and stored by the server, while nobody waits."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import structlog

from opengrid.core.errors import GridError, Unusable
from opengrid.core.manifest import Manifest, ManifestFile
from opengrid.core.protocol import least_free_bytes
from opengrid.core.records import DatastoreFile, DatastoreVersion
from opengrid.core.sizes import size_text
from opengrid.services.archives import Unpacked, unpack
from opengrid.services.callers import Caller
from opengrid.services.datastores import MOST_FILES, Datastores
from opengrid.services.fetching import check_url, fetch

log = structlog.get_logger(__name__)

#: How often the version says how far it is.
_TELL_S = 1.0


class Imports:
    """One thread for each version that is made of an archive. A server that ends leaves them failed."""

    def __init__(self, datastores: Datastores, *, may_ask_own_network: bool) -> None:
        self._datastores, self._may_ask_own_network = datastores, may_ask_own_network
        self._threads: list[threading.Thread] = []

    @property
    def are_running(self) -> bool:
        """Whether a version is being made."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self, name: str, url: str, caller: Caller) -> DatastoreVersion:
        """Open the next version of a datastore and begin to fill it; Forbidden, InvalidValue for an address."""
        check_url(url, may_ask_own_network=self._may_ask_own_network)
        opened = self._datastores.open(name, url, caller)
        thread = threading.Thread(target=self._fill, args=(opened.version, opened.staging), name="import", daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()
        return opened.version

    def fail_left(self) -> None:
        """Say of versions that an earlier server was filling that it did not come to an end."""
        for version in self._datastores.filled_from("http://", "https://"):
            self._datastores.fail(version, "the server ended meanwhile; create it again")

    def _fill(self, version: DatastoreVersion, staging: Path) -> None:
        try:
            archive = staging / "archive"
            self._fetch(version, archive)
            files = self._unpack(version, archive, staging)
            archive.unlink()
            self._store(version, files)
        except (GridError, OSError) as error:
            reason = error.message if isinstance(error, GridError) else f"{error.filename}: {error.strerror}"
            self._datastores.fail(version, reason)
        except Exception as error:
            log.exception("import failed", datastore=version.name, version=version.version)
            self._datastores.fail(version, f"the server failed: {type(error).__name__}")
            raise

    def _fetch(self, version: DatastoreVersion, archive: Path) -> None:
        tell = self._teller(version)

        def progress(come: int, total: int | None) -> None:
            tell(lambda: f"fetched {size_text(come)}" + (f" of {size_text(total)}" if total else ""))

        room = _room(archive.parent)
        may = self._may_ask_own_network
        fetch(version.source, archive, most=room, may_ask_own_network=may, progress=progress)

    def _unpack(self, version: DatastoreVersion, archive: Path, staging: Path) -> Mapping[str, Unpacked]:
        tell, done = self._teller(version), 0

        def progress(size: int) -> None:
            nonlocal done
            done += size
            tell(lambda: f"unpacked {size_text(done)}")

        return unpack(archive, staging, most=_room(staging), progress=progress)

    def _store(self, version: DatastoreVersion, unpacked: Mapping[str, Unpacked]) -> None:
        self._datastores.tell(version, "storing")
        files = [
            DatastoreFile(position=i, path=path, size=one.size, digest=one.digest, executable=one.executable)
            for i, (path, one) in enumerate(sorted(unpacked.items()))
        ]
        for batch in _batches(files):
            self._datastores.offer(version.name, version.version, version.round, batch)
        manifest = Manifest(files=tuple(ManifestFile(path=f.path, size=f.size, sha256=f.digest) for f in files))
        digest, count, size = manifest.digest, len(files), manifest.size
        self._datastores.finish(version.name, version.version, version.round, digest=digest, files=count, size=size)

    def _teller(self, version: DatastoreVersion) -> Callable[[Callable[[], str]], None]:
        told = 0.0

        def tell(text: Callable[[], str]) -> None:
            nonlocal told
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                self._datastores.tell(version, text())

        return tell


def _batches(files: list[DatastoreFile]) -> Iterator[list[DatastoreFile]]:
    left = iter(files)
    while batch := list(islice(left, MOST_FILES)):
        yield batch


def _room(folder: Path) -> int:
    disk = shutil.disk_usage(folder)
    room = disk.free - least_free_bytes(disk.total)
    if room <= 0:
        raise Unusable(f"no space left below {folder}", hint="free space there")
    return room
