"""What a checkpoint's file is, and whether it is whole: read, never unpickled, without torch.

torch.save writes a zip file whose directory comes last, so that a torn one has none; what the pickle inside refers to
by name stands in it as text, and is found by reading its opcodes without executing any.
"""

from __future__ import annotations

import json
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import cast

#: Names under which whole training states are saved.
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

#: Added to the name of what must not be taken for a checkpoint.
ASIDE = ".incomplete"

#: Pickles beyond this size (tensors are not in them) are not looked into.
_MOST_PICKLE = 64 << 20

_MOST_HEADER = 100 << 20
_ZIP, _TEXT = b"PK\x03\x04", frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})


def is_candidate(path: str) -> bool:
    """Return whether a file's name is one of those that frameworks save training states under."""
    return path.endswith(SUFFIXES)


def torn(path: Path, name: str | None = None) -> str | None:
    """Return what is missing of a file, None when it is whole as far as its format tells. Raises OSError.

    `name` is the one that it was saved under, where that is another.
    """
    with path.open("rb") as file:
        first = file.read(len(_ZIP))
    if not first:
        return "it is empty"
    if _ZIP.startswith(first):
        return _torn_zip(path)
    if (name or path.name).endswith(".safetensors"):
        return _torn_safetensors(path)
    return None


def words_of(path: Path) -> frozenset[str] | None:
    """Return the texts in the pickle of a file that torch.save wrote; None when it is none, or broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            inner = next((i for i in archive.infolist() if i.filename.endswith("/data.pkl")), None)
            if inner is None or inner.file_size > _MOST_PICKLE:
                return None
            return words_in(archive.read(inner))
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return None


def words_in(pickled: bytes) -> frozenset[str]:
    """Return the texts that a pickle holds; ValueError when it does not reach its end."""
    return frozenset(
        str(argument)
        for opcode, argument, _ in pickletools.genops(pickled)
        if opcode.name in _TEXT and argument is not None
    )


def _torn_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            end = archive.start_dir
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return f"its end is missing ({error})"
    beyond = next((e.filename for e in entries if e.header_offset + e.compress_size > end), None)
    return f"the content of {beyond} is missing" if beyond is not None else None


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
