"""What a checkpoint's file is, and whether it is whole: read, never unpickled, without torch.

torch.save writes a zip file whose directory comes last, so that a torn one has none, and whose entries have checksums,
which torch.load does not look at. What the pickle inside refers to by name stands in it as text.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from opengrid.core.pickle_scan import Extent, words_in

#: Names under which whole training states are saved.
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

#: Added to the name of what must not be taken for a checkpoint.
ASIDE = ".incomplete"

#: Pickles beyond this size (tensors are not in them) are not looked into.
_MOST_PICKLE = 64 << 20

_MOST_HEADER = 100 << 20
_BLOCK = 1 << 20
_ZIP, _PICKLE = b"PK\x03\x04", re.compile(rb"\x80[\x02-\x05]")

#: torch's format before its zip files is as many pickles, then the bare numbers, whose end nothing tells. The first is
#: always the same.
_OLD_PICKLES = 5
_OLD_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

#: Where a zip file has the name of its first entry, which torch calls `…/data.pkl`, and how long that may be.
_FIRST_NAME, _LONGEST_NAME = 30, 1 << 12

#: What Transformers calls its models; other files of this ending may be anything.
_MODEL = re.compile(r"(^|/)(pytorch|adapter)_model\b[^/]*\.bin$")

#: Of bare pickles only so much is looked into: numbers may be inside.
_MOST_BARE = 8 << 20

#: What zipfile raises for damage of all kinds: also for places that are not in the file.
_DAMAGE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def is_candidate(path: str) -> bool:
    """Return whether a file's name is one of those that frameworks save training states under."""
    return path.endswith(SUFFIXES)


def may_be_anything(path: str) -> bool:
    """Return whether a candidate's name says nothing of what it is: only is_of_torch() tells then."""
    return path.endswith(".bin") and not _MODEL.search(path)


def is_of_torch(path: Path) -> bool:
    """Return whether a file begins as those that torch.save writes. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(_FIRST_NAME + _LONGEST_NAME)
    if not start.startswith(_ZIP):
        return start.startswith(_OLD_START)
    length = int.from_bytes(start[26:28], "little")
    return start[_FIRST_NAME : _FIRST_NAME + length].endswith(b"/data.pkl")


def torn(path: Path, name: str | None = None) -> str | None:
    """Return what is missing of a file, None when it is whole as far as its format tells. Raises OSError.

    Looks at its ends only. `name` is the one that it was saved under, where that is another.
    """
    name = name or path.name
    if may_be_anything(name) and not is_of_torch(path):
        return None
    with path.open("rb") as file:
        first = file.read(len(_ZIP))
    if not first:
        return "it is empty"
    if _ZIP.startswith(first):
        return _torn_zip(path)
    if name.endswith(".safetensors"):
        return _torn_safetensors(path)
    if _PICKLE.match(first):
        return _torn_pickles(path)
    return None


def damaged(path: Path, records: Iterable[Extent] | None = None) -> str | None:
    """Return which content is not what was written, by the checksums in the file, of which it reads all.

    `records` are where zip files lie in it, where it is not one itself. None when nothing tells of damage. Raises
    OSError.
    """
    with path.open("rb") as file:
        if records is None:
            return _damaged_zip(file)
        found = (_damaged_zip(io.BufferedReader(_Part(file, offset, length))) for offset, length in records)
        return next((problem for problem in found if problem is not None), None)


def words_of(path: Path) -> frozenset[str]:
    """Return the texts in the pickles of a file that torch.save or pickle wrote; none when it is another.

    Raises OSError, and ValueError for what cannot be read to its end.
    """
    with path.open("rb") as file:
        first = file.read(len(_ZIP))
        if _PICKLE.match(first):
            return _words_of_pickles(first + file.read(_MOST_BARE))
    if first != _ZIP:
        return frozenset()
    try:
        with zipfile.ZipFile(path) as archive:
            inner = next((i for i in archive.infolist() if i.filename.endswith("/data.pkl")), None)
            if inner is None or inner.file_size > _MOST_PICKLE:
                return frozenset()
            return words_in(archive.read(inner))
    except _DAMAGE as error:
        raise ValueError(f"its content is damaged ({error})") from error


def _words_of_pickles(content: bytes) -> frozenset[str]:
    words, stream = frozenset[str](), io.BytesIO(content)
    for _ in range(_OLD_PICKLES):
        if not _PICKLE.match(content, stream.tell()):
            break
        try:
            words |= words_in(stream)
        except ValueError:
            if len(content) > _MOST_BARE:
                break  # it was we who cut it
            raise
    return words


def _torn_pickles(path: Path) -> str | None:
    try:
        words_of(path)
    except ValueError as error:
        return f"its end is missing ({error})"
    return None


def _torn_zip(path: Path) -> str | None:
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                end = archive.start_dir
        except _DAMAGE as error:
            return f"its end is missing ({error})"
    beyond = next((e.filename for e in entries if e.header_offset + e.compress_size > end), None)
    return f"the content of {beyond} is missing" if beyond is not None else None


def _damaged_zip(file: IO[bytes]) -> str | None:
    if file.read(len(_ZIP)) != _ZIP:
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.CRC:  # torch.serialization.set_crc32_options leaves them out
                    with archive.open(entry) as content:
                        while content.read(_BLOCK):
                            pass
    except _DAMAGE as error:
        return f"its content is damaged ({error})"
    return None


class _Part(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, offset: int, length: int) -> None:
        self._file, self._offset, self._length, self._at = file, offset, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever has a buffer; that has no name before Python 3.12
        self._file.seek(self._offset + self._at)
        content = self._file.read(min(len(buffer), max(0, self._length - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _torn_safetensors(path: Path) -> str | None:
    with path.open("rb") as file:
        length = file.read(8)
        if len(length) < 8:
            return "it is shorter than its first field"
        (header_size,) = struct.unpack("<Q", length)
        header = file.read(header_size) if header_size <= _MOST_HEADER else b""
    if len(header) < header_size:
        return "its header is cut"
    try:
        entries = cast("dict[str, dict[str, list[int]]]", json.loads(header))
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        missing = 8 + header_size + max(ends, default=0) - path.stat().st_size
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "its header is broken"
    return f"{missing} bytes are missing" if missing > 0 else None
