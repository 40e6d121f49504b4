"""Reads scalars out of TensorBoard event files, a piece at a time.

A file is a row of records: length, checksum of the length, an Event, checksum of the Event. Nearly all of a training's
Events are alike but for time, step and value. So numpy reads them, all at once: of those that differ in nothing else,
one is parsed, and says what the others are. What does not fit this is parsed one by one.
"""

from __future__ import annotations

import contextlib
import math
import struct
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from opengrid.planning.series import POINT, Points
from opengrid.services.events import Event, Value, is_float_tensor, is_simple, number_in, parse_event, says_scalar
from opengrid.services.record_checksums import are_whole, checksum

#: Before and after the Event: its length with that one's checksum, and the Event's own checksum.
_HEADER, _FOOTER = 12, 4

#: Events up to this size are compared with one another; larger ones hold images, histograms or text.
_MOST_ALIKE = 512

#: Most bytes of a step that numpy reads; negative ones have more.
_STEP_BYTES = 6

#: So many records are looked at one by one before their lengths are taken for a pattern.
_LOOKED_AT = 64

#: So many different Events are told apart by looking through all of them for each.
_FEW = 64

#: Most tags of one file: a script that makes up a tag for every step must not fill the store.
MOST_TAGS = 2000

Ints = npt.NDArray[np.int64]
Number = TypeVar("Number", np.uint32, np.uint64, np.float32, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a piece of an event file holds."""

    points: Points  #: in the order of the file; `tag` is an index into `tags`, `file` is 0
    tags: tuple[str, ...]  #: those known before, then new ones
    consumed: int  #: bytes up to the last whole record
    needed: int = 0  #: size of the record that follows and is not whole; 0: not even its length is there
    problem: str | None = None  #: why nothing behind the consumed bytes can be read
    damaged: tuple[int, ...] = ()  #: where records begin that are left out, as their content does not fit its checksum


class _Corrupt(Exception):
    """Nothing can be read from here on."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at, self.reason = at, reason


class _Scalar(NamedTuple):
    tag: int
    value: float


def decode(data: bytes, tags: tuple[str, ...] = ()) -> Decoded:
    """Return the scalars in a piece of a file that begins with a record; `tags` are those that it had before."""
    starts, consumed = _records(data)
    needed, problem = 0, None
    broken = _first_broken(data, starts)
    if broken is not None:
        starts, consumed, problem = starts[:broken], int(starts[broken]), _LENGTH_BROKEN
    elif len(data) >= consumed + _HEADER:
        length, stored = struct.unpack_from("<QI", data, consumed)
        needed = _HEADER + length + _FOOTER
        problem = None if stored == checksum(data[consumed : consumed + 8]) else _LENGTH_BROKEN
    while True:
        reader = _Reader(data, tags)
        try:
            points = reader.read(starts)
            return Decoded(
                points=points,
                tags=tuple(reader.tags),
                consumed=consumed,
                needed=needed,
                problem=problem,
                damaged=tuple(sorted(reader.damaged)),
            )
        except _Corrupt as error:  # what comes before is read once more, now alone
            starts, consumed, needed, problem = starts[starts < error.at], error.at, 0, error.reason


_LENGTH_BROKEN = "the length of a record does not fit its checksum"


def _records(data: bytes) -> tuple[Ints, int]:
    """Return where whole records begin, and where the last one ends."""
    length, size, at, starts, found = struct.Struct("<Q").unpack_from, len(data), 0, list[int](), list[Ints]()
    add = starts.append
    while at + _HEADER <= size:
        end = at + length(data, at)[0] + _HEADER + _FOOTER
        if end > size:
            break
        add(at)
        at = end
        if len(starts) == _LOOKED_AT:
            found.append(np.array(starts, np.int64))
            starts.clear()
            again = _repeated(data, found[-1], at)
            if len(again):
                found.append(again)
                at = int(again[-1]) + length(data, int(again[-1]))[0] + _HEADER + _FOOTER
    return np.concatenate([*found, np.array(starts, np.int64)]), at


def _repeated(data: bytes, starts: Ints, at: int) -> Ints:
    """Return where the records from `at` on begin, as far as their lengths go on as they did in those before.

    A training writes the same few scalars at each step, so that lengths repeat thousands of times.
    """
    ends = [*starts[1:].tolist(), at]
    sizes = [end - start for start, end in zip(starts.tolist(), ends, strict=True)]
    half = len(sizes) // 2
    period = next((p for p in range(1, half + 1) if sizes[-p:] == sizes[-2 * p : -p]), None)
    if period is None:
        return starts[:0]
    pattern = sizes[-period:]
    stride = sum(pattern)
    count = (len(data) - at) // stride
    offsets = [sum(pattern[:i]) for i in range(period)]
    for offset, size in zip(offsets, pattern, strict=True):
        lengths = np.ndarray((count,), np.uint64, data, offset=at + offset, strides=(stride,))
        others = np.flatnonzero(lengths != size - _HEADER - _FOOTER)
        count = int(others[0]) if len(others) else count
    return (at + stride * np.arange(count)[:, None] + np.array(offsets)[None, :]).ravel()


def _first_broken(data: bytes, starts: Ints) -> int | None:
    """Return the first of these records whose length has another checksum than it should."""
    if not len(starts):
        return None
    lengths, checksums = _at_any_offset(data, np.uint64)[starts], _at_any_offset(data, np.uint32)[starts + 8]
    broken = [
        members[wrong[0]]
        for length in _different(lengths)
        if len(members := np.flatnonzero(lengths == length))
        and len(wrong := np.flatnonzero(checksums[members] != checksum(struct.pack("<Q", length))))
    ]
    return int(min(broken)) if broken else None


def _different(lengths: npt.NDArray[np.uint64]) -> list[int]:
    """Return each of these lengths once; to sort them all takes longer than all the rest."""
    is_large = lengths > _MOST_ALIKE
    small = np.flatnonzero(np.bincount(lengths[~is_large].astype(np.int64)))
    return small.tolist() + np.unique(lengths[is_large]).tolist()


class _Reader:
    """Reads the Events of one piece."""

    def __init__(self, data: bytes, tags: tuple[str, ...]) -> None:
        self.tags = list(tags)
        self.damaged: list[int] = []
        self._known = {tag: i for i, tag in enumerate(tags)}
        self._data = data
        padded = data + bytes(8)  # a word can be read at every offset
        self._bytes = np.frombuffer(padded, np.uint8)
        self._words, self._doubles = _at_any_offset(padded, np.uint64), _at_any_offset(padded, np.float64)
        self._floats = _at_any_offset(padded, np.float32)

    def read(self, records: Ints) -> Points:
        """Return the scalars of these records in their order; _Corrupt names the first that is no Event."""
        starts, ends = records + _HEADER, records + _HEADER
        ends = starts + self._words[records].astype(np.int64)
        is_plain, steps, bodies = self._plain(starts, ends)
        is_read = np.ones(len(records), np.bool_)
        small = np.flatnonzero(ends - starts <= _MOST_ALIKE)
        is_read[small] = are_whole(self._data, starts[small], ends[small])
        self.damaged += records[~is_read].tolist()
        found = [self._one(int(i), int(starts[i]), int(ends[i])) for i in np.flatnonzero(is_read & ~is_plain)]
        plain = np.flatnonzero(is_read & is_plain)
        for members in _alike(self._signatures(bodies[plain], ends[plain] - 4)):
            rows = plain[members]
            found.append(self._group(rows, starts[rows], ends[rows], steps[rows]))
        if not found:
            return np.zeros(0, POINT)
        places, points = (
            np.concatenate([place for place, _ in found]),
            b"".join(points.tobytes() for _, points in found),
        )
        return _in_order(places, np.frombuffer(points, POINT))

    def _plain(self, starts: Ints, ends: Ints) -> tuple[npt.NDArray[np.bool_], Ints, Ints]:
        """Return which Events are a time, perhaps a step, and a summary; their steps, and where summaries begin."""
        sizes = ends - starts
        safe = np.where(sizes >= 16, starts, 0)  # of shorter ones any bytes are looked at, and nothing comes of it
        has_step = self._bytes[safe + 9] == 0x10
        step_bytes, steps = self._words[safe + 10], np.zeros(len(starts), np.int64)
        goes_on, lengths = has_step, np.zeros(len(starts), np.int64)
        for i in range(_STEP_BYTES):
            if not goes_on.any():
                break
            byte = (step_bytes >> np.uint64(8 * i)) & np.uint64(0xFF)
            steps |= np.where(goes_on, (byte & np.uint64(0x7F)).astype(np.int64) << (7 * i), 0)
            lengths += goes_on
            goes_on = goes_on & (byte >= 0x80)
        bodies = safe + 9 + has_step + lengths
        is_plain = (sizes >= 16) & (sizes <= _MOST_ALIKE) & (self._bytes[safe] == 0x09) & ~goes_on
        return is_plain & (bodies + 6 <= ends) & (self._bytes[bodies] == 0x2A), steps, bodies

    def _signatures(self, starts: Ints, ends: Ints) -> npt.NDArray[np.uint64]:
        """Return a number for the bytes from each start to its end: equal bytes, equal numbers."""
        left, at = ends - starts, starts
        signatures = left.astype(np.uint64)
        while (left > 0).any():
            words = self._words[at] & _MASKS[np.minimum(np.maximum(left, 0), 8)]
            signatures = (signatures ^ words) * _ODD
            signatures ^= signatures >> np.uint64(29)
            left, at = left - 8, np.minimum(at + 8, ends)
        return signatures

    def _group(self, rows: Ints, starts: Ints, ends: Ints, steps: Ints) -> tuple[Ints, Points]:
        """Return the scalars of Events that differ in time, step and last four bytes only."""
        start, end = int(starts[0]), int(ends[0])
        values = self._event(start, end).summary.value
        scalars = [scalar for value in values if (scalar := self._scalar(value, start)) is not None]
        if not scalars:
            return rows[:0], np.zeros(0, POINT)
        if len(values) > 1 or not _ends_with_float(values[0], self._data[start:end]):
            ones = [self._one(int(i), int(s), int(e)) for i, s, e in zip(rows, starts, ends, strict=True)]
            return np.concatenate([place for place, _ in ones]), np.concatenate([points for _, points in ones])
        points = np.zeros(len(rows), POINT)
        points["step"], points["time"], points["value"] = steps, self._doubles[starts + 1], self._floats[ends - 4]
        points["tag"] = scalars[0].tag
        return rows, points

    def _one(self, row: int, start: int, end: int) -> tuple[Ints, Points]:
        """Return the scalars of one Event."""
        if end - start > _MOST_ALIKE and self._is_damaged(start, end):
            self.damaged.append(start - _HEADER)
            return np.zeros(0, np.int64), np.zeros(0, POINT)
        event = self._event(start, end)
        scalars = [scalar for value in event.summary.value if (scalar := self._scalar(value, start)) is not None]
        points = np.zeros(len(scalars), POINT)
        points["step"], points["time"] = event.step, event.wall_time
        points["tag"], points["value"] = [s.tag for s in scalars], [s.value for s in scalars]
        return np.full(len(scalars), row, np.int64), points

    def _event(self, start: int, end: int) -> Event:
        try:
            return parse_event(self._data[start:end])
        except ValueError:
            raise _Corrupt(start - _HEADER, "a record holds no event") from None

    def _is_damaged(self, start: int, end: int) -> bool:
        """Return whether a large Event is not what it was, as far as that matters to us; most are images."""
        with contextlib.suppress(_Corrupt):
            if not any(self._may_be_scalar(value) for value in self._event(start, end).summary.value):
                return False
        return checksum(self._data[start:end]) != int.from_bytes(self._data[end : end + _FOOTER], "little")

    def _may_be_scalar(self, value: Value) -> bool:
        return is_simple(value) or value.tag in self._known or says_scalar(value)

    def _scalar(self, value: Value, start: int) -> _Scalar | None:
        """Return which scalar a value is, None when it is something else."""
        if not self._may_be_scalar(value):
            return None
        number = number_in(value)
        return None if number is None else _Scalar(self._number(value.tag, start), number)

    def _number(self, tag: str, start: int) -> int:
        number = self._known.setdefault(tag, len(self.tags))
        if number == len(self.tags):
            if number >= MOST_TAGS:
                raise _Corrupt(start - _HEADER, f"it has more than {MOST_TAGS} tags")
            self.tags.append(tag)
        return number


def _alike(signatures: npt.NDArray[np.uint64]) -> list[Ints]:
    """Return the places of equal signatures, those first that begin first."""
    groups, left = list[Ints](), np.arange(len(signatures))
    while len(left) and len(groups) < _FEW:
        is_same = signatures[left] == signatures[left[0]]
        groups.append(left[is_same])
        left = left[~is_same]
    if not len(left):
        return groups
    _, firsts, which = np.unique(signatures[left], return_index=True, return_inverse=True)
    others = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    return groups + [left[others[group]] for group in np.argsort(firsts)]


def _in_order(places: Ints, points: Points) -> Points:
    """Return points in the order of the records that they are from; those of one record stay in theirs."""
    if np.bincount(places).max(initial=0) > 1:
        order = np.argsort(places, kind="stable")
    else:
        slots = np.full(int(places.max(initial=-1)) + 1, -1)
        slots[places] = np.arange(len(places))
        order = slots[slots >= 0]
    return np.ndarray((len(order),), POINT, np.ndarray((len(points),), _RAW, points)[order])


def _ends_with_float(value: Value, event: bytes) -> bool:
    """Whether a scalar's number is the last four bytes of its Event."""
    if value.HasField("metadata"):
        return False
    in_tensor = is_float_tensor(value) and event[-6:-4] in (b"\x2a\x04", b"\x22\x04")  # float_val, tensor_content
    is_last = event[-5] == 0x15 if is_simple(value) else in_tensor
    number = number_in(value) if is_last else None
    last = struct.unpack("<f", event[-4:])[0]
    return number is not None and (number == last or (math.isnan(number) and math.isnan(last)))


def _at_any_offset(data: bytes, kind: type[Number]) -> npt.NDArray[Number]:
    """Return numbers of a kind as they would be read at each byte. All our machines are little-endian, as the files."""
    return np.ndarray((max(0, len(data) - np.dtype(kind).itemsize + 1),), kind, data, strides=(1,))


#: A point as bytes: numpy moves fields one by one.
_RAW = np.dtype(f"V{POINT.itemsize}")

_ODD = np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
