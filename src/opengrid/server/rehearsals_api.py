"""Faults that users rehearse, over HTTP."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request

from opengrid.core.errors import Conflict
from opengrid.core.protocol import Fault
from opengrid.server.auth import Users, caller_of
from opengrid.services.documents.document import Document
from opengrid.services.rehearsals import Rehearsals

#: The answer that says so must have left before the server kills itself.
_LAST_WORDS_S = 0.2


@dataclass(frozen=True, kw_only=True)
class RehearsalRequest:
    """What shall happen, to which rank or machine."""

    fault: Fault
    target: int | None = None  #: None: the last one
    confirmed: bool = False  #: that others' experiments lose this server for a moment, too


@dataclass(frozen=True, kw_only=True)
class RehearsalDocument(Document):
    """A fault that is brought about, in words."""

    experiment: str
    rehearsal: str


def rehearsals_api(rehearsals: Rehearsals, users: Users, *, is_embedded: bool) -> APIRouter:
    """Return the route for rehearsals."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.post("/experiments/{name}/rehearsals", status_code=201)
    def begin(name: str, asked: RehearsalRequest, request: Request) -> RehearsalDocument:
        kills_server = asked.fault is Fault.KILL_SERVER
        caller = caller_of(request)
        if kills_server:
            caller.check_admin("killing the server")
        if kills_server and not (is_embedded or asked.confirmed):
            raise Conflict(
                "this server is not yours alone: everybody would lose it", hint="--yes kills it all the same"
            )
        text = rehearsals.begin(name, asked.fault, asked.target, caller)
        if kills_server:
            threading.Timer(_LAST_WORDS_S, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return RehearsalDocument(experiment=name, rehearsal=text)

    return api
