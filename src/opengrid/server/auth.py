"""Who asks: users by their token, agents by their session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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
    """Users by token; only hashes are stored, and known ones are remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, str] = {}

    async def __call__(self, request: Request) -> str:
        """Return the name of the user who sends this request."""
        hashed = token_hash(bearer(request))
        user = self._known.get(hashed)
        if user is None:
            with self._database.read() as tx:
                user = tx.accounts.user_of_token(hashed)
            if user is None:
                raise Unauthorized("unknown token", hint="is GRID_HOME the one of this server?")
            self._known[hashed] = user
        return user


def agent_of(agents: Agents) -> Callable[[Request], Awaitable[AgentIdentity]]:
    """Return a dependency that tells which agent sends a request: from memory, but for its first request after a restart."""

    async def identify(request: Request) -> AgentIdentity:
        return agents.identify(bearer(request))

    return identify
