"""Scalars over HTTP: which there are, and series for charts."""

from __future__ import annotations

import json
from dataclasses import asdict

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from opengrid.server.auth import Users
from opengrid.services.scalars import ExperimentScalars, RunTags, Scalars, SeriesAnswer, SeriesRequest


def scalars_api(scalars: Scalars, users: Users) -> APIRouter:
    """Return the routes for scalars."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/runs/{name}/scalars")
    def of_run(name: str) -> RunTags:
        return scalars.tags_of_run(name)

    @api.get("/experiments/{name}/scalars")
    def of_experiment(name: str) -> ExperimentScalars:
        return scalars.of_experiment(name)

    # It only reads; names of a thousand experiments are too long for an address.
    @api.post("/scalars", response_model=SeriesAnswer)
    def series(request: SeriesRequest) -> Response:
        answer = scalars.series(request)
        # Not by pydantic: it would look at each of a hundred thousand numbers once more.
        return Response(json.dumps(asdict(answer), allow_nan=False), media_type="application/json")

    return api
