"""The log of the making of an experiment's environment, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from opengrid.core.records.experiments import Run
from opengrid.server.auth import Users
from opengrid.services.experiments import Experiments


def build_logs_api(experiments: Experiments, read_log: Callable[[Run, int], bytes], users: Users) -> APIRouter:
    """Return the routes; `read_log` gives what the build of a run's environment wrote, from an offset on."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/experiments/{name}/build-logs")
    def build_log(name: str, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
        return Response(read_log(experiments.run_of(name), offset), media_type="text/plain; charset=utf-8")

    return api
