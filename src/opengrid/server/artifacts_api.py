"""Artifacts over HTTP: listed in pages and folders, previewed, downloaded one by one or all in one zip file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import Field

from opengrid.core.errors import NotFound
from opengrid.core.packs import Located
from opengrid.core.placing import place_files
from opengrid.core.records.artifacts import Artifact
from opengrid.server.auth import Users
from opengrid.server.problems import HARMLESS
from opengrid.server.reach import Reach
from opengrid.server.zipping import zipped
from opengrid.services.artifacts import Artifacts
from opengrid.services.documents.artifacts import (
    ArtifactFolderDocument,
    ArtifactRow,
    ArtifactsDocument,
    FolderRow,
    SharedDocument,
)
from opengrid.services.previews import Preview, preview
from opengrid.services.sharing import LONGEST_S, USUAL_S, Sharing
from opengrid.services.views import at_text

_PIECE = 1 << 20
_OF_EXPERIMENT = "/experiments/{name}"


@dataclass(frozen=True, kw_only=True)
class LinkWish:
    """How long a link shall work."""

    valid_s: Annotated[int, Field(ge=1, le=LONGEST_S)] = USUAL_S


def artifacts_api(artifacts: Artifacts, users: Users, sharing: Sharing, reach: Reach) -> APIRouter:
    """Return the routes for artifacts."""
    api = APIRouter(prefix="/api/v1")
    _listing(api, artifacts, users)
    _downloads(api, artifacts, users)
    _previews(api, artifacts, users)
    _sharing(api, artifacts, users, sharing, reach)
    return api


def _listing(api: APIRouter, artifacts: Artifacts, users: Users) -> None:
    known = [Depends(users)]

    @api.get(f"{_OF_EXPERIMENT}/artifacts", dependencies=known)
    def list_artifacts(
        name: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> ArtifactsDocument:
        page, total, size = artifacts.list(name, limit=limit, offset=offset)
        return ArtifactsDocument(artifacts=[_view(artifacts, one) for one in page], total=total, size=size)

    @api.get(f"{_OF_EXPERIMENT}/artifact-folder", dependencies=known)
    def show_folder(
        name: str,
        node: Annotated[int | None, Query(ge=0)] = None,
        path: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> ArtifactFolderDocument:
        folders, files, total = artifacts.folder(name, node, path, limit=limit, offset=offset)
        return ArtifactFolderDocument(
            node=node,
            path=path,
            folders=[FolderRow(name=one.name, files=one.files, size=one.size) for one in folders],
            files=[_view(artifacts, one) for one in files],
            total=total,
        )

    @api.get(_OF_EXPERIMENT + "/artifacts/{id}", dependencies=known)
    def show(name: str, id: str) -> ArtifactRow:
        return _view(artifacts, artifacts.find(name, id)[0])


def _downloads(api: APIRouter, artifacts: Artifacts, users: Users) -> None:
    known = [Depends(users)]

    @api.get(_OF_EXPERIMENT + "/artifacts/{id}/content", dependencies=known)
    def download(
        name: str, id: str, sha256: str | None = None, offset: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        # A Range header is honoured too; `offset` is for clients that want the rest of just this content, or an error.
        artifact, place = artifacts.find(name, id, sha256)
        if offset is None:
            return FileResponse(place, media_type="application/octet-stream", headers=_headers(artifact))
        left = max(0, artifact.size - offset)
        return StreamingResponse(
            _rest(place.open("rb"), offset),
            media_type="application/octet-stream",
            headers={**_headers(artifact), "Content-Length": str(left)},
        )

    @api.get(_OF_EXPERIMENT + "/artifacts/{id}/links", dependencies=known)
    def locate(name: str, id: str, sha256: str) -> Located:
        return artifacts.locate(name, id, sha256)

    @api.get(f"{_OF_EXPERIMENT}/artifacts.zip", dependencies=known)
    def download_all(name: str, node: Annotated[int | None, Query(ge=0)] = None, path: str = "") -> StreamingResponse:
        found = [one for one in artifacts.all(name) if _is_below(one, node, path)]
        if not found:
            raise NotFound(f"{name} has no artifacts" + (f" below {path!r}" if path else ""))
        return _archive(artifacts, _placed(found), name)

    @api.get("/runs/{name}/artifacts.zip", dependencies=known)
    def download_run(name: str) -> StreamingResponse:
        found = artifacts.all_of_run(name)
        files = [(one, f"{experiment}/{at}") for experiment, own in found.items() for one, at in _placed(own)]
        if not files:
            raise NotFound(f"{name} has no artifacts")
        return _archive(artifacts, files, name)


def _previews(api: APIRouter, artifacts: Artifacts, users: Users) -> None:
    known = [Depends(users)]

    @api.get(_OF_EXPERIMENT + "/artifacts/{id}/preview", dependencies=known)
    def show_preview(name: str, id: str) -> Preview:
        artifact, place = artifacts.find(name, id)
        return preview(place, artifact.path)

    @api.get(_OF_EXPERIMENT + "/artifacts/{id}/image", dependencies=known, response_class=FileResponse)
    def show_image(name: str, id: str) -> FileResponse:
        artifact, place = artifacts.find(name, id)
        media_type = preview(place, artifact.path).media_type
        if media_type is None:
            raise NotFound(f"{artifact.path} is no image that can be shown")
        return FileResponse(place, media_type=media_type, headers={**HARMLESS, "ETag": f'"{artifact.digest}"'})


def _sharing(api: APIRouter, artifacts: Artifacts, users: Users, sharing: Sharing, reach: Reach) -> None:
    @api.post(_OF_EXPERIMENT + "/artifacts/{id}/links", status_code=201, dependencies=[Depends(users)])
    def share(name: str, id: str, wish: LinkWish, request: Request) -> SharedDocument:
        artifact, _ = artifacts.find(name, id)
        word, shared = sharing.make(name, id, artifact.digest, wish.valid_s)
        url = f"{reach.address_for(request)}/api/v1/shared/{word}"
        return SharedDocument(url=url, expires_at=at_text(shared.expires_us))

    @api.get("/shared/{word}", response_class=FileResponse)
    def download_shared(word: str) -> FileResponse:
        shared = sharing.read(word)
        artifact, place = artifacts.find(shared.experiment, shared.artifact, shared.digest)
        return FileResponse(place, media_type="application/octet-stream", headers=_headers(artifact))


def _is_below(artifact: Artifact, node: int | None, path: str) -> bool:
    folder = path.strip("/")
    return node in (None, artifact.node) and (not folder or artifact.path.startswith(f"{folder}/"))


def _placed(found: Sequence[Artifact]) -> list[tuple[Artifact, str]]:
    return list(zip(found, place_files([(one.node, one.path) for one in found]), strict=True))


def _archive(artifacts: Artifacts, files: Sequence[tuple[Artifact, str]], name: str) -> StreamingResponse:
    return StreamingResponse(
        zipped(artifacts, files),
        media_type="application/zip",
        headers={**HARMLESS, "Content-Disposition": _attachment(f"{name}.zip")},
    )


def _headers(artifact: Artifact) -> dict[str, str]:
    return {
        **HARMLESS,
        "ETag": f'"{artifact.digest}"',
        "Content-Disposition": _attachment(artifact.path.rpartition("/")[2]),
    }


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
