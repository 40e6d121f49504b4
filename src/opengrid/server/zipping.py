"""Files in one zip archive, made while it is sent."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, cast

from opengrid.core.errors import NotFound
from opengrid.core.records.artifacts import Artifact
from opengrid.services.artifacts import Artifacts

_PIECE = 1 << 20


class _Outlet:
    """What a zip file is written to: gives what has come since it was last asked."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, data: bytes) -> int:
        self._pieces += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: everything is taken soon."""

    def take(self) -> bytes:
        piece = bytes(self._pieces)
        self._pieces.clear()
        return piece


def zipped(artifacts: Artifacts, files: Sequence[tuple[Artifact, str]]) -> Iterator[bytes]:
    """Yield a zip file of artifacts at their places, uncompressed: checkpoints do not shrink.

    A file replaced meanwhile is left out.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(cast("IO[bytes]", outlet), "w", zipfile.ZIP_STORED) as archive:
        for artifact, placed in files:
            try:
                file = artifacts.place(artifact).open("rb")
            except (NotFound, OSError):
                continue
            with file:
                member = zipfile.ZipInfo(placed, _zip_time(artifact.modified_us))
                with archive.open(member, "w", force_zip64=artifact.size > zipfile.ZIP64_LIMIT // 2) as writer:
                    while block := file.read(_PIECE):
                        writer.write(block)
                        yield outlet.take()
    yield outlet.take()


def _zip_time(at_us: int) -> tuple[int, int, int, int, int, int]:
    at = time.gmtime(max(at_us / 1e6, 315532800))  # 1980: zip files know no earlier time
    return (min(at.tm_year, 2107), at.tm_mon, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec)
