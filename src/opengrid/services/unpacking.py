"""Copies of archives of the web: fetched, unpacked, stored; what was broken off goes on with the step it was at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from opengrid.core.disks import DiskGuard
from opengrid.core.records.datastores import DatastoreFile, DatastoreVersion
from opengrid.core.sizes import size_text
from opengrid.services.archives import unpack
from opengrid.services.fetching import fetch
from opengrid.services.filling import MOST_FILES, Filling


class ArchiveCopy:
    """Fills one version with the files of an archive.

    What was fetched, and then the list of what was unpacked, rests beside what is staged until the version is whole.
    `tell` hears how far it is.
    """

    def __init__(
        self,
        filling: Filling,
        disks: DiskGuard,
        version: DatastoreVersion,
        staging: Path,
        tell: Callable[[Callable[[], str]], None],
        *,
        may_ask_own_network: bool,
    ) -> None:
        self._filling, self._disks, self._version = filling, disks, version
        self._staging, self._tell, self._may_ask_own_network = staging, tell, may_ask_own_network
        self._archive, self._list = staging / "archive", staging / "unpacked"

    def run(self) -> list[DatastoreFile]:
        """Copy the archive; return what it holds."""
        if not self._list.exists():
            self._fetch()
            self._write_list(self._unpack())
        self._archive.unlink(missing_ok=True)
        files = [DatastoreFile(**file) for file in json.loads(self._list.read_bytes())]
        self._filling.tell(self._version, "storing")
        for batch in _batches(files):
            self._filling.offer(self._version.name, self._version.version, self._version.round, batch)
        return files

    def _fetch(self) -> None:
        room = self._room() + (self._archive.stat().st_size if self._archive.exists() else 0)
        may = self._may_ask_own_network
        fetch(self._version.source, self._archive, most=room, may_ask_own_network=may, tell=self._tell_while_room)

    def _unpack(self) -> list[DatastoreFile]:
        done = 0

        def progress(size: int) -> None:
            nonlocal done
            done += size
            self._tell_while_room(lambda: f"unpacked {size_text(done)}")

        unpacked = unpack(self._archive, self._staging, most=self._room(), progress=progress)
        return [
            DatastoreFile(position=i, path=path, size=one.size, digest=one.digest, executable=one.executable)
            for i, (path, one) in enumerate(sorted(unpacked.items()))
        ]

    def _write_list(self, files: Sequence[DatastoreFile]) -> None:
        partial = self._list.with_name(f"{self._list.name}.part")
        partial.write_text(json.dumps([file._asdict() for file in files]))
        os.replace(partial, self._list)

    def _tell_while_room(self, text: Callable[[], str]) -> None:
        """Say how far it is; Unusable when others have filled the disk meanwhile."""

        def checked() -> str:
            self._disks.check(self._staging)
            return text()

        self._tell(checked)

    def _room(self) -> int:
        self._disks.check(self._staging)
        return self._disks.room(self._staging)


def _batches(files: Sequence[DatastoreFile]) -> Iterator[list[DatastoreFile]]:
    left = iter(files)
    while batch := list(islice(left, MOST_FILES)):
        yield batch
