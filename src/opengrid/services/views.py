"""From records to the documents of the API."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from opengrid.core.codec import to_json
from opengrid.core.gang import Plan
from opengrid.core.records.attempts import Attempt, Generation
from opengrid.core.records.experiments import Event, Experiment, ExperimentState, RootCause, Run
from opengrid.core.spec import Place, Source
from opengrid.planning.arguments import parts
from opengrid.services.documents.experiments import (
    ArgumentDocument,
    EventDocument,
    ExperimentRow,
    MemoryDocument,
    RootCauseDocument,
    StartDocument,
)
from opengrid.services.documents.plans import MountDocument, PlaceDocument, PlanDocument, SourceDocument
from opengrid.services.documents.runs import RunRow, RunSummary

_QUEUED = (ExperimentState.QUEUED, ExperimentState.BUILDING, ExperimentState.PENDING)


def time_text(us: int | None) -> str | None:
    """Return microseconds since the epoch as ISO 8601 in UTC."""
    return None if us is None else at_text(us)


def at_text(us: int) -> str:
    """Return a time that is known as time_text does."""
    return datetime.fromtimestamp(us / 1e6, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_view(run: Run) -> RunRow:
    """Return one row of the list of runs."""
    counts = {state: run.counts.get(state, 0) for state in ExperimentState}
    gang = run.plan.gang
    return RunRow(
        run=run.name,
        created_at=at_text(run.created_us),
        user=run.user,
        description=run.spec.description,
        labels=dict(sorted(run.spec.labels.items())),
        experiments=sum(counts.values()),
        queued=sum(counts[state] for state in _QUEUED),
        running=counts[ExperimentState.RUNNING],
        completed=counts[ExperimentState.SUCCEEDED],
        stopped=counts[ExperimentState.STOPPED],
        failed=counts[ExperimentState.FAILED],
        waiting=run.waiting,
        script=run.spec.program.target,
        instance_type=run.plan.instance_type,
        gpus=run.plan.gpus,
        machines=gang.machines,
        nodes=len(gang.nodes),
        gpus_per_node=gang.nodes[0].gpus,
        simulated=run.plan.is_simulated,
        devices=run.plan.devices,
        hourly_cost=round(run.plan.cost_per_hour * counts[ExperimentState.RUNNING], 4),
    )


def run_summary_view(run: Run, started_us: int | None, ended_us: int | None, machine_us: int) -> RunSummary:
    """Return one run in full, its experiments left out."""
    row = {field.name: getattr(run_view(run), field.name) for field in dataclasses.fields(RunRow)}
    return RunSummary(
        **row,
        command=run.spec.command,
        plan=plan_view(run.plan),
        source=source_view(run.spec.source),
        framework=run.spec.framework.value,
        strategy=run.spec.strategy.value,
        environment=sorted(run.spec.environment),
        started_at=time_text(started_us),
        ended_at=time_text(ended_us),
        cost=_cost(run, machine_us),
    )


def plan_view(plan: Plan) -> PlanDocument:
    """Return a plan as a document."""
    fields: dict[str, Any] = {**plan.to_wire(), "link": place_view(plan.place)}
    fields["mounts"] = [MountDocument(**mount) for mount in fields["mounts"]]
    return PlanDocument(**fields)


def place_view(place: Place | None) -> PlaceDocument | None:
    """Return where a link led."""
    return None if place is None else PlaceDocument(**dataclasses.asdict(place))


def experiment_view(run: Run, experiment: Experiment, *, now_us: int) -> ExperimentRow:
    """Return one experiment with what it was given, and what it has cost so far."""
    return ExperimentRow(**experiment_fields(run, experiment, now_us=now_us))


def experiment_fields(run: Run, experiment: Experiment, *, now_us: int) -> dict[str, Any]:
    """Return the fields of an ExperimentRow, for the documents that have more of them."""
    gang, node = run.plan.gang, run.plan.gang.nodes[0]
    return {
        "experiment": experiment.name,
        "run": run.name,
        "state": experiment.state.value,
        "reason": experiment.reason,
        "stopping": experiment.stop_requested is not None and not experiment.state.is_terminal,
        "exit_code": experiment.exit_code,
        "command": shlex.join([run.spec.program.target, *experiment.arguments]),
        "source": source_view(run.spec.source),
        "gpus": run.plan.gpus,
        "machines": gang.machines,
        "nodes": len(gang.nodes),
        "gpus_per_node": node.gpus,
        "world_size": gang.world_size,
        "params": experiment.params,
        "arguments": argument_views(experiment),
        "created_at": at_text(experiment.created_us),
        "started_at": time_text(experiment.started_us),
        "ended_at": time_text(experiment.ended_us),
        "cluster": run.plan.cluster,
        "instance_type": run.plan.instance_type,
        "simulated": run.plan.is_simulated,
        "devices": run.plan.devices,
        "hourly_cost": round(run.plan.cost_per_hour, 4),
        "cost": _cost(run, experiment.machine_us(now_us)),
        "attempts": experiment.attempts,
        "generations": experiment.generations,
        "root_cause": root_cause_view(experiment.root_cause) if experiment.root_cause is not None else None,
    }


def _cost(run: Run, machine_us: int) -> float:
    """Return what so much time of a machine costs; the machines of a gang are of one type."""
    return round(run.plan.cost_per_hour / run.plan.gang.machines * machine_us / 3.6e9, 4)


def argument_views(experiment: Experiment) -> list[ArgumentDocument]:
    """Return the script's options and words in order, each as typed and as what the script got."""
    return [
        ArgumentDocument(name=part.name, typed=part.typed, resolved=part.value)
        for part in parts(experiment.arguments, experiment.typed)
    ]


