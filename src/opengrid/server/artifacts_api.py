"""Artifacts over HTTP: listed in pages, downloaded one by one or all in one zip file."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import IO, Annotated, BinaryIO, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, Response, StreamingResponse

from opengrid.core.errors import NotFound
from opengrid.core.placing import place_files
from opengrid.core.records import Artifact
from opengrid.server.auth import Users
from opengrid.server.problems import HARMLESS
from opengrid.services.artifacts import Artifacts
from opengrid.services.documents import ArtifactRow, ArtifactsDocument

_PIECE = 1 << 20
_PAGE = 1000


def artifacts_api(artifacts: Artifacts, users: Users) -> APIRouter:
    """Return the routes for artifacts."""
    api = APIRouter(prefix="/api/v1/experiments/{name}", dependencies=[Depends(users)])

    @api.get("/artifacts")
    def list_artifacts(
        name: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> ArtifactsDocument:
        page, total, size = artifacts.list(name, limit=limit, offset=offset)
        return ArtifactsDocument(artifacts=[_view(artifacts, one) for one in page], total=total, size=size)

    @api.get("/artifacts/{id}")
    def show(name: str, id: str) -> ArtifactRow:
        return _view(artifacts, artifacts.find(name, id)[0])

    @api.get("/artifacts/{id}/content")
    def download(
        name: str, id: str, sha256: str | None = None, offset: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        # A Range header is honoured too; `offset` is for clients that want the rest of just this content, or an error.
        artifact, place = artifacts.find(name, id, sha256)
        headers = {
            **HARMLESS,
            "ETag": f'"{artifact.digest}"',
            "Content-Disposition": _attachment(artifact.path.rpartition("/")[2]),
        }
        if offset is None:
            return FileResponse(place, media_type="application/octet-stream", headers=headers)
        left = max(0, artifact.size - offset)
        return StreamingResponse(
            _rest(place.open("rb"), offset),
            media_type="application/octet-stream",
            headers={**headers, "Content-Length": str(left)},
        )

    @api.get("/artifacts.zip")
    def download_all(name: str) -> StreamingResponse:
        found: list[Artifact] = []
        while page := artifacts.list(name, limit=_PAGE, offset=len(found))[0]:
            found += page
        if not found:
            raise NotFound(f"{name} has no artifacts")
        placed = place_files([(artifact.node, artifact.path) for artifact in found])
        return StreamingResponse(
            _zipped(artifacts, list(zip(found, placed, strict=True))),
            media_type="application/zip",
            headers={**HARMLESS, "Content-Disposition": _attachment(f"{name}.zip")},
        )

    return api


def _rest(file: BinaryIO, offset: int) -> Iterator[bytes]:
    with file:
        file.seek(offset)
        while block := file.read(_PIECE):
            yield block


def _view(artifacts: Artifacts, artifact: Artifact) -> ArtifactRow:
    return ArtifactRow(
        id=artifact.id,
        path=artifact.path,
        node=artifact.node,
        size=artifact.size,
        sha256=artifact.digest,
        version=artifact.version,
        attempt=artifact.attempt,
        modified_at=datetime.fromtimestamp(artifact.modified_us / 1e6, timezone.utc).isoformat(timespec="milliseconds"),
        stored_at=artifacts.location(artifact),
    )


def _attachment(filename: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(filename.encode('utf-8', 'replace'), safe='')}"


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


def _zipped(artifacts: Artifacts, files: list[tuple[Artifact, str]]) -> Iterator[bytes]:
    """Yield a zip file, uncompressed: checkpoints do not shrink. A file replaced meanwhile is left out."""
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
