"""Who asks: users by their token or their browser's session, agents by their session."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Request

from opengrid.core.errors import Forbidden, Unauthorized
from opengrid.core.records.accounts import BrowserSession
from opengrid.core.tokens import token_hash
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.agents import Agents
from opengrid.services.callers import Caller
from opengrid.services.sign_in import SignIn
from opengrid.store.database import Database

#: Requests that change nothing.
_READING = frozenset({"GET", "HEAD"})


def bearer(request: Request) -> str:
    """Return the request's bearer token; Unauthorized when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized(
            "this needs a token", hint="the grid command sends it by itself; `grid view` signs a browser in"
        )
    return token


class Browsers:
    """What browsers send by themselves: the session's cookie, and where the page comes from that writes."""

    def __init__(self, cookie: str, *, schemes: Collection[str]) -> None:
        self.cookie = cookie  #: its name: one per server, because cookies do not know ports
        self._schemes = schemes

    def check_origin(self, request: Request) -> None:
        """Forbidden unless the request was made by a page of ours, seen under the name that the browser uses."""
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if origin not in {f"{scheme}://{host}" for scheme in self._schemes}:
            raise Forbidden(f"a page of {origin or 'nobody'} may not do that", hint="this server's own page may")


class Users:
    """The dependency of every route for users.

    Knows them by their tokens, of which only hashes are stored, or by a browser's session, which other sites' pages
    cannot use to write.
    """

    def __init__(self, database: Database, sign_in: SignIn, browsers: Browsers) -> None:
        self._database, self._sign_in, self._browsers = database, sign_in, browsers
        self._known: dict[str, str] = {}
        self._forgotten = 0  #: how often somebody was

    async def __call__(self, request: Request) -> None:
        """Let a known user's request pass, and remember whose it is for user_of()."""
        cookie = request.cookies.get(self._browsers.cookie)
        if cookie is not None and "authorization" not in request.headers:
            session = self._sign_in.session(cookie)
            if session is None:
                raise Unauthorized("this browser is not signed in any more", hint="`grid view` signs it in")
            if request.method not in _READING:
                self._browsers.check_origin(request)
            request.state.user, request.state.session = session.user, session
            return
        request.state.user, request.state.session = self._user_of_token(bearer(request)), None

    def _user_of_token(self, token: str) -> str:
        hashed = token_hash(token)
        user = self._known.get(hashed)
        if user is None:
            forgotten = self._forgotten
            with self._database.read() as tx:
                user = tx.accounts.user_of_token(hashed)
            if user is None:
                raise Unauthorized("unknown token", hint="is it this server's? `grid login URL` takes a new one")
            if forgotten == self._forgotten:  # else it may have been revoked just now
                self._known[hashed] = user
        return user

    def is_known(self, request: Request) -> bool:
        """Return whether whoever sent a request that passed may still go on: the session or token may have ended."""
        session = session_of(request)
        if session is not None:
            return self._sign_in.session(request.cookies[self._browsers.cookie]) is not None
        return token_hash(bearer(request)) in self._known

    def forget(self, user: str) -> None:
        """Look this user's token up again at their next request: it may have been revoked."""
        self._forgotten += 1
        known = list(self._known.items())  # in one step: other requests add to it meanwhile
        self._known = {hashed: name for hashed, name in known if name != user}


def caller_of(request: Request) -> Caller:
    """Return who sends a request."""
    name = user_of(request)
    return Caller(name=name, is_admin=name == request.app.state.owner)


def user_of(request: Request) -> str:
    """Return the name of the user who sends a request."""
    return request.state.user


def session_of(request: Request) -> BrowserSession | None:
    """Return the session by which a request comes; None when it comes with a token."""
    return request.state.session


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
