"""Runs and experiments over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool

from opengrid.core.codec import to_json
from opengrid.core.names import parse_labels
from opengrid.core.records import Experiment, ExperimentState, Run
from opengrid.core.spec import RunSpec
from opengrid.server.auth import Users, caller_of, user_of
from opengrid.server.wakeups import Wakeups
from opengrid.services.runs import Runs
from opengrid.services.views import event_view, experiment_view, run_view, start_views, time_text

#: Longest time that a request is held while nothing changes, in seconds.
_HOLD_S = 25.0

_STARTED = (ExperimentState.RUNNING, ExperimentState.SUCCEEDED, ExperimentState.FAILED, ExperimentState.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Names:
    """Runs or experiments, by name."""

    kind: Literal["run", "experiment"]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Resumed(Names):
    """What shall go on."""

    failed: bool = False  #: only what has failed, not what was stopped


def runs_api(runs: Runs, users: Users, wakeups: Wakeups, unreachable: Callable[[str], dict[int, int]]) -> APIRouter:
    """Return the routes for runs and experiments; `unreachable` tells of an attempt which agents have fallen silent."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.post("/plan")
    def plan(spec: RunSpec, request: Request) -> dict[str, object]:
        return {"plan": runs.plan(spec, user_of(request)).to_wire()}

    @api.post("/runs", status_code=201)
    def create(spec: RunSpec, request: Request) -> dict[str, object]:
        run, experiments = runs.create(spec, user_of(request))
        return {"run": run.name, "experiments": [e.name for e in experiments], "plan": run.plan.to_wire()}

    @api.get("/runs")
    def list_runs(
        request: Request,
        active: bool | None = None,
        user: str | None = None,
        mine: bool = False,
        label: Annotated[list[str] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> dict[str, object]:
        wanted = parse_labels(label or [], needs_value=False)
        user = user_of(request) if mine else user
        page, total, not_active = runs.list(active=active, user=user, labels=wanted, limit=limit, offset=offset)
        return {"runs": [run_view(run) for run in page], "total": total, "not_active": not_active}

    @api.get("/runs/{name}")
    async def show_run(
        name: str,
        until: Literal["started", "ended"] | None = None,
        known: str | None = None,
        timeout_s: Annotated[float, Query(ge=0, le=_HOLD_S)] = _HOLD_S,
    ) -> dict[str, object]:
        async def look() -> tuple[dict[str, object], bool]:
            run, experiments = await run_in_threadpool(runs.show, name)
            return _run_answer(run, experiments), _is_true(until, experiments)

        answer, _true = await wakeups.poll(
            "experiments",
            look,
            until=lambda seen: until is None or seen[1] or seen[0]["etag"] != known,
            timeout_s=timeout_s,
        )
        return answer

    @api.get("/runs/{name}/request")
    def show_request(name: str, request: Request) -> dict[str, object]:
        spec, held_back = runs.request(name, caller_of(request))
        return {"run": name, "request": to_json(spec), "held_back": list(held_back)}

    @api.get("/experiments/{name}")
    def show_experiment(name: str) -> dict[str, object]:
        return _experiment_answer(runs, name, unreachable)

    @api.post("/stop")
    def stop(what: Names, request: Request) -> dict[str, object]:
        stopped, already = runs.stop(what.names, caller_of(request))
        return {"stopped": stopped, "already": already}

    @api.post("/resume")
    def resume(what: Resumed, request: Request) -> dict[str, object]:
        resumed, left = runs.resume(what.names, caller_of(request), only_failed=what.failed)
        return {"resumed": resumed, "left": left}

    @api.post("/delete")
    def delete(what: Names, request: Request) -> dict[str, object]:
        return {"deleted": runs.delete(what.names, caller_of(request))}

    return api


def _experiment_answer(runs: Runs, name: str, unreachable: Callable[[str], dict[int, int]]) -> dict[str, object]:
    run, experiment, events, starts, folder = runs.show_experiment(name)
    is_running = experiment.state is ExperimentState.RUNNING and bool(starts)
    silent = unreachable(starts[-1][0].id) if is_running else {}
    return {
        **experiment_view(run, experiment),
        "plan": run.plan.to_wire(),
        "work_dir": str(folder) if folder else None,
        "unreachable": [{"machine": machine, "since": time_text(us)} for machine, us in sorted(silent.items())],
        "starts": start_views(starts),
        "events": [event_view(event) for event in events],
    }


def _run_answer(run: Run, experiments: list[Experiment]) -> dict[str, object]:
    views = [experiment_view(run, e) for e in experiments]
    etag = hashlib.sha256(json.dumps(views, sort_keys=True).encode()).hexdigest()[:16]
    return {"run": run.name, "etag": etag, "experiments": views}


def _is_true(until: str | None, experiments: list[Experiment]) -> bool:
    if until == "started":
        return all(e.state in _STARTED for e in experiments)
    return all(e.state.is_terminal for e in experiments)
