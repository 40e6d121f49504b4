"""The server itself over HTTP, and the machine types it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Depends, Request, Response

from opengrid.server.auth import Users, caller_of
from opengrid.services.documents.document import Document
from opengrid.services.documents.instance_types import InstanceTypeRow, InstanceTypesDocument


@dataclass(frozen=True, kw_only=True)
class ServerDocument(Document):
    """What a server says about itself."""

    pid: int
    url: str
    version: str
    started_at: str
    home: str


def admin_api(
    users: Users,
    *,
    status: Callable[[], ServerDocument],
    stop: Callable[[], None],
    types: Callable[[str | None], list[InstanceTypeRow]],
) -> APIRouter:
    """Return the routes about the server; only /healthz needs no token."""
    api = APIRouter()
    known = [Depends(users)]

    @api.get("/healthz")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/api/v1/server", dependencies=known)
    async def show() -> ServerDocument:
        return status()

    @api.post("/api/v1/server/stop", status_code=HTTPStatus.ACCEPTED, dependencies=known)
    async def stop_server(request: Request) -> Response:
        caller_of(request).check_admin("stopping the server")
        stop()
        return Response(status_code=HTTPStatus.ACCEPTED)

    @api.get("/api/v1/instance-types", dependencies=known)
    def instance_types(cluster: str | None = None) -> InstanceTypesDocument:
        return InstanceTypesDocument(instance_types=types(cluster))

    return api
