"""Scalars and samples over HTTP: which there are, series for charts, and tables of experiments with them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import TypeAdapter

from opengrid.server.auth import Users
from opengrid.services.documents.scalars import ExperimentScalars, RunTags, SeriesAnswer, SeriesRequest
from opengrid.services.documents.system import SystemDocument
from opengrid.services.samples import Samples
from opengrid.services.scalars import Scalars
from opengrid.services.table import Table, TableDocument, TableRequest

#: Writes a page at once; FastAPI would make it of dictionaries first.
_TABLES = TypeAdapter(TableDocument)


def scalars_api(scalars: Scalars, samples: Samples, table: Table, users: Users) -> APIRouter:
    """Return the routes for scalars, for samples, and for a run's experiments as a table with scalars."""
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
        return Response(_text(scalars.series(request)), media_type="application/json")

    @api.get("/experiments/{name}/system")
    def system(name: str) -> SystemDocument:
        return samples.now(name)

    @api.post("/system", response_model=SeriesAnswer)
    def system_series(request: SeriesRequest) -> Response:
        return Response(_text(samples.series(request)), media_type="application/json")

    @api.get("/runs/{name}/table", response_model=TableDocument)
    def show_table(
        name: str,
        request: Annotated[TableRequest, Depends(_table_request)],
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        page = table.page(name, request, limit=limit, offset=offset)
        return Response(_TABLES.dump_json(page), media_type="application/json")

    @api.get("/runs/{name}/table.csv", response_class=StreamingResponse)
    def table_as_csv(name: str, request: Annotated[TableRequest, Depends(_table_request)]) -> StreamingResponse:
        rows = table.csv(name, request)  # NotFound for what is no name
        headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=headers)

    return api


def _text(answer: SeriesAnswer) -> str:
    """Return an answer as JSON, looking at each of its hundred thousand numbers but once, as pydantic would not."""
    series = [{name.name: getattr(one, name.name) for name in fields(one)} for one in answer.series]
    document = {"series": series, "cursors": answer.cursors, "reset": answer.reset}
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def _table_request(
    sort: str = "index",
    order: Literal["asc", "desc"] = "asc",
    filter: Annotated[list[str] | None, Query()] = None,
    search: Annotated[str, Query(max_length=500)] = "",
    metric: Annotated[list[str] | None, Query()] = None,
) -> TableRequest:
    return TableRequest.parse(
        sort=sort, descending=order == "desc", filters=filter or [], search=search, metrics=metric
    )
