"""The digests of a source's files, remembered: a file that has not changed since is not read again."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, cast

#: A file that was written so short before it was read may be written again within the same tick of its clock.
_FRESH_NS = 2_000_000_000


class KnownDigests:
    """A journal, one line per file; whatever is lost of it is only read again. Used as a context."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._known: dict[str, tuple[list[int], str]] = {}
        self._seen: dict[str, tuple[list[int], str]] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> KnownDigests:
        """Read the journal."""
        self._journal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            for line in self._journal.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):  # torn by a crash
                    path, stamp, digest = cast("tuple[str, list[int], str]", json.loads(line))
                    self._known[path] = stamp, digest
        self._file = self._journal.open("a")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Keep what was seen; after an error also what was known before."""
        if self._file is not None:
            self._file.close()
        if kind is None:
            partial = self._journal.with_suffix(f".{os.getpid()}")
            partial.write_text("".join(_line(path, *known) for path, known in self._seen.items()))
            os.replace(partial, self._journal)

    def find(self, path: str, status: os.stat_result) -> str | None:
        """Return the digest of a file that has not changed since it was added."""
        known = self._known.get(path)
        if known is None or known[0] != _stamp(status):
            return None
        self._seen[path] = known
        return known[1]

    def add(self, path: str, status: os.stat_result, digest: str) -> None:
        """Remember the digest of a file that was read."""
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _FRESH_NS:
            return
        self._known[path] = self._seen[path] = _stamp(status), digest
        if self._file is not None:
            self._file.write(_line(path, _stamp(status), digest))

    def forget(self, path: str) -> None:
        """Have a file read again."""
        self._known.pop(path, None)
        self._seen.pop(path, None)

    def flush(self) -> None:
        """Make what was added outlive this process."""
        if self._file is not None:
            self._file.flush()


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _line(path: str, stamp: list[int], digest: str) -> str:
    return json.dumps([path, stamp, digest]) + "\n"
