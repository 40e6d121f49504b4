"""Signing browsers in and out over HTTP."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Depends, Request, Response

from opengrid import __version__
from opengrid.server.auth import Browsers, Users, caller_of, session_of, user_of
from opengrid.server.reach import Reach
from opengrid.services.documents.document import Document
from opengrid.services.sign_in import SESSION_LIFE_US, SignIn
from opengrid.services.views import at_text


@dataclass(frozen=True, kw_only=True)
class LinkRequest:
    """Where a sign-in link shall lead."""

    path: str = "/"


@dataclass(frozen=True, kw_only=True)
class SignInLinkDocument(Document):
    """A link that signs one browser in, once."""

    url: str
    path: str
    expires_at: str


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a sign-in link holds behind its `#`."""

    code: str


@dataclass(frozen=True, kw_only=True)
class SignedInDocument(Document):
    """A browser that is signed in now."""

    user: str
    path: str  #: the page to go to
    expires_at: str


@dataclass(frozen=True, kw_only=True)
class SessionDocument(Document):
    """Who asks, and whom."""

    user: str
    is_admin: bool  #: runs the server
    expires_at: str | None  #: null for a token
    version: str
    hostname: str  #: the server's


def sessions_api(sign_in: SignIn, users: Users, browsers: Browsers, reach: Reach, *, is_secure: bool) -> APIRouter:
    """Return the routes for sign-in links and sessions; `is_secure`: browsers come by https."""
    api = APIRouter(prefix="/api/v1")
    known = [Depends(users)]

    @api.post("/sign-in-links", status_code=201, dependencies=known)
    def make_link(wanted: LinkRequest, request: Request) -> SignInLinkDocument:
        code, link = sign_in.make_link(user_of(request), wanted.path)
        # Behind the `#`: browsers do not send it, so no log, proxy or preview of links ever has it.
        url = f"{reach.address_for(request)}/sign-in#{code}"
        return SignInLinkDocument(url=url, path=link.path, expires_at=at_text(link.expires_us))

    @api.post("/sessions", status_code=201)
    def open_session(given: Code, request: Request, response: Response) -> SignedInDocument:
        browsers.check_origin(request)
        done = sign_in.exchange(given.code)
        response.set_cookie(
            browsers.cookie,
            done.token,
            max_age=SESSION_LIFE_US // 1_000_000,
            secure=is_secure,
            httponly=True,
            samesite="strict",
        )
        return SignedInDocument(user=done.session.user, path=done.path, expires_at=at_text(done.session.expires_us))

    @api.get("/session", dependencies=known)
    def show(request: Request) -> SessionDocument:
        session, caller = session_of(request), caller_of(request)
        return SessionDocument(
            user=caller.name,
            is_admin=caller.is_admin,
            expires_at=at_text(session.expires_us) if session else None,
            version=__version__,
            hostname=socket.gethostname(),
        )

    @api.delete("/session", status_code=HTTPStatus.NO_CONTENT, dependencies=known)
    def close_session(request: Request, response: Response) -> None:
        token = request.cookies.get(browsers.cookie)
        if token is not None:
            sign_in.sign_out(token)
        response.delete_cookie(browsers.cookie, secure=is_secure, httponly=True, samesite="strict")

    return api
