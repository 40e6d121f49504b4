"""The API that agents speak: core.protocol over HTTP."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from opengrid.core.codec import from_json
from opengrid.core.errors import InvalidValue
from opengrid.core.protocol import LOG_INDEX_HEADER, POLL_S, Acknowledged, Assignment, Desired, Facts, Hello, Restore
from opengrid.server.auth import KnownAgents, agent_of, bearer
from opengrid.server.wakeups import Wakeups
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.agents import Agents
from opengrid.services.feeds import SAMPLES
from opengrid.services.growing import OffsetMismatch
from opengrid.services.log_files import LogFiles
from opengrid.services.samples import Samples
from opengrid.services.scalar_reader import ScalarReader
from opengrid.services.sources import Sources

#: Most bytes of one upload by offset.
_MAX_CHUNK = 4 << 20


def agent_api(
    agents: Agents, logs: LogFiles, sources: Sources, scalars: ScalarReader, samples: Samples, wakeups: Wakeups
) -> APIRouter:
    """Return the routes under /agent/v1."""
    api = APIRouter(prefix="/agent/v1")
    known = [Depends(KnownAgents(agents))]
    told_flush: dict[AgentIdentity, float] = {}

    @api.post("/hello")
    def hello(message: Hello, request: Request) -> Assignment:
        return agents.hello(message, bearer(request))

    @api.get("/desired", dependencies=known)
    async def desired(request: Request, version: int = 0, stacks: int = 0) -> Desired:
        agent = agent_of(request)

        def is_news(answer: Desired) -> bool:
            is_new = answer.version > version or answer.stacks > stacks
            return is_new or answer.flush_interval_s != told_flush.get(agent, answer.flush_interval_s)

        async def look() -> Desired:
            return agents.known_desired(agent) or await run_in_threadpool(agents.desired, agent)

        answer = await wakeups.poll(
            f"attempt:{agent.attempt_id}",
            look,
            until=is_news,
            timeout_s=POLL_S,
        )
        told_flush[agent] = answer.flush_interval_s
        return answer

    @api.post("/facts", dependencies=known)
    async def facts(request: Request) -> Acknowledged:
        # Not by pydantic: it would take a fact without its kind for the first that fits.
        message = from_json(Facts, _decoded(await request.body()))
        return await run_in_threadpool(agents.take_facts, agent_of(request), message)

    @api.put("/logs/{generation}/{rank}/{stream}", dependencies=known)
    async def append_log(request: Request, generation: int, rank: int, stream: str, offset: int) -> JSONResponse:
        attempt_id, data = agent_of(request).attempt_id, await _body(request)
        try:
            size = await run_in_threadpool(
                logs.append,
                attempt_id,
                generation,
                rank,
                stream,
                offset=offset,
                data=data,
                index=request.headers.get(LOG_INDEX_HEADER, ""),
            )
        except OffsetMismatch as mismatch:
            return JSONResponse({"size": mismatch.size}, status_code=409)
        wakeups.notify(f"logs:{attempt_id}")
        return JSONResponse({"size": size})

    @api.put("/events/{node}", dependencies=known)
    async def append_events(
        request: Request, node: int, path: str, generation: Annotated[int, Query(ge=0)], offset: int
    ) -> JSONResponse:
        agent, data = agent_of(request), await _body(request)

        def append() -> int:
            return scalars.receive(agent, node=node, path=path, generation=generation, offset=offset, data=data)

        try:
            return JSONResponse({"size": await run_in_threadpool(append)})
        except OffsetMismatch as mismatch:
            return JSONResponse({"size": mismatch.size}, status_code=409)

    @api.put("/samples/{generation}", dependencies=known)
    async def append_samples(request: Request, generation: int, offset: int) -> JSONResponse:
        agent, data = agent_of(request), await _body(request)

        def append() -> int:
            return samples.append(agent, generation, offset=offset, data=data)

        try:
            size = await run_in_threadpool(append)
        except OffsetMismatch as mismatch:
            return JSONResponse({"size": mismatch.size}, status_code=409)
        wakeups.notify(SAMPLES)
        return JSONResponse({"size": size})

    @api.get("/restore/{generation}", dependencies=known)
    def restore(request: Request, generation: int) -> Restore:
        return agents.restore(agent_of(request), generation)

    @api.get("/blobs/{digest}", dependencies=known)
    def blob(request: Request, digest: str) -> FileResponse:
        path = sources.bundle_of_attempt(agent_of(request).attempt_id, digest)
        return FileResponse(path, media_type="application/octet-stream")

    return api


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidValue(f"the request's body is no JSON: {error}") from error


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > _MAX_CHUNK:
            raise InvalidValue(f"an upload by offset has at most {_MAX_CHUNK} bytes")
    return bytes(data)
