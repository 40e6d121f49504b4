"""Stacks over HTTP: asked for by users, answered by agents."""

from __future__ import annotations

import json

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from opengrid.core.codec import from_json
from opengrid.core.errors import InvalidValue, ServerUnreachable
from opengrid.core.protocol import Stacks
from opengrid.server.auth import KnownAgents, Users, agent_of
from opengrid.server.wakeups import Wakeups
from opengrid.services.agents import Agents
from opengrid.services.documents.stacks import StacksDocument
from opengrid.services.stacks import DEADLINE_S, StackRequests, stacks_view

#: Most bytes of one machine's answer: those of 256 ranks.
_MOST_BYTES = 16 << 20


def stacks_api(requests: StackRequests, users: Users, agents: Agents, wakeups: Wakeups) -> APIRouter:
    """Return the routes for stacks, the user's and the agent's."""
    api = APIRouter()

    @api.get("/api/v1/experiments/{name}/stacks", dependencies=[Depends(users)])
    async def read(name: str) -> StacksDocument:
        asked = await run_in_threadpool(requests.find, name)
        with requests.asking(asked) as number:
            wakeups.notify(f"attempt:{asked.attempt_id}")  # agents learn that somebody asks

            async def look() -> dict[int, Stacks]:
                return requests.answers(asked, number)

            answers = await wakeups.poll(
                f"stacks:{asked.attempt_id}",
                look,
                until=lambda seen: len(seen) == asked.gang.machines,
                timeout_s=DEADLINE_S,
            )
        if wakeups.is_closing and len(answers) < asked.gang.machines:
            raise ServerUnreachable("the server is being stopped", hint="ask again")
        return await run_in_threadpool(stacks_view, asked, answers)

    @api.post("/agent/v1/stacks", dependencies=[Depends(KnownAgents(agents))])
    async def take(request: Request) -> dict[str, object]:
        agent, body = agent_of(request), bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                raise InvalidValue(f"the stacks of one machine have at most {_MOST_BYTES} bytes")
        try:
            stacks = from_json(Stacks, json.loads(body))
        except ValueError as error:
            raise InvalidValue(f"the request's body is no stacks: {error}") from error
        requests.take(agent, stacks)
        wakeups.notify(f"stacks:{agent.attempt_id}")
        return {}

    return api
