"""TensorBoard over HTTP: opened through the API, and its own pages passed through, for whoever is signed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import Field

from opengrid.core.errors import InvalidValue
from opengrid.server.auth import Users
from opengrid.services.tensorboards import TensorBoardDocument, TensorBoards

_MOST_BODY = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a TensorBoard shall show."""

    names: Annotated[list[str], Field(min_length=1, max_length=500)]  #: of runs and experiments


def tensorboard_api(boards: TensorBoards, users: Users) -> APIRouter:
    """Return the routes of TensorBoard."""
    api = APIRouter(dependencies=[Depends(users)])

    @api.post("/api/v1/tensorboard", status_code=201)
    def open_board(shown: Shown) -> TensorBoardDocument:
        return boards.open(shown.names)

    @api.api_route("/tensorboard/{view}/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    async def pass_on(view: str, path: str, request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BODY:
                raise InvalidValue(f"a request to TensorBoard has at most {_MOST_BODY} bytes")
        # As it was sent: a tag's name may hold what decoding would change.
        raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
        target = raw.decode("ascii") + (f"?{request.url.query}" if request.url.query else "")
        reply = await run_in_threadpool(boards.ask, view, request.method, target, request.headers, bytes(body))
        return Response(reply.body, status_code=reply.status, headers=reply.headers)

    return api
