"""A window into a log of any size: some lines before and after a place, at a cost that the log's size does not change.

Lines stand in the order of generation, then time, then stream, as in the merged log. A *place* is an offset in every
stream; it is told as a word of which callers know nothing: one line's (`1.3.0.8192`: generation, rank, stream, offset;
with an `e`, after it), or all offsets, packed. A line that is longer than 64 KiB comes in pieces.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue
from opengrid.services.log_files import STREAMS, LogStream, TimeIndex

#: A line without an end is cut where so many bytes hold none.
_PIECE = 64 << 10
_BLOCK = 256 << 10

#: Most bytes of text in one window.
_MOST_BYTES = 1 << 20

_LINE = re.compile(
    r"(?P<generation>[0-9]{1,9})\.(?P<rank>[0-9]{1,9})\.(?P<stream>[01])\.(?P<offset>[0-9]{1,18})(?P<after>e?)"
)

#: (generation, rank, stream's number)
Key = tuple[int, int, int]
Place = Mapping[Key, int]


@dataclass(frozen=True, slots=True)
class WindowLine:
    """One line of one stream, its end included."""

    stream: LogStream
    offset: int
    end: int
    at_ns: int
    data: bytes

    @property
    def cursor(self) -> str:
        """The place before this line."""
        generation, rank, number = key_of(self.stream)
        return f"{generation}.{rank}.{number}.{self.offset}"

    @property
    def after(self) -> str:
        """The place after this line."""
        return f"{self.cursor}e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Lines around a place, and the places at its ends."""

    lines: Sequence[WindowLine]
    before: Place
    after: Place
    at_start: bool
    at_end: bool
    size: int  #: bytes of the whole log

    def fraction(self, place: Place) -> float:
        """Return how much of the log lies before a place."""
        return sum(place.values()) / self.size if self.size else 0.0


def key_of(stream: LogStream) -> Key:
    """Return what names a stream of an attempt."""
    return stream.generation, stream.rank, STREAMS.index(stream.stream)


