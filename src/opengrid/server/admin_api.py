"""The server itself over HTTP, and the machine types it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from opengrid.server.auth import Users


def admin_api(
    users: Users, *, status: Callable[[], dict[str, object]], stop: Callable[[], None], types: Callable[[], list[dict[str, object]]]
) -> APIRouter:
    """Return the routes about the server; only /healthz needs no token."""
    api = APIRouter()
    User = Annotated[str, Depends(users)]

    @api.get("/healthz")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/api/v1/server")
    async def show(_: User) -> dict[str, object]:
        return status()

    @api.post("/api/v1/server/stop", status_code=202)
    async def stop_server(_: User) -> dict[str, object]:
        stop()
        return {}

    @api.get("/api/v1/instance-types")
    def instance_types(_: User) -> dict[str, object]:
        return {"instance_types": types()}

    return api
