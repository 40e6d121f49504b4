"""The agent API's part for artifacts: files offered, contents sent or taken over from the staging folder."""

from __future__ import annotations

import json

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from opengrid.core.codec import from_json
from opengrid.core.errors import InvalidValue
from opengrid.core.packs import Located, MissingPacks, PackedContents, PackLinks, WantedPacks
from opengrid.core.protocol import Artifacts as Offer
from opengrid.core.protocol import Wanted
from opengrid.server.auth import KnownAgents, agent_of
from opengrid.services.agents import Agents
from opengrid.services.artifacts import Artifacts

_PIECE = 1 << 20


def agent_artifacts_api(agents: Agents, artifacts: Artifacts) -> APIRouter:
    """Return the routes under /agent/v1/artifacts."""
    api = APIRouter(prefix="/agent/v1/artifacts", dependencies=[Depends(KnownAgents(agents))])

    @api.post("")
    async def offer(request: Request) -> Wanted:
        try:
            message = from_json(Offer, json.loads(await request.body()))
        except ValueError as error:
            raise InvalidValue(f"the request's body is no offer of artifacts: {error}") from error
        return await run_in_threadpool(artifacts.offer, agent_of(request), message.files)

    @api.post("/links")
    def links(wanted: WantedPacks, request: Request) -> PackLinks:
        return PackLinks(links=tuple(artifacts.links(agent_of(request), wanted.packs)))

    @api.put("/packed")
    def take_packed(brought: PackedContents, request: Request) -> MissingPacks:
        return MissingPacks(missing=tuple(artifacts.take_packed(agent_of(request), brought.contents)))

    @api.get("/contents/{digest}/links")
    def locate(digest: str, request: Request) -> Located:
        return artifacts.locate_own(agent_of(request), digest)

    @api.put("/contents/{digest}", status_code=201)
    async def receive(digest: str, request: Request) -> dict[str, object]:
        size, agent = int(request.headers.get("content-length", "0")), agent_of(request)
        opened = artifacts.receiving(agent, digest, size)
        writer = await run_in_threadpool(opened.__enter__)
        try:
            piece = bytearray()
            async for data in request.stream():
                piece += data
                if len(piece) >= _PIECE:
                    await run_in_threadpool(writer.write, bytes(piece))
                    piece.clear()
            await run_in_threadpool(writer.write, bytes(piece))
        except BaseException as error:
            opened.__exit__(type(error), error, error.__traceback__)
            raise
        await run_in_threadpool(opened.__exit__, None, None, None)
        return {"size": size}

    @api.get("/contents/{digest}")
    def content(digest: str, request: Request) -> FileResponse:
        return FileResponse(artifacts.content(agent_of(request), digest), media_type="application/octet-stream")

    return api
