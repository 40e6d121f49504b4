"""Reading ranks' output: one rank as it was written, or all ranks merged by whole lines in the order of their times."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from opengrid.services.log_files import LogStream

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of one stream, with its newline when it has one."""

    at_ns: int
    source: LogStream
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStyle:
    """How lines are shown."""

    prefix: bool = True  #: `[rank 3] ` in front
    times: bool = False
    headings: bool = False  #: a line where another generation begins

    def render(self, line: LogLine) -> bytes:
        """Return the bytes to show; without prefix and times they are exactly those written.

        A carriage return that redraws a progress bar redraws the prefix too; a line's missing end is made up for, so
        that the next rank's line starts on its own.
        """
        if not (self.prefix or self.times):
            return line.data
        head = b""
        if self.times:
            head += (
                datetime.fromtimestamp(line.at_ns / 1e9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode()
                + b"Z "
            )
        if self.prefix:
            head += b"[rank %d] " % line.source.rank
        redrawn = line.data.endswith(b"\r")
        body = line.data.rstrip(b"\n")
        ending = b"\r" if body.endswith(b"\r") else b""
        body = body[:-1] if ending else body
        return head + body.replace(b"\r", b"\r" + head) + ending + (b"" if redrawn else b"\n")


class LogPrinter:
    """Renders lines in the order in which they are shown, with what stands between them."""

    def __init__(self, style: LogStyle) -> None:
        self._style = style
        self._shown: LogStream | None = None

    def render(self, line: LogLine) -> bytes:
        """Return the bytes to show for the next line."""
        before, self._shown = self._shown, line.source
        is_other = before is not None and before.path.parent != line.source.path.parent
        heading = b"--- generation %d\n" % line.source.generation if is_other and self._style.headings else b""
        return heading + self._style.render(line)


class StreamReader:
    """Takes the lines of one stream one by one, from a position on; after None, ask again for what has come since."""

    def __init__(self, stream: LogStream, offset: int = 0) -> None:
        self.stream = stream
        self._offset = offset  #: of the first byte that no line was made of
        self._rest = b""
        self._ready: deque[LogLine] = deque()

    def peek(self, *, final: bool) -> LogLine | None:
        """Return the next line without taking it; `final` makes a last line without its end a line too."""
        while not self._ready:
            block = self.stream.read(self._offset + len(self._rest), _BLOCK)
            if not block and not (final and self._rest):
                return None
            self._split(block, final=final and not block)
        return self._ready[0]

    def take(self) -> LogLine:
        """Take the line that peek() showed."""
        return self._ready.popleft()

    def _split(self, block: bytes, *, final: bool) -> None:
        times = self.stream.times()
        *whole, rest = (self._rest + block).split(b"\n")
        pieces = [text + b"\n" for text in whole]
        if b"\r" in rest and not final:  # a progress bar redraws itself without ever ending its line
            drawn, _, rest = rest.rpartition(b"\r")
            pieces.append(drawn + b"\r")
        if final or len(rest) > _BLOCK:
            pieces.append(rest)
            rest = b""
        self._rest = rest
        for data in pieces:
            at_ns = times.at(self._offset)
            self._ready.append(LogLine(at_ns=at_ns, source=self.stream, data=data))
            self._offset += len(data)


def merge(readers: Sequence[StreamReader], *, final: bool) -> Iterator[LogLine]:
    """Yield the lines of several streams by time. May be left at any line: the rest stays in the readers."""
    heap: list[tuple[int, int]] = []

    def offer(position: int) -> None:
        line = readers[position].peek(final=final)
        if line is not None:
            heapq.heappush(heap, (line.at_ns, position))

    for position in range(len(readers)):
        offer(position)
    while heap:
        _, position = heapq.heappop(heap)
        line = readers[position].take()
        offer(position)
        yield line


def read_lines(streams: Iterable[LogStream], *, tail: int | None, final: bool) -> Iterator[LogLine]:
    """Yield what streams hold now, generation after generation, all of it or the last `tail` lines.

    With `final`, or where another generation follows, a last line without its end is a line too.
    """
    by_generation: defaultdict[int, list[LogStream]] = defaultdict(list)
    for stream in streams:
        by_generation[stream.generation].append(stream)
    numbers = sorted(by_generation)
    if tail is None:
        for number in numbers:
            readers = [StreamReader(stream) for stream in by_generation[number]]
            yield from merge(readers, final=final or number != numbers[-1])
        return
    ends: deque[list[LogLine]] = deque()
    while numbers and tail > 0:
        readers = [StreamReader(stream, stream.tail_offset(tail)) for stream in by_generation[numbers.pop()]]
        ends.appendleft(list(merge(readers, final=final or bool(ends)))[-tail:])
        tail -= len(ends[0])
    for lines in ends:
        yield from lines


def raw_blocks(stream: LogStream) -> Iterator[bytes]:
    """Yield one stream's bytes exactly as they were written."""
    offset = 0
    while block := stream.read(offset):
        offset += len(block)
        yield block