@functools.lru_cache(64)  # every row of a run shows it
def source_view(source: Source) -> SourceDocument:
    """Return what code runs, in one line and in parts."""
    place = source.place
    fields: dict[str, Any] = {**to_json(source), "place": place_view(place)}
    del fields["bundle"]  # whoever knows it can start a run of the tree
    return SourceDocument(line=source.line, ref=place.ref if place is not None else None, **fields)


def root_cause_view(cause: RootCause) -> RootCauseDocument:
    """Return why an experiment failed."""
    memory = cause.memory
    return RootCauseDocument(
        cause=cause.summary,
        rank=cause.rank,
        node=cause.node,
        machine=cause.machine,
        exit_code=cause.exit_code,
        signal=cause.signal,
        exception=cause.exception,
        frame=cause.frame,
        hint=cause.hint,
        log_tail=cause.log_tail,
        victims=list(cause.victims),
        memory=MemoryDocument(peak_mib=memory.peak_mib, available_mib=memory.available_mib) if memory else None,
    )


def start_views(starts: Sequence[tuple[Attempt, Generation]]) -> list[StartDocument]:
    """Return all starts of an experiment's ranks, with what each lost.

    That is the time since the last one before it ended, and the steps that it did once more, as far as its framework
    told. What was prepared and never started counts as lost time.
    """
    views: list[StartDocument] = []
    before: Generation | None = None
    for index, (attempt, generation) in enumerate(starts):
        is_last = index + 1 == len(starts) or starts[index + 1][0].number != attempt.number
        views.append(_start_view(attempt, generation, before, is_last=is_last))
        before = generation if generation.started_us is not None else before
    return views


def _start_view(attempt: Attempt, generation: Generation, before: Generation | None, *, is_last: bool) -> StartDocument:
    lost_s = lost_steps = None
    if before is not None:
        if before.ended_us is not None and generation.started_us is not None:
            lost_s = round((generation.started_us - before.ended_us) / 1e6, 3)
        if before.last_step is not None and generation.first_step is not None:
            lost_steps = before.last_step - generation.first_step
    cause = generation.cause.summary if generation.cause is not None else None
    if cause is None and is_last and attempt.outcome in ("stopped", "preempted", "lost"):
        cause = attempt.reason
    return StartDocument(
        attempt=attempt.number,
        generation=generation.number,
        started_at=time_text(generation.started_us),
        ended_at=time_text(generation.ended_us),
        resumed_from=generation.restore.checkpoint if generation.restore is not None else None,
        first_step=generation.first_step,
        last_step=generation.last_step,
        lost_s=lost_s,
        lost_steps=lost_steps,
        cause=cause,
    )


def event_view(event: Event) -> EventDocument:
    """Return one event."""
    return EventDocument(
        at=at_text(event.at_us),
        kind=event.kind,
        attempt=event.attempt,
        generation=event.generation,
        before=event.before,
        after=event.after,
        reason=event.reason,
    )
