"""The API that agents speak: core.protocol over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from opengrid.core.errors import InvalidValue
from opengrid.core.protocol import LOG_INDEX_HEADER, POLL_S, Acknowledged, Assignment, Desired, Facts, Hello
from opengrid.server.auth import agent_of, bearer
from opengrid.server.wakeups import Wakeups
from opengrid.services.agents import AgentIdentity, Agents
from opengrid.services.log_files import LogFiles, OffsetMismatch
from opengrid.services.sources import Sources

#: Most bytes of one log upload.
_MAX_LOG_CHUNK = 4 << 20


def agent_api(agents: Agents, logs: LogFiles, sources: Sources, wakeups: Wakeups) -> APIRouter:
    """Return the routes under /agent/v1."""
    api = APIRouter(prefix="/agent/v1")
    Agent = Annotated[AgentIdentity, Depends(agent_of(agents))]
    told_flush: dict[AgentIdentity, float] = {}

    @api.post("/hello")
    def hello(message: Hello, request: Request) -> Assignment:
        return agents.hello(message, bearer(request))

    @api.get("/desired")
    async def desired(agent: Agent, version: int = 0) -> Desired:
        def is_news(answer: Desired) -> bool:
            return answer.version > version or answer.flush_interval_s != told_flush.get(agent, answer.flush_interval_s)

        answer = await wakeups.poll(
            f"attempt:{agent.attempt_id}",
            lambda: run_in_threadpool(agents.desired, agent),
            until=is_news,
            timeout_s=POLL_S,
        )
        told_flush[agent] = answer.flush_interval_s
        return answer

    @api.post("/facts")
    def facts(agent: Agent, message: Facts) -> Acknowledged:
        return agents.take_facts(agent, message)

    @api.put("/logs/{generation}/{rank}/{stream}")
    async def append_log(
        agent: Agent, generation: int, rank: int, stream: str, offset: int, request: Request
    ) -> JSONResponse:
        data = await _body(request)
        try:
            size = await run_in_threadpool(
                logs.append,
                agent.attempt_id,
                generation,
                rank,
                stream,
                offset=offset,
                data=data,
                index=request.headers.get(LOG_INDEX_HEADER, ""),
            )
        except OffsetMismatch as mismatch:
            return JSONResponse({"size": mismatch.size}, status_code=409)
        wakeups.notify(f"logs:{agent.attempt_id}")
        return JSONResponse({"size": size})

    @api.get("/blobs/{digest}")
    def blob(agent: Agent, digest: str) -> FileResponse:
        return FileResponse(sources.bundle_of_attempt(agent.attempt_id, digest), media_type="application/octet-stream")

    return api


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > _MAX_LOG_CHUNK:
            raise InvalidValue(f"a log upload has at most {_MAX_LOG_CHUNK} bytes")
    return bytes(data)