class LogWindows:
    """Reads windows of an attempt's streams. `is_final`: the last lines are whole though they have no end."""

    def __init__(self, streams: Sequence[LogStream], *, is_final: bool) -> None:
        self._streams = {key_of(stream): stream for stream in streams}
        self._sizes = {key: stream.size() for key, stream in self._streams.items()}
        self._times: dict[Key, TimeIndex] = {}
        self._newest = max((key[0] for key in self._streams), default=0)
        self._is_final = is_final

    @property
    def size(self) -> int:
        """Bytes of all streams."""
        return sum(self._sizes.values())

    def window(self, at: str, *, before: int, after: int) -> Window:
        """Return at most so many lines before and after a place.

        `at` is `start`, `end`, a fraction such as 0.42, or a place; InvalidValue for anything else.
        """
        place = self.place(at)
        above = list(itertools.islice(_bounded(self.lines_before(place)), before))[::-1]
        below = list(itertools.islice(_bounded(self.lines_after(place)), after))
        first, last = dict(place), dict(place)
        for line in reversed(above):
            first[key_of(line.stream)] = line.offset
        for line in below:
            last[key_of(line.stream)] = line.end
        return Window(
            lines=[*above, *below],
            before=first,
            after=last,
            at_start=next(self.lines_before(first), None) is None,
            at_end=next(self.lines_after(last), None) is None,
            size=self.size,
        )

    def place(self, at: str) -> Place:
        """Return the place that a text names."""
        if at == "start":
            return dict.fromkeys(self._streams, 0)
        if at == "end":
            return {key: self._whole(key) for key in self._streams}
        match = _LINE.fullmatch(at)
        if match is not None:
            key = (int(match["generation"]), int(match["rank"]), int(match["stream"]))
            return self._around(key, int(match["offset"]), after=bool(match["after"]))
        if at.startswith("~"):
            packed = unpacked(at)
            return {key: min(packed.get(key, 0), size) for key, size in self._sizes.items()}
        try:
            fraction = float(at)
        except ValueError:
            fraction = -1.0
        if not 0 <= fraction <= 1:
            raise InvalidValue(
                f"{at[:40]!r} is no place in a log", hint="start, end, a fraction, or a cursor", field="at"
            )
        return self._at_fraction(fraction)

    def lines_after(self, place: Place) -> Iterator[WindowLine]:
        """Yield the lines from a place on, in their order."""
        for generation in self.generations:
            streams = [self._forward(key, place[key]) for key in self._streams if key[0] == generation]
            yield from heapq.merge(*streams, key=_order)

    def lines_before(self, place: Place) -> Iterator[WindowLine]:
        """Yield the lines before a place, the last one first."""
        for generation in reversed(self.generations):
            streams = [self._backward(key, place[key]) for key in self._streams if key[0] == generation]
            yield from heapq.merge(*streams, key=_order, reverse=True)

    def streams_of(self, generation: int) -> dict[Key, tuple[LogStream, int]]:
        """Return a generation's streams with their sizes."""
        return {key: (stream, self._sizes[key]) for key, stream in self._streams.items() if key[0] == generation}

    @property
    def generations(self) -> list[int]:
        """The generations that have written."""
        return sorted({key[0] for key in self._streams})

    def order_at(self, key: Key, offset: int) -> tuple[int, Key]:
        """Return where in its generation the line stands in which an offset lies."""
        return self._index(key).at(_piece_start(self._streams[key], offset)), key

    def line_at(self, key: Key, offset: int) -> WindowLine:
        """Return the line in which an offset lies."""
        return next(self._forward(key, _piece_start(self._streams[key], offset), is_whole=True))

    def _forward(self, key: Key, offset: int, *, is_whole: bool = False) -> Iterator[WindowLine]:
        stream, size = self._streams[key], self._sizes[key]
        has_end = is_whole or self._is_final or key[0] != self._newest
        data, start = b"", offset
        while start < size:
            end = _piece_end(data, start)
            if end is None and start + len(data) < size:
                data += stream.read(start + len(data), min(_BLOCK, size - start - len(data)))
                continue
            if end is None:
                if not has_end:
                    return  # still being written
                end = size
            yield self._line(key, start, data[: end - start])
            data, start = data[end - start :], end

    def _backward(self, key: Key, offset: int) -> Iterator[WindowLine]:
        stream, end = self._streams[key], min(offset, self._sizes[key])
        block, begins = b"", end
        while end > 0:
            # Two pieces before an end tell where the line begins that it ends.
            if begins > max(0, end - 2 * _PIECE - 1) and not _holds_start(block, begins, end):
                low = max(0, begins - _BLOCK)
                block = stream.read(low, begins - low) + block
                begins = low
                continue
            start = _piece_start_in(block, begins, end)
            yield self._line(key, start, block[start - begins : end - begins])
            block, end = block[: start - begins], start

    def _line(self, key: Key, offset: int, data: bytes) -> WindowLine:
        return WindowLine(self._streams[key], offset, offset + len(data), self._index(key).at(offset), data)

    def _index(self, key: Key) -> TimeIndex:
        if key not in self._times:
            self._times[key] = self._streams[key].times()
        return self._times[key]

    def _whole(self, key: Key) -> int:
        """Return where the last whole line of a stream ends."""
        size = self._sizes[key]
        if self._is_final or key[0] != self._newest or not size:
            return size
        start = _piece_start(self._streams[key], size)
        return size if self._streams[key].read(size - 1, 1) == b"\n" else start

    def _around(self, key: Key, offset: int, *, after: bool) -> Place:
        """Return the place before or after a line of one stream: in all others, after what comes before it."""
        if key not in self._streams:
            raise InvalidValue(f"this log has no line at {'.'.join(map(str, (*key, offset)))}", field="at")
        offset = _piece_start(self._streams[key], min(offset, self._sizes[key]))
        end = self.line_at(key, offset).end if after and offset < self._sizes[key] else offset
        return self._at_time(key, self._index(key).at(offset), end)

    def _at_time(self, key: Key, ns: int, offset: int) -> Place:
        place: dict[Key, int] = {}
        for other, size in self._sizes.items():
            if other[0] != key[0]:
                place[other] = size if other[0] < key[0] else 0
            elif other == key:
                place[other] = offset
            else:
                # At the same time, streams stand in the order of their keys.
                begin = self._index(other).begin(ns, after=other < key)
                place[other] = size if begin is None else _piece_from(self._streams[other], min(begin, size), size)
        return place

    def _at_fraction(self, fraction: float) -> Place:
        """Return a place with about so much of the log before it."""
        wanted = int(fraction * self.size)
        for generation in self.generations:
            sizes = {key: size for key, size in self._sizes.items() if key[0] == generation}
            total = sum(sizes.values())
            if wanted <= total:
                largest = max(sizes, key=lambda key: sizes[key])
                offset = _piece_start(self._streams[largest], sizes[largest] * wanted // max(1, total))
                return self._at_time(largest, self._index(largest).at(offset), offset)
            wanted -= total
        return dict(self._sizes)


def packed(place: Place) -> str:
    """Return a place as one word."""
    body = json.dumps([[*key, offset] for key, offset in sorted(place.items())], separators=(",", ":")).encode()
    return "~" + base64.urlsafe_b64encode(zlib.compress(body)).decode().rstrip("=")


def unpacked(word: str) -> dict[Key, int]:
    """Return the place that such a word stands for; InvalidValue for any other word."""
    try:
        content = base64.b64decode(word[1:] + "=" * (-(len(word) - 1) % 4), altchars=b"-_", validate=True)
        inflate = zlib.decompressobj()
        rows = json.loads(inflate.decompress(content, _MOST_BYTES))
        return {(int(g), int(r), int(s)): max(0, int(offset)) for g, r, s, offset in rows}
    except (ValueError, TypeError, zlib.error):
        raise InvalidValue(f"{word[:40]!r} is no place in a log", field="at") from None


def _order(line: WindowLine) -> tuple[int, Key, int]:
    return line.at_ns, key_of(line.stream), line.offset


def _bounded(lines: Iterator[WindowLine]) -> Iterator[WindowLine]:
    """Yield lines until they have as many bytes as one window may."""
    size = 0
    for line in lines:
        size += len(line.data)
        if size > _MOST_BYTES and size > len(line.data):
            return
        yield line


def _forced(start: int) -> int:
    """Return where a line that begins at `start` is cut, when it has no end before."""
    return (-(-start // _PIECE) + 1) * _PIECE


def _piece_end(data: bytes, start: int) -> int | None:
    """Return where the piece ends that begins at `start` with `data`; None when `data` does not tell."""
    cut = _forced(start)
    newline = data.find(b"\n", 0, cut - start)
    if newline >= 0:
        return start + newline + 1
    return cut if start + len(data) >= cut else None


def _holds_start(block: bytes, begins: int, end: int) -> bool:
    return begins == 0 or block.rfind(b"\n", 0, max(0, end - 1 - begins)) >= 0


def _piece_start_in(block: bytes, begins: int, end: int) -> int:
    """Return where the piece begins that ends at `end`; `block`, from `begins` on, tells it."""
    newline = block.rfind(b"\n", 0, max(0, end - 1 - begins))
    line = begins + newline + 1 if newline >= 0 else begins
    # The last cut before the end, if the line was cut at all. A block without a newline begins inside the line.
    cut = (end - 1) // _PIECE * _PIECE
    if newline < 0 and begins > 0:
        return cut
    return cut if cut >= _forced(line) else line


def _piece_start(stream: LogStream, offset: int) -> int:
    """Return where the piece begins in which an offset lies; an offset between two pieces begins the second."""
    begins = max(0, offset - 2 * _PIECE)
    block = stream.read(begins, offset - begins)
    if not block or block.endswith(b"\n"):
        return offset
    return _piece_start_in(block + b".", begins, offset + 1)


def _piece_from(stream: LogStream, offset: int, size: int) -> int:
    """Return the first beginning of a piece at an offset or after it."""
    start = _piece_start(stream, offset)
    data = b""
    while start < offset:
        end = _piece_end(data, start)
        if end is None:
            if start + len(data) >= size:
                return size
            data += stream.read(start + len(data), _BLOCK)
            continue
        data, start = data[end - start :], end
    return start
