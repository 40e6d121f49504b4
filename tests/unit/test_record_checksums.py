"""Checksums of records, of many at once, against TensorBoard's own."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import masked_crc32c

from opengrid.services.record_checksums import are_whole, checksum


@given(content=st.binary(max_size=600))
def test_a_checksum_is_tensorboards(content: bytes) -> None:
    assert checksum(content) == masked_crc32c(content)


@given(
    sizes=st.lists(st.one_of(st.integers(0, 20), st.integers(0, 512)), min_size=1, max_size=3),
    number=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    alike=st.floats(0, 1),
)
def test_of_many_contents_those_that_changed_are_told_apart(
    sizes: list[int], number: int, seed: int, alike: float
) -> None:
    chance = np.random.default_rng(seed)
    data, starts, ends, whole = b"", list[int](), list[int](), list[bool]()
    common = {size: chance.bytes(size) for size in sizes}
    for _ in range(number):
        content = bytearray(common[size := int(chance.choice(sizes))])
        for at in np.flatnonzero(chance.random(size) > alike):
            content[at] = chance.integers(256)
        own = struct.pack("<I", masked_crc32c(bytes(content)))
        is_whole = not size or chance.random() < 0.8
        if not is_whole:
            content[int(chance.integers(size))] ^= 1 << int(chance.integers(8))
        data += chance.bytes(12)
        starts, ends, whole = [*starts, len(data)], [*ends, len(data) + size], [*whole, is_whole]
        data += bytes(content) + own
    found = are_whole(data, np.array(starts, np.int64), np.array(ends, np.int64))
    assert found.tolist() == whole
