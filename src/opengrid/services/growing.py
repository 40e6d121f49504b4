"""Files on the server's disk that agents append to, by offset: nothing is lost and nothing comes twice."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from opengrid.core.errors import Unusable


class OffsetMismatch(Exception):
    """An upload does not continue where the file ends; `size` tells where that is."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes")
        self.size = size


class GrowingFiles:
    """All files of one kind, below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._appending = [threading.Lock() for _ in range(64)]

    def append(self, path: Path, data: bytes, *, offset: int, before: Callable[[], None] | None = None) -> int:
        """Append `data` when the file ends at `offset`, else raise OffsetMismatch; return the new size.

        A repeated upload is refused by its offset. `before` is called when the offset fits, before anything is written.
        """
        with self._appending[hash(path) % len(self._appending)], _disk_errors(self._root):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size != offset:
                    raise OffsetMismatch(size)
                if before is not None:
                    before()
                _write_whole(descriptor, data, size)
            finally:
                os.close(descriptor)
        return size + len(data)


def _write_whole(descriptor: int, data: bytes, size: int) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        with contextlib.suppress(OSError):  # nothing half made: the upload will be repeated from `size`
            os.ftruncate(descriptor, size)
        raise


@contextlib.contextmanager
def _disk_errors(root: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unusable(
            f"no space left below {root}", hint="free space there; agents keep what they have and retry"
        ) from error
