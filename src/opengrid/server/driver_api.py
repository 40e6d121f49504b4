"""The API of drivers inside clusters, and the program that they and the agents are."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from opengrid.core.errors import NotFound
from opengrid.core.protocol import POLL_S, GangOrders, GangReport
from opengrid.server.auth import bearer
from opengrid.server.wakeups import Wakeups
from opengrid.server.zipapp import Zipapp
from opengrid.services.drivers import Drivers


def driver_api(drivers: Drivers, zipapp: Zipapp, wakeups: Wakeups) -> APIRouter:
    """Return the routes of gangs, and of the program."""
    api = APIRouter(prefix="/agent/v1")

    @api.get("/gangs/{attempt}")
    async def orders(request: Request, attempt: str, known: str = "") -> GangOrders:
        await run_in_threadpool(drivers.identify, attempt, bearer(request))
        return await wakeups.poll(
            f"attempt:{attempt}",
            lambda: run_in_threadpool(drivers.orders, attempt),
            until=lambda answer: answer.etag != known,
            timeout_s=POLL_S,
        )

    @api.post("/gangs/{attempt}", status_code=204)
    def report(request: Request, attempt: str, message: GangReport) -> None:
        drivers.identify(attempt, bearer(request))
        drivers.report(attempt, message)

    @api.get("/program/{digest}")
    def program(digest: str) -> FileResponse:
        # Without a token: it holds no secret, and whoever fetches it has no other way to get one.
        path = zipapp.find(digest)
        if path is None:
            raise NotFound("this server has no such program", hint="it was upgraded; the gang is started anew")
        return FileResponse(path, media_type="application/octet-stream")

    return api
