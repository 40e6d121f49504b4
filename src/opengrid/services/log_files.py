"""Ranks' output on the server's disk, never in the database.

One append-only file per (attempt, generation, rank, stream), and beside it an index of (offset, time) pairs: bytes from
`offset` on were seen at `time`.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.errors import InvalidValue
from opengrid.services.growing import GrowingFiles

STREAMS = ("stdout", "stderr")
_PAIR = struct.Struct("<QQ")  # offset, ns since the epoch
_BLOCK = 1 << 20
_ATTEMPT = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStream:
    """One rank's stdout or stderr in one generation."""

    path: Path
    generation: int
    rank: int
    stream: str

    def size(self) -> int:
        """Return the number of bytes received."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int, limit: int = _BLOCK) -> bytes:
        """Return at most `limit` bytes from `offset`."""
        try:
            with self.path.open("rb") as file:
                return os.pread(file.fileno(), limit, offset)
        except FileNotFoundError:
            return b""

    def times(self) -> TimeIndex:
        """Return the index as it is now."""
        try:
            raw = self.path.with_suffix(self.path.suffix + ".idx").read_bytes()
        except FileNotFoundError:
            raw = b""
        return TimeIndex(list(_PAIR.iter_unpack(raw[: len(raw) - len(raw) % _PAIR.size])))

    def tail_offset(self, lines: int) -> int:
        """Return where the last `lines` lines begin."""
        end = self.size()
        if lines <= 0:
            return end
        position, found = end, 0
        while position > 0:
            start = max(0, position - _BLOCK)
            block = self.read(start, position - start)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                if start + at == end - 1:
                    continue  # the newline that ends the last line
                found += 1
                if found == lines:
                    return start + at + 1
            position = start
        return 0


class TimeIndex:
    """When bytes were seen."""

    def __init__(self, pairs: Sequence[tuple[int, int]]) -> None:
        self._offsets = [offset for offset, _ in pairs]
        self._times = [ns for _, ns in pairs]

    def at(self, offset: int) -> int:
        """Return when the byte at `offset` was seen, in ns since the epoch; 0 when nobody knows."""
        position = bisect_right(self._offsets, offset)
        return self._times[max(0, position - 1)] if self._times else 0

    def begin(self, ns: int, *, after: bool) -> int | None:
        """Return the first offset that was seen at a time or later (`after`: later); None when nothing was."""
        position = bisect_right(self._times, ns) if after else bisect_left(self._times, ns)
        if position >= len(self._offsets):
            return None
        return self._offsets[position] if position else 0


class LogFiles:
    """All log files of this server."""

    def __init__(self, root: Path) -> None:
        self._root, self._growing = root, GrowingFiles(root)

    def append(
        self, attempt: str, generation: int, rank: int, stream: str, *, offset: int, data: bytes, index: str
    ) -> int:
        """Append `data` when the file ends at `offset`, else raise OffsetMismatch; return the new size.

        `index` is `offset:ns,offset:ns …` for the bytes of `data`. A repeated upload is refused by its offset.
        """
        pairs = _parse_index(index)
        target = self._stream(attempt, generation, rank, stream)

        def write_index() -> None:
            with target.path.with_suffix(target.path.suffix + ".idx").open("ab") as file:
                file.write(b"".join(_PAIR.pack(*pair) for pair in pairs))

        # The index first: a pair without its bytes is harmless, bytes without a time would sort wrongly.
        return self._growing.append(target.path, data, offset=offset, before=write_index)

    def streams(self, attempt: str, generation: int | None = None, rank: int | None = None) -> list[LogStream]:
        """Return the streams of an attempt that exist, by generation, rank and stream."""
        found: list[LogStream] = []
        for folder in self._attempt(attempt).glob("[0-9]*"):
            for path in folder.glob("*.std*"):
                number, _, stream = path.name.partition(".")
                if stream in STREAMS:
                    found.append(LogStream(path=path, generation=int(folder.name), rank=int(number), stream=stream))
        chosen = (s for s in found if generation in (None, s.generation) and rank in (None, s.rank))
        return sorted(chosen, key=lambda s: (s.generation, s.rank, STREAMS.index(s.stream)))

    def delete(self, attempt: str) -> None:
        """Remove everything of an attempt."""
        shutil.rmtree(self._attempt(attempt), ignore_errors=True)

    def _stream(self, attempt: str, generation: int, rank: int, stream: str) -> LogStream:
        if stream not in STREAMS or generation < 1 or rank < 0:
            raise InvalidValue(f"no such log stream: generation {generation}, rank {rank}, {stream!r}")
        path = self._attempt(attempt) / str(generation) / f"{rank}.{stream}"
        return LogStream(path=path, generation=generation, rank=rank, stream=stream)

    def _attempt(self, attempt: str) -> Path:
        if not _ATTEMPT.fullmatch(attempt):
            raise InvalidValue(f"{attempt!r} is no attempt id")
        return self._root / attempt


def _parse_index(text: str) -> list[tuple[int, int]]:
    try:
        return [(int(o), int(ns)) for o, _, ns in (pair.partition(":") for pair in text.split(",") if pair)]
    except ValueError:
        raise InvalidValue(f"malformed log index {text[:80]!r}") from None
