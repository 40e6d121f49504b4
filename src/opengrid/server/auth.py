"""Who asks: users by their token, agents by their session."""

from __future__ import annotations

from fastapi import Request

from opengrid.core.errors import Unauthorized
from opengrid.core.tokens import token_hash
from opengrid.services.agents import AgentIdentity, Agents
from opengrid.store.database import Database


def bearer(request: Request) -> str:
    """Return the request's bearer token; Unauthorized when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("this needs a token", hint="`Authorization: Bearer …`; the grid command sends it by itself")
    return token


class Users:
    """The dependency of every route for users: knows them by their tokens, of which only hashes are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, str] = {}

    async def __call__(self, request: Request) -> None:
        """Let a known user's request pass, and remember whose it is for user_of()."""
        hashed = token_hash(bearer(request))
        user = self._known.get(hashed)
        if user is None:
            with self._database.read() as tx:
                user = tx.accounts.user_of_token(hashed)
            if user is None:
                raise Unauthorized("unknown token", hint="is GRID_HOME the one of this server?")
            self._known[hashed] = user
        request.state.user = user


def user_of(request: Request) -> str:
    """Return the name of the user who sends a request."""
    return request.state.user


class KnownAgents:
    """The dependency of an agent's routes: from memory, but for an agent's first request after a restart."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def __call__(self, request: Request) -> None:
        """Let a known agent's request pass, and remember whose it is for agent_of()."""
        request.state.agent = self._agents.identify(bearer(request))


def agent_of(request: Request) -> AgentIdentity:
    """Return which agent sends a request."""
    return request.state.agent
