"""Machines and the queue over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from opengrid.server.auth import Users
from opengrid.services.documents.machines import MachinesDocument, QueueDocument
from opengrid.services.machines import Machines


def machines_api(machines: Machines, users: Users) -> APIRouter:
    """Return the routes."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/machines")
    def show() -> MachinesDocument:
        return machines.show()

    @api.get("/queue")
    def queue(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100, offset: Annotated[int, Query(ge=0)] = 0
    ) -> QueueDocument:
        return machines.queue(limit=limit, offset=offset)

    return api
