"""The stream of events over HTTP: server-sent events, as browsers' EventSource reads them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from opengrid.server.auth import Users
from opengrid.server.stream import Stream
from opengrid.services.documents.changes import Ready, Reset
from opengrid.services.feeds import Change

_EVENTS = "A stream of events `ready`, `change` and `reset`; this is the data of one of them"


def stream_api(stream: Stream, users: Users) -> APIRouter:
    """Return the route of the stream."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get(
        "/stream",
        response_class=StreamingResponse,
        responses={200: {"model": Change | Ready | Reset, "description": _EVENTS}},
    )
    async def watch(
        request: Request,
        topic: Annotated[list[str], Query()],
        last_event_id: Annotated[str, Query(max_length=100)] = "",
        last_event: Annotated[str, Header(alias="Last-Event-ID", max_length=100)] = "",
    ) -> StreamingResponse:
        stream.check(topic)
        return StreamingResponse(
            # The header is what a browser sends when it connects again by itself: newer than the address.
            stream.connect(topic, last_event or last_event_id, lambda: users.is_known(request)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    return api
