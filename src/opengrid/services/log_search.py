"""Searching a log of any size in slices of bounded work: who asks goes on from the place where a slice ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opengrid.core.errors import InvalidValue
from opengrid.services.log_files import LogStream
from opengrid.services.log_window import Key, LogWindows, Place, WindowLine, key_of

_BLOCK = 1 << 20

#: No match is longer, so that none is missed where two blocks meet.
_OVERLAP = 1 << 10

_ERRORS = re.compile(
    rb"Traceback \(most recent call last\)|[A-Za-z_]\w*(?:Error|Exception|Interrupt): |\b(?:ERROR|FATAL|CRITICAL)\b"
    rb"|out of memory|Segmentation fault|Fatal Python error"
)


class Matcher(Protocol):
    """What is searched for."""

    most_bytes: int  #: that one slice of work looks at

    def first(self, data: bytes) -> int:
        """Return where the first match begins, -1 for none."""
        ...

    def last(self, data: bytes) -> int:
        """Return where the last match begins, -1 for none."""
        ...


class Text:
    """A text, whatever its case."""

    most_bytes = 64 << 20

    def __init__(self, text: str) -> None:
        self._wanted = text.encode().lower()
        if not 0 < len(self._wanted) <= _OVERLAP or b"\n" in self._wanted:
            raise InvalidValue(f"a text of {len(self._wanted)} bytes cannot be searched for", field="q")

    def first(self, data: bytes) -> int:
        """Find it from the beginning."""
        return data.lower().find(self._wanted)

    def last(self, data: bytes) -> int:
        """Find it from the end."""
        return data.lower().rfind(self._wanted)


class Errors:
    """What programs write when they fail."""

    most_bytes = 16 << 20

    def first(self, data: bytes) -> int:
        """Find one from the beginning."""
        match = _ERRORS.search(data)
        return match.start() if match else -1

    def last(self, data: bytes) -> int:
        """Find the last one."""
        found = -1
        for match in _ERRORS.finditer(data):
            found = match.start()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a slice of work came to: a line, or the place to go on from, or neither: there is none."""

    line: WindowLine | None = None
    place: Place | None = None
    searched: int  #: bytes


def search(windows: LogWindows, matcher: Matcher, place: Place, *, is_forward: bool) -> Found:
    """Look for the first line after a place that matches, or for the last one before it."""
    searched = 0
    now = dict(place)
    for generation in windows.generations if is_forward else reversed(windows.generations):
        streams = windows.streams_of(generation)
        share = max(_BLOCK, matcher.most_bytes // max(1, len(streams)))
        found: list[WindowLine] = []
        is_open = False
        for key, (stream, size) in streams.items():
            scan = _forward if is_forward else _backward
            hit, reached = scan(stream, now[key], size, matcher, share)
            searched += abs(reached - now[key])
            if hit is not None:
                found.append(windows.line_at(key, hit))
                # The next slice, if there is one, shall find it again at once, and never begin before this one.
                reached = max(hit, now[key]) if is_forward else min(hit + _OVERLAP, now[key])
            now[key] = reached
            is_open |= hit is None and 0 < reached < size
        best = _best(found, is_forward)
        if best is not None and not (is_open and _may_be_missed(windows, now, best, is_forward)):
            return Found(line=best, searched=searched)
        if is_open:
            return Found(place=now, searched=searched)
    return Found(searched=searched)


def _best(found: list[WindowLine], is_forward: bool) -> WindowLine | None:
    choose: Callable[..., WindowLine] = min if is_forward else max
    return choose(found, key=_order) if found else None


def _order(line: WindowLine) -> tuple[int, Key]:
    return line.at_ns, key_of(line.stream)


def _may_be_missed(windows: LogWindows, now: Place, best: WindowLine, is_forward: bool) -> bool:
    """Whether a stream that was not looked through may hold a match that comes before the best one."""
    for key, (_, size) in windows.streams_of(best.stream.generation).items():
        if 0 < now[key] < size and key != key_of(best.stream):
            here = windows.order_at(key, now[key])
            if here < _order(best) if is_forward else here > _order(best):
                return True
    return False


def _forward(stream: LogStream, start: int, size: int, matcher: Matcher, most: int) -> tuple[int | None, int]:
    """Return where a match begins, and how far was looked."""
    position, stop, tail = start, min(size, start + most), b""
    while position < stop:
        block = stream.read(position, min(_BLOCK, stop - position))
        if not block:
            break
        data = tail + block
        at = matcher.first(data)
        if at >= 0:
            return position - len(tail) + at, position
        position += len(block)
        tail = data[-_OVERLAP:]
    return None, position if position >= size else max(start + 1, position - _OVERLAP)


def _backward(stream: LogStream, start: int, size: int, matcher: Matcher, most: int) -> tuple[int | None, int]:
    position, stop, head = min(start, size), max(0, start - most), b""
    while position > stop:
        low = max(stop, position - _BLOCK)
        data = stream.read(low, position - low) + head
        at = matcher.last(data)
        if at >= 0:
            return low + at, position
        position, head = low, data[:_OVERLAP]
    return None, position if position <= 0 else min(max(1, start - 1), position + _OVERLAP)
