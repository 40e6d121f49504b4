"""Space of a database's disk that only what frees space may use: a file that takes it from everybody else."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

#: How large it is, or which part of a small disk. To remove a datastore version of 100,000 files takes 25 MiB.
_SIZE, _SMALL_PART = 64 << 20, 20

#: It is made where the disk has so many times its size free.
_PLENTY = 4

#: Halves below this are not worth keeping.
_LEAST = 1 << 16


class Reserve:
    """The file `<database>.reserve`. All that goes wrong with it is passed over: without it a full disk stays full."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.reserve")

    def renew(self) -> None:
        """Make it, or make it whole again, where there is plenty of space."""
        with contextlib.suppress(OSError):
            disk, size = shutil.disk_usage(self._path.parent), self._whole()
            if self._here() < size and disk.free >= _PLENTY * size:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, size)
                finally:
                    os.close(descriptor)

    def spend(self) -> None:
        """Give half of what is left of it up where the disk is full; others may be quicker, so not all at once."""
        with contextlib.suppress(OSError):
            here = self._here()
            if here and shutil.disk_usage(self._path.parent).free < self._whole():
                os.truncate(self._path, here // 2 if here >= 2 * _LEAST else 0)

    def _whole(self) -> int:
        return min(_SIZE, shutil.disk_usage(self._path.parent).total // _SMALL_PART)

    def _here(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
