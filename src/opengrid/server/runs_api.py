"""Runs and experiments over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import TypeAdapter

from opengrid.core.errors import InvalidValue
from opengrid.core.names import parse_labels
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.spec import RunSpec
from opengrid.server.auth import Users, caller_of, user_of
from opengrid.server.problems import HARMLESS
from opengrid.server.wakeups import Wakeups
from opengrid.services.documents.experiments import ExperimentDocument, ExperimentRow
from opengrid.services.documents.plans import PlannedDocument
from opengrid.services.documents.runs import (
    CreatedDocument,
    DeletedDocument,
    LabelValues,
    ResumedDocument,
    RunDocument,
    RunFiltersDocument,
    RunRequestDocument,
    RunsDocument,
    RunSummary,
    StoppedDocument,
)
from opengrid.services.experiments import Experiments
from opengrid.services.runs import Runs
from opengrid.services.views import experiment_view, plan_view, run_summary_view, run_view
from opengrid.store.run_list import NEWEST, STATE_GROUPS, RunFilter

StateGroup = Literal["queued", "running", "completed", "stopped", "failed"]

_ROWS = TypeAdapter(list[ExperimentRow])

#: Longest time that a request is held while nothing changes, in seconds.
_HOLD_S = 25.0

_STARTED = (ExperimentState.RUNNING, ExperimentState.SUCCEEDED, ExperimentState.FAILED, ExperimentState.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Names:
    """Runs or experiments, by name."""

    kind: Literal["run", "experiment"]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stopped(Names):
    """What shall stop."""

    force: bool = False  #: at once, with what runs on their machines, whatever state that is in


@dataclass(frozen=True, kw_only=True)
class Resumed(Names):
    """What shall go on."""

    failed: bool = False  #: only what has failed, not what was stopped


def runs_api(
    runs: Runs, experiments: Experiments, users: Users, wakeups: Wakeups, *, now_us: Callable[[], int]
) -> APIRouter:
    """Return the routes for runs and experiments."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.post("/plan")
    def plan(spec: RunSpec, request: Request) -> PlannedDocument:
        return PlannedDocument(plan=plan_view(runs.plan(spec, user_of(request))))

    @api.post("/runs", status_code=201)
    def create(spec: RunSpec, request: Request) -> CreatedDocument:
        run, experiments = runs.create(spec, user_of(request))
        return CreatedDocument(run=run.name, experiments=[e.name for e in experiments], plan=plan_view(run.plan))

    @api.get("/runs")
    def list_runs(
        request: Request,
        active: bool | None = None,
        user: str | None = None,
        mine: bool = False,
        label: Annotated[list[str] | None, Query()] = None,
        search: Annotated[str, Query(max_length=500)] = "",
        state: Annotated[list[StateGroup] | None, Query()] = None,
        since: str | None = None,
        until: str | None = None,
        sort: str = NEWEST,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> RunsDocument:
        chosen = RunFilter(
            active=active,
            user=user_of(request) if mine else user,
            labels=parse_labels(label or [], needs_value=False),
            search=search,
            states=tuple(one for group in state or [] for one in STATE_GROUPS[group]),
            since_us=moment_us(since, field="since") if since else None,
            until_us=moment_us(until, field="until", is_end=True) if until else None,
        )
        page, total, not_active = runs.list(chosen, sort=sort, limit=limit, offset=offset)
        return RunsDocument(runs=[run_view(run) for run in page], total=total, not_active=not_active)

    @api.get("/run-filters")
    def filters() -> RunFiltersDocument:
        users, labels = runs.filters()
        by_key: dict[str, list[str]] = {}
        for key, value in labels:
            by_key.setdefault(key, []).append(value)
        return RunFiltersDocument(
            users=users, labels=[LabelValues(key=key, values=values) for key, values in by_key.items()]
        )

    @api.get("/runs/{name}/summary")
    def summary(name: str) -> RunSummary:
        return run_summary_view(*runs.summary(name))

    @api.get("/runs/{name}")
    async def show_run(
        name: str,
        until: Literal["started", "ended"] | None = None,
        known: str | None = None,
        timeout_s: Annotated[float, Query(ge=0, le=_HOLD_S)] = _HOLD_S,
    ) -> RunDocument:
        async def look() -> tuple[RunDocument, bool]:
            run, experiments = await run_in_threadpool(runs.show, name)
            return await run_in_threadpool(_run_document, run, experiments, now_us()), _is_true(until, experiments)

        answer, _true = await wakeups.poll(
            "experiments",
            look,
            until=lambda seen: until is None or seen[1] or seen[0].etag != known,
            timeout_s=timeout_s,
        )
        return answer

    @api.get("/runs/{name}/request")
    def show_request(name: str, request: Request, tree: bool = False) -> RunRequestDocument:
        spec, held_back = runs.request(name, caller_of(request), with_tree=tree)
        return RunRequestDocument(run=name, request=spec, held_back=list(held_back))

    @api.get("/experiments/{name}")
    def show_experiment(name: str) -> ExperimentDocument:
        return experiments.show(name)

    @api.get("/experiments/{name}/diff", response_class=PlainTextResponse)
    def show_diff(name: str) -> PlainTextResponse:
        return PlainTextResponse(experiments.diff(name).encode("utf-8", "surrogateescape"), headers=HARMLESS)

    @api.post("/stop")
    def stop(what: Stopped, request: Request) -> StoppedDocument:
        stopped, already = runs.stop(what.names, caller_of(request), force=what.force)
        return StoppedDocument(stopped=stopped, already=already)

    @api.post("/resume")
    def resume(what: Resumed, request: Request) -> ResumedDocument:
        resumed, left = runs.resume(what.names, caller_of(request), only_failed=what.failed)
        return ResumedDocument(resumed=resumed, left=left)

    @api.post("/delete")
    def delete(what: Names, request: Request) -> DeletedDocument:
        return DeletedDocument(deleted=runs.delete(what.names, caller_of(request)))

    return api


def moment_us(text: str, *, field: str, is_end: bool = False) -> int:
    """Return a date or time as microseconds; of a date its first moment, or, for an end, the first one after it.

    What names no zone is in UTC. InvalidValue for what is no date or time.
    """
    try:
        at = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace(" ", "+"))
    except ValueError:
        raise InvalidValue(
            f"{text[:50]!r} is no date or time", hint="such as 2026-11-25 or 2026-11-25T10:00:00Z", field=field
        ) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    if is_end and len(text.strip()) == len("2026-11-25"):
        at += timedelta(days=1)
    return int(at.timestamp() * 1e6)


def _run_document(run: Run, experiments: list[Experiment], now_us: int) -> RunDocument:
    # What costs grows all the time, and is no change that somebody waits for.
    timeless = [experiment_view(run, e, now_us=0) for e in experiments]
    etag = hashlib.sha256(_ROWS.dump_json(timeless)).hexdigest()[:16]
    rows = [experiment_view(run, e, now_us=now_us) for e in experiments] if run.plan.cost_per_hour else timeless
    return RunDocument(run=run.name, etag=etag, experiments=rows)


def _is_true(until: str | None, experiments: list[Experiment]) -> bool:
    if until == "started":
        return all(e.state in _STARTED for e in experiments)
    return all(e.state.is_terminal for e in experiments)
