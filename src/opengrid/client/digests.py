"""The digests of a source's files, remembered: a file that has not changed since is not read again."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO

#: A file that was written so short before it was read may be written again within the same tick of its clock.
_FRESH_NS = 2_000_000_000

#: A journal with so many records for each file is written anew.
_MOST_STALE = 1.5


class KnownDigests:
    """A journal of records that end with NUL; whatever is lost of it is only read again. Used as a context."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._known: dict[str, str] = {}  #: digest and stamp by path, as they are written
        self._seen: dict[str, str] = {}
        self._records = 0  #: in the journal
        self._file: IO[bytes] | None = None

    def __enter__(self) -> KnownDigests:
        """Read the journal."""
        self._journal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            text = self._journal.read_bytes().decode("utf-8", "surrogateescape")
            records = text.split("\0")[:-1]  # what a crash has torn is the last one
            self._records = len(records)
            for record in records:
                digest, _, rest = record.partition(" ")
                stamp, _, path = rest.partition(" ")
                self._known[path] = f"{digest} {stamp}"
        self._file = self._journal.open("ab")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Keep what was seen, and without an error not much else."""
        if self._file is not None:
            self._file.close()
        if kind is None and self._records > _MOST_STALE * len(self._seen):
            partial = self._journal.with_suffix(f".{os.getpid()}")
            partial.write_bytes(_encoded("".join(f"{known} {path}\0" for path, known in self._seen.items())))
            os.replace(partial, self._journal)

    def find(self, path: str, status: os.stat_result) -> str | None:
        """Return the digest of a file that has not changed since it was added."""
        known = self._known.get(path)
        if known is None:
            return None
        digest, _, stamp = known.partition(" ")
        if stamp != _stamp(status):
            return None
        self._seen[path] = known
        return digest

    def add(self, path: str, status: os.stat_result, digest: str) -> None:
        """Remember the digest of a file that was read."""
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _FRESH_NS:
            return
        self._known[path] = self._seen[path] = known = f"{digest} {_stamp(status)}"
        if self._file is not None:
            self._records += 1
            self._file.write(_encoded(f"{known} {path}\0"))

    def forget(self, path: str) -> None:
        """Have a file read again."""
        self._known.pop(path, None)
        self._seen.pop(path, None)

    def flush(self) -> None:
        """Make what was added outlive this process."""
        if self._file is not None:
            self._file.flush()


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
