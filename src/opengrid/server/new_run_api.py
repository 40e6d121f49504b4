"""The New run dialog over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request

from opengrid.server.auth import Users, caller_of, user_of
from opengrid.services.clusters import Clusters
from opengrid.services.documents.new_run import ClusterChoices, NewRunPlanDocument
from opengrid.services.documents.runs import ClonedDocument, CloneRow, CreatedDocument
from opengrid.services.new_run import NewRun, NewRuns
from opengrid.services.views import plan_view


@dataclass(frozen=True, kw_only=True)
class RunNames:
    """Runs, by name."""

    names: tuple[str, ...]


def new_run_api(new_runs: NewRuns, clusters: Clusters, users: Users) -> APIRouter:
    """Return the routes of the dialog. A plan that cannot be is an answer too: people are still typing."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.post("/new-run/plan")
    def plan(form: NewRun, request: Request) -> NewRunPlanDocument:
        return new_runs.plan(form, caller_of(request))

    @api.get("/new-run/clusters")
    def choices(request: Request) -> ClusterChoices:
        return ClusterChoices(clusters=clusters.choices(user_of(request)))

    @api.post("/new-run", status_code=201)
    def create(form: NewRun, request: Request) -> CreatedDocument:
        run, experiments = new_runs.create(form, caller_of(request))
        return CreatedDocument(run=run.name, experiments=[e.name for e in experiments], plan=plan_view(run.plan))

    @api.post("/clone", status_code=201)
    def clone(what: RunNames, request: Request) -> ClonedDocument:
        cloned = new_runs.clone(what.names, caller_of(request))
        rows = [CloneRow(run=run.name, experiments=[e.name for e in members], of=name) for name, run, members in cloned]
        return ClonedDocument(runs=rows)

    @api.get("/runs/{name}/new-run")
    def form_of(name: str, request: Request) -> NewRun:
        return new_runs.form_of(name, caller_of(request))

    return api
