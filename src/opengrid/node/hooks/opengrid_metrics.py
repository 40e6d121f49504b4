"""Writes scalars into an event file, as TensorBoard reads it, with nothing but the standard library.

It runs in the user's process, for scripts whose own logger writes no such file.
"""

from __future__ import annotations

import math
import os
import struct
import time
from typing import Any


class MetricsFile:
    """An event file that gets a metric whenever it has changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, float] = {}

    def write(self, metrics: dict[str, Any], step: int) -> None:
        """Append those of these metrics that are numbers and have changed. A full disk is not ours to report."""
        numbers = {name: number for name, value in metrics.items() if (number := _number(value)) is not None}
        changed = {name: number for name, number in numbers.items() if not _is_same(self._known.get(name), number)}
        if not changed:
            return
        self._known.update(changed)
        now = time.time()
        data = b"".join(_record(_event(now, step, name, number)) for name, number in changed.items())
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError:
            pass


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several numbers
        return None


def _is_same(known: float | None, number: float) -> bool:
    return known is not None and (known == number or (math.isnan(known) and math.isnan(number)))


def _event(at: float, step: int, name: str, number: float) -> bytes:
    """Return an Event with one simple value, in protobuf's encoding."""
    tag = name.encode("utf-8", "replace")
    value = b"\x0a" + _varint(len(tag)) + tag + b"\x15" + _four_bytes(number)
    summary = b"\x0a" + _varint(len(value)) + value
    return b"\x09" + struct.pack("<d", at) + b"\x10" + _varint(step) + b"\x2a" + _varint(len(summary)) + summary


def _four_bytes(number: float) -> bytes:
    try:
        return struct.pack("<f", number)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, number))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _checksum(data: bytes) -> bytes:
    """Return the CRC-32C of some bytes, masked as record files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
