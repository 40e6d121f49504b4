"""Blobs and datastores over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.errors import InvalidValue
from opengrid.core.names import datastore_name_of
from opengrid.core.sizes import size_text
from opengrid.server.auth import Users, user_of
from opengrid.services.datastores import Datastores
from opengrid.services.views import datastore_views

#: What tar adds to a source tree, at most, for this server's limit of it.
_TAR_OVERHEAD = 1.1
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class NewDatastore:
    """What shall become a datastore version."""

    source: str
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What the client has put into the staging folder."""

    digest: str
    files: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why the client gave up."""

    reason: str


def data_api(blobs: FolderBlobs, datastores: Datastores, users: Users, *, source_limit: int) -> APIRouter:
    """Return the routes for blobs and datastores."""
    most = int(source_limit * _TAR_OVERHEAD) + _PIECE
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.head("/blobs/{digest}")
    def has_blob(digest: str) -> Response:
        return Response(status_code=200 if blobs.exists(digest) else 404)

    @api.put("/blobs/{digest}", status_code=201)
    async def put_blob(digest: str, request: Request) -> dict[str, object]:
        size = 0
        with blobs.writing(digest) as writer:
            piece = bytearray()
            async for data in request.stream():
                piece += data
                size += len(data)
                if size > most:
                    raise InvalidValue(
                        f"a source tree has at most {size_text(source_limit)} on this server",
                        hint="data belongs into datastores; GRID_SOURCE_LIMIT=2GiB, where it is started, allows more",
                    )
                if len(piece) >= _PIECE:
                    await run_in_threadpool(writer.write, bytes(piece))
                    piece.clear()
            await run_in_threadpool(writer.write, bytes(piece))
        return {"digest": digest, "size": size}

    @api.post("/datastores", status_code=201)
    def create(new: NewDatastore, request: Request) -> dict[str, object]:
        name = new.name or datastore_name_of(new.source)
        version, staging = datastores.create(name, new.source, user_of(request))
        return {"name": version.name, "version": version.version, "staging": str(staging)}

    @api.post("/datastores/{name}/{version}/finish")
    def finish(name: str, version: int, sent: Sent) -> dict[str, object]:
        done = datastores.finish(name, version, digest=sent.digest, files=sent.files, size=sent.size)
        return datastore_views([done])[0]

    @api.post("/datastores/{name}/{version}/fail")
    def fail(name: str, version: int, failure: Failure) -> dict[str, object]:
        datastores.fail(name, version, failure.reason)
        return {}

    @api.get("/datastores")
    def list_datastores() -> dict[str, object]:
        return {"datastores": datastore_views(datastores.list())}

    return api
