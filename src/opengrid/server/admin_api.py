"""The server itself over HTTP, and the machine types it knows."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Depends, Request

from opengrid.server.auth import Users, caller_of
from opengrid.services.documents import InstanceTypeRow, InstanceTypesDocument


def admin_api(
    users: Users,
    *,
    status: Callable[[], dict[str, object]],
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
    async def show() -> dict[str, object]:
        return status()

    @api.post("/api/v1/server/stop", status_code=202, dependencies=known)
    async def stop_server(request: Request) -> dict[str, object]:
        caller_of(request).check_admin("stopping the server")
        stop()
        return {}

    @api.get("/api/v1/instance-types", dependencies=known)
    def instance_types(cluster: str | None = None) -> InstanceTypesDocument:
        return InstanceTypesDocument(instance_types=types(cluster))

    return api
