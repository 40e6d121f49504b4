"""Searching a log of any size in slices of bounded work: who asks goes on from the place where a slice ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opengrid.services.log_files import LogStream
from opengrid.services.log_window import Key, LogWindows, Place, WindowLine, key_of
from opengrid.services.patterns import Pattern

_BLOCK = 1 << 20

#: No match is longer, so that none is missed where two blocks meet.
_OVERLAP = 1 << 10

#: Bytes that one slice of work looks at.
_SLICE = 64 << 20

#: What programs write when they fail.
ERRORS = Pattern(
    r"Traceback \(most recent call last\)|[A-Za-z_]\w*(?:Error|Exception|Interrupt): |\b(?:ERROR|FATAL|CRITICAL)\b"
    r"|out of memory|Segmentation fault|Fatal Python error",
    is_regex=True,
    is_case_sensitive=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a slice of work came to: a line, or the place to go on from, or neither: there is none."""

    line: WindowLine | None = None
    place: Place | None = None
    searched: int  #: bytes


def search(windows: LogWindows, pattern: Pattern, place: Place, *, is_forward: bool) -> Found:
    """Look for the first line after a place that matches, or for the last one before it."""
    searched = 0
    now = dict(place)
    for generation in windows.generations if is_forward else reversed(windows.generations):
        streams = windows.streams_of(generation)
        share = max(_BLOCK, _SLICE // max(1, len(streams)))
        found: list[WindowLine] = []
        is_open = False
        for key, (stream, size) in streams.items():
            scan = _forward if is_forward else _backward
            hit, reached = scan(stream, now[key], size, pattern, share)
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


def _forward(stream: LogStream, start: int, size: int, pattern: Pattern, most: int) -> tuple[int | None, int]:
    """Return where a match begins, and how far was looked."""
    position, stop = start, min(size, start + most)
    before = stream.read(start - 1, 1) if start > 0 else b""  # anchors look at it
    known = 0  #: bytes of `before` that may begin a match
    while position < stop:
        block = stream.read(position, min(_BLOCK, stop - position))
        if not block:
            break
        data = before + block
        at = pattern.first(data, len(before) - known, is_whole=position + len(block) >= size)
        if at >= 0:
            return position - len(before) + at, position
        position += len(block)
        before = data[-_OVERLAP - 1 :]
        known = min(_OVERLAP, position - start)
    return None, position if position >= size else max(start + 1, position - _OVERLAP)


def _backward(stream: LogStream, start: int, size: int, pattern: Pattern, most: int) -> tuple[int | None, int]:
    position, stop, after = min(start, size), max(0, start - most), b""
    while position > stop:
        low = max(stop, position - _BLOCK)
        context = min(1, low)
        data = stream.read(low - context, position - low + context) + after
        at = pattern.last(data, context, is_whole=not after and position == size)
        if at >= 0:
            return low - context + at, position
        position, after = low, data[context : context + _OVERLAP]
    return None, position if position <= 0 else min(max(1, start - 1), position + _OVERLAP)
