"""The agent API's part for datastores, for machines that do not see the server's disk."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse

from opengrid.core.protocol import DataFiles
from opengrid.server.auth import KnownAgents, agent_of
from opengrid.services.agents import Agents
from opengrid.services.data_shipping import DataShipping


def agent_data_api(agents: Agents, shipping: DataShipping) -> APIRouter:
    """Return the routes under /agent/v1/data."""
    api = APIRouter(prefix="/agent/v1/data/{name}/{version}", dependencies=[Depends(KnownAgents(agents))])

    @api.get("/files")
    def files(
        request: Request,
        name: str,
        version: int,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> DataFiles:
        return shipping.files(agent_of(request), name, version, offset=offset, limit=limit)

    @api.get("/content")
    def content(request: Request, name: str, version: int, path: str) -> FileResponse:
        place = shipping.content(agent_of(request), name, version, path)
        return FileResponse(place, media_type="application/octet-stream")

    return api
