"""Checksums of records in event files: CRC-32C, rotated, with a constant added; of many records at once.

The checksums of two records of one length differ by what the checksum of their difference is. Of a training's records
nearly all bytes are alike, so that for each only a few differences are looked up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

_ADDED = 0xA282EAD8

#: Fewer records of one length are computed one by one.
_FEW = 16

Ints = npt.NDArray[np.int64]
Checksums = npt.NDArray[np.uint32]


def checksum(data: bytes) -> int:
    """Return the checksum of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _ADDED) & 0xFFFFFFFF


def are_whole(data: bytes, starts: Ints, ends: Ints) -> npt.NDArray[np.bool_]:
    """Return for each of these contents whether the checksum behind it is its own; before each are 8 bytes or more."""
    sizes, found = ends - starts, np.zeros(len(starts), np.uint32)
    for size in np.flatnonzero(np.bincount(sizes)).tolist():
        members = np.flatnonzero(sizes == size)
        if len(members) < _FEW or not size:
            found[members] = [checksum(data[end - size : end]) for end in ends[members].tolist()]
        else:
            found[members] = _checksums(data, ends[members], size)
    stored = np.ndarray((max(0, len(data) - 3),), np.uint32, data, strides=(1,))
    return found == stored[ends]


def _checksums(data: bytes, ends: Ints, size: int) -> Checksums:
    """Return the checksums of contents of one size."""
    width = -(-size // 8) * 8  # whole words up to the end, so that the same tables fit contents of all sizes
    rows = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))[ends - width]
    words = np.ndarray((len(ends), width // 8), np.uint64, rows)
    words[:, 0] &= ~np.uint64(0) << np.uint64(8 * (width - size))
    found: Checksums = np.full(len(ends), _unmasked(checksum(data[ends[0] - size : ends[0]])), np.uint32)
    for number in range(width // 8):
        differences = words[:, number] ^ words[0, number]
        differing = int(np.bitwise_or.reduce(differences))  # pyright: ignore[reportUnknownMemberType] - numpy's own
        for place in range(4):
            if differing >> 16 * place & 0xFFFF:
                halves = differences.view(np.uint16)[place::4]
                found ^= _pairs(width - 8 * number - 2 * place - 2)[halves]
    turned = found >> np.uint32(15) | found << np.uint32(17)
    return turned + np.uint32(_ADDED)


def _unmasked(masked: int) -> np.uint32:
    turned = (masked - _ADDED) & 0xFFFFFFFF
    return np.uint32((turned >> 17 | turned << 15) & 0xFFFFFFFF)


@lru_cache(64)  # of a quarter of a MiB each
def _pairs(behind: int) -> Checksums:
    """Return by pairs of bytes what they add to a checksum when so many bytes come behind them."""
    later, earlier = _singles(behind), _singles(behind + 1)
    return (later[:, None] ^ earlier[None, :]).ravel()


@lru_cache(1024)
def _singles(behind: int) -> Checksums:
    """Return by byte what it adds to a checksum when so many bytes come behind it."""
    added = np.array(_TABLE, np.uint32)
    for _ in range(behind):
        added = np.array(_TABLE, np.uint32)[added & np.uint32(0xFF)] ^ added >> np.uint32(8)
    return added


def _shifted(entry: int) -> int:
    for _ in range(8):
        entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
    return entry


_TABLE = tuple(_shifted(entry) for entry in range(256))
