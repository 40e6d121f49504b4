"""Blobs and datastores over HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import InvalidValue
from opengrid.core.names import datastore_name_of
from opengrid.core.packs import MissingPacks, Packed, PackLinks
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind
from opengrid.core.sizes import size_text
from opengrid.core.together import divided
from opengrid.server.auth import Users, caller_of
from opengrid.services.datastore_views import datastore_document, datastore_row, file_row
from opengrid.services.datastores import Datastores
from opengrid.services.documents.datastores import (
    ArrivedDocument,
    DatastoreDocument,
    DatastoreFilesDocument,
    DatastoreRow,
    DatastoresDocument,
    DeletedDatastoreDocument,
    UploadDocument,
    VerdictDocument,
    WantedContents,
)
from opengrid.services.documents.document import Document
from opengrid.services.filling import Filling
from opengrid.services.imports import Imports

#: What tar adds to a source tree, at most, for this server's limit of it.
_TAR_OVERHEAD = 1.1
_PIECE = 1 << 20

#: Most bytes of small contents in one request, with the line that tells which they are.
_MOST_TOGETHER = 16 << 20


@dataclass(frozen=True, kw_only=True)
class BlobDocument(Document):
    """A blob that the server has now."""

    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class NewDatastore:
    """What shall become a datastore version."""

    source: str
    name: str | None = None
    upload: str | None = None  #: one that was broken off and goes on
    refers: bool = False  #: whether it only refers to its source, which the server looks at


@dataclass(frozen=True, kw_only=True)
class OfferedFile:
    """A file of a version."""

    position: int  #: from 0, in the order of paths
    path: str
    size: int
    sha256: str
    executable: bool = False
    in_tree: bool = False  #: whether it was put where it will lie


@dataclass(frozen=True, kw_only=True)
class OfferedFiles:
    """Files that a client has, in the order of their positions."""

    round: int
    files: tuple[OfferedFile, ...]


@dataclass(frozen=True, kw_only=True)
class UploadPacks:
    """Packs that a client would put, by the SHA-256 of their bytes."""

    round: int
    packs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UploadContents:
    """Contents that a client has put in packs."""

    round: int
    contents: tuple[Packed, ...]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """All that the client has offered."""

    round: int
    digest: str
    files: int
    size: int


def data_api(
    blobs: Blobs, datastores: Datastores, filling: Filling, imports: Imports, users: Users, *, source_limit: int
) -> APIRouter:
    """Return the routes for blobs and datastores."""
    most = int(source_limit * _TAR_OVERHEAD) + _PIECE
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.head("/blobs/{digest}")
    def has_blob(digest: str) -> Response:
        return Response(status_code=200 if blobs.exists(digest) else 404)

    @api.put("/blobs/{digest}", status_code=201)
    async def put_blob(digest: str, request: Request) -> BlobDocument:
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
        return BlobDocument(digest=digest, size=size)

    @api.get("/datastores")
    def list_datastores(
        name: str | None = None,
        limit: Annotated[int | None, Query(ge=1)] = None,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> DatastoresDocument:
        page, total = datastores.list(name=name, limit=limit, offset=offset)
        return DatastoresDocument(datastores=[datastore_row(version) for version in page], total=total)

    @api.get("/datastores/{name}")
    def show_newest(name: str) -> DatastoreDocument:
        return _shown(datastores, name, None)

    @api.get("/datastores/{name}/{version}")
    def show(name: str, version: int) -> DatastoreDocument:
        return _shown(datastores, name, version)

    @api.get("/datastores/{name}/{version}/files")
    def files(
        name: str,
        version: int,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
        search: str = "",
    ) -> DatastoreFilesDocument:
        page, total, size = datastores.files(name, version, limit=limit, offset=offset, search=search)
        return DatastoreFilesDocument(files=[file_row(file) for file in page], total=total, size=size)

    @api.delete("/datastores/{name}")
    def delete_all(name: str, request: Request) -> DeletedDatastoreDocument:
        deleted, freed = datastores.delete(name, None, caller_of(request))
        return DeletedDatastoreDocument(deleted=deleted, freed=freed)

    @api.delete("/datastores/{name}/{version}")
    def delete(name: str, version: int, request: Request) -> DeletedDatastoreDocument:
        deleted, freed = datastores.delete(name, version, caller_of(request))
        return DeletedDatastoreDocument(deleted=deleted, freed=freed)

    @api.post("/datastores/{name}/{version}/verify")
    def verify(name: str, version: int) -> VerdictDocument:
        verdict = datastores.verify(name, version)
        return VerdictDocument(files=verdict.files, damaged=list(verdict.damaged), repaired=list(verdict.repaired))

    @api.post("/datastores/imports", status_code=201)
    def import_archive(new: NewDatastore, request: Request) -> DatastoreRow:
        name = new.name or datastore_name_of(new.source)
        kind = DatastoreKind.REFERENCED if new.refers else DatastoreKind.COPIED
        return datastore_row(imports.start(name, new.source, caller_of(request), kind))

    @api.post("/datastores/{name}/{version}/resume", status_code=201)
    def resume_import(name: str, version: int, request: Request) -> DatastoreRow:
        return datastore_row(imports.resume(name, version, caller_of(request)))

    _uploads(api, filling)
    return api


def _uploads(api: APIRouter, filling: Filling) -> None:
    """Add the routes that fill a version: opened, files offered, contents staged or sent in parts, finished."""

    def owner(name: str, request: Request) -> None:
        filling.check_owner(name, caller_of(request))

    @api.post("/datastores", status_code=201)
    def create(new: NewDatastore, request: Request) -> UploadDocument:
        name = new.name or datastore_name_of(new.source)
        opened = filling.open(name, new.source, caller_of(request), new.upload)
        return UploadDocument(
            name=opened.version.name,
            version=opened.version.version,
            upload=opened.version.upload or "",  # what is opened has one
            round=opened.version.round,
            staging=str(opened.staging),
            tree=str(opened.tree) if opened.tree is not None else None,
            least_free=opened.least_free,
            resumed=opened.is_resumed,
            links=filling.has_links,
        )

    @api.put("/datastores/{name}/{version}/files", dependencies=[Depends(owner)])
    def offer(name: str, version: int, offered: OfferedFiles) -> WantedContents:
        files = [
            DatastoreFile(position=f.position, path=f.path, size=f.size, digest=f.sha256, executable=f.executable)
            for f in offered.files
        ]
        in_tree = {file.path for file in offered.files if file.in_tree}
        return WantedContents(wanted=filling.offer(name, version, offered.round, files, in_tree))

    @api.post("/datastores/{name}/{version}/links", dependencies=[Depends(owner)])
    def links(name: str, version: int, wanted: UploadPacks) -> PackLinks:
        return PackLinks(links=tuple(filling.links(name, version, wanted.round, wanted.packs)))

    @api.put("/datastores/{name}/{version}/packed", dependencies=[Depends(owner)])
    def take_packed(name: str, version: int, brought: UploadContents) -> MissingPacks:
        return MissingPacks(missing=tuple(filling.take_packed(name, version, brought.round, brought.contents)))

    @api.put("/datastores/{name}/{version}/contents", dependencies=[Depends(owner)], status_code=204)
    async def contents(name: str, version: int, request: Request) -> None:
        body = bytearray()
        async for data in request.stream():
            body += data
            if len(body) > _MOST_TOGETHER:
                raise InvalidValue(f"contents that are sent together have at most {size_text(_MOST_TOGETHER)}")
        await run_in_threadpool(filling.stage, name, version, divided(bytes(body)))

    @api.put("/datastores/{name}/{version}/contents/{digest}", dependencies=[Depends(owner)])
    async def part(
        name: str, version: int, digest: str, offset: Annotated[int, Query(ge=0)], size: int, request: Request
    ) -> ArrivedDocument:
        partial = await run_in_threadpool(filling.partial, name, version, digest)
        async for data in _pieces(request):
            offset += await run_in_threadpool(_append, partial, data, offset)
        return ArrivedDocument(size=await run_in_threadpool(_arrived, partial, size))

    @api.put("/datastores/{name}/{version}/finish", dependencies=[Depends(owner)])
    def finish(name: str, version: int, sent: Sent) -> DatastoreRow:
        done = filling.finish(name, version, sent.round, digest=sent.digest, files=sent.files, size=sent.size)
        return datastore_row(done)


def _shown(datastores: Datastores, name: str, version: int | None) -> DatastoreDocument:
    found, uses = datastores.show(name, version)
    return datastore_document(found, uses, protection=datastores.protection, location=datastores.location(found))


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    piece = bytearray()
    async for data in request.stream():
        piece += data
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _append(partial: Path, data: bytes, offset: int) -> int:
    """Append if `offset` is where the file ends; return how many bytes were."""
    with partial.open("ab") as file:
        if os.fstat(file.fileno()).st_size != offset:
            return 0
        return file.write(data)


def _arrived(partial: Path, size: int) -> int:
    """Return how much of a content has arrived; all of it is renamed to what the next offer looks for."""
    whole = partial.with_suffix("")
    if whole.exists():
        return whole.stat().st_size
    partial.touch()
    arrived = partial.stat().st_size
    if arrived >= size:
        os.replace(partial, whole)
    return arrived
