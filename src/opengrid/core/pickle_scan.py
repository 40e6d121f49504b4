"""What stands in a pickle, read by its opcodes: nothing is executed, and torch is not needed."""

from __future__ import annotations

import pickletools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import BinaryIO

_TEXT = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_NUMBER = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"})
_PUT, _GET = frozenset({"PUT", "BINPUT", "LONG_BINPUT"}), frozenset({"GET", "BINGET", "LONG_BINGET"})

#: Where a record lies in a file: its first byte, and how many it has.
Extent = tuple[int, int]


def words_in(pickled: bytes | BinaryIO) -> frozenset[str]:
    """Return the texts that a pickle holds; ValueError when it does not reach its end."""
    return frozenset(value for value in _values(pickled) if isinstance(value, str))


def extents_in(pickled: bytes | BinaryIO) -> dict[str, list[Extent]]:
    """Return where an index of torch.distributed.checkpoint says that its records lie, by the name of the piece.

    ValueError when it does not reach its end.
    """
    values = list(_values(pickled))
    found: defaultdict[str, list[Extent]] = defaultdict(list)
    for start, value in enumerate(values):
        if value == "relative_path":
            extent = _extent(values[start + 1 : start + 6])
            if extent is not None:
                piece, offset, length = extent
                found[piece].append((offset, length))
    return dict(found)


def _extent(values: Sequence[str | int]) -> tuple[str, int, int] | None:
    """Return the fields of torch's _StorageInfo, as its state holds them after `relative_path`."""
    if len(values) < 5 or (values[1], values[3]) != ("offset", "length"):
        return None
    piece, _, offset, _, length = values
    if isinstance(piece, str) and isinstance(offset, int) and isinstance(length, int):
        return piece, offset, length
    return None


def _values(pickled: bytes | BinaryIO) -> Iterator[str | int]:
    """Yield the texts and numbers of a pickle in their order, those too that stand there for the second time."""
    memo: dict[int, str | int | None] = {}
    last: str | int | None = None
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in _PUT:
            memo[int(argument or 0)] = last
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last
        else:
            last = _value(opcode.name, argument, memo)
            if last is not None:
                yield last


def _value(name: str, argument: object, memo: dict[int, str | int | None]) -> str | int | None:
    if name in _GET and isinstance(argument, int):
        return memo.get(argument)
    return argument if name in _TEXT | _NUMBER and isinstance(argument, str | int) else None
