"""Records as the stable JSON of the API and of `-o json`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from opengrid.core.codec import to_json
from opengrid.core.records import Attempt, DatastoreVersion, Event, Experiment, ExperimentState, Generation, Run
from opengrid.core.spec import Source
from opengrid.planning.arguments import parts

_QUEUED = (ExperimentState.QUEUED, ExperimentState.BUILDING, ExperimentState.PENDING)


def time_text(us: int | None) -> str | None:
    """Return microseconds since the epoch as ISO 8601 in UTC."""
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1e6, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_view(run: Run) -> dict[str, object]:
    """Return one row of the list of runs; `queued` counts building and pending too, so the five counts add up."""
    counts = {state: run.counts.get(state, 0) for state in ExperimentState}
    return {
        "run": run.name,
        "created_at": time_text(run.created_us),
        "user": run.user,
        "description": run.spec.description,
        "labels": dict(sorted(run.spec.labels.items())),
        "experiments": sum(counts.values()),
        "queued": sum(counts[state] for state in _QUEUED),
        "running": counts[ExperimentState.RUNNING],
        "completed": counts[ExperimentState.SUCCEEDED],
        "stopped": counts[ExperimentState.STOPPED],
        "failed": counts[ExperimentState.FAILED],
    }


def experiment_view(run: Run, experiment: Experiment) -> dict[str, object]:
    """Return one experiment with what it was given; own and simulated machines cost nothing."""
    gang, node = run.plan.gang, run.plan.gang.nodes[0]
    view: dict[str, object] = {
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
        "created_at": time_text(experiment.created_us),
        "started_at": time_text(experiment.started_us),
        "ended_at": time_text(experiment.ended_us),
        "instance_type": run.plan.instance_type,
        "simulated": run.plan.simulated,
        "devices": run.plan.devices,
        "hourly_cost": 0.0,
        "cost": 0.0,
        "attempts": experiment.attempts,
        "generations": experiment.generations,
    }
    if experiment.root_cause is not None:
        view["root_cause"] = root_cause_view(experiment)
    return view


def argument_views(experiment: Experiment) -> list[dict[str, object]]:
    """Return the script's options and words in order, each as typed and as what the script got."""
    return [
        {"name": part.name, "typed": part.typed, "resolved": part.value}
        for part in parts(experiment.arguments, experiment.typed)
    ]


def source_view(source: Source) -> dict[str, object]:
    """Return what code runs, in one line and in parts; `patch` is the digest of its difference to the commit."""
    return {"line": source.line, "ref": source.place.ref if source.place else None, **to_json(source)}


def root_cause_view(experiment: Experiment) -> dict[str, object]:
    """Return why an experiment failed; `cause` is the line for people."""
    document: dict[str, object] = to_json(experiment.root_cause)
    document["cause"] = document.pop("summary")
    return document


def start_views(starts: Sequence[tuple[Attempt, Generation]]) -> list[dict[str, object]]:
    """Return all starts of an experiment's ranks, with what each lost.

    That is the time since the one before it ended, and the steps that it did once more, as far as its framework told.
    """
    before: list[Generation | None] = [None, *(generation for _, generation in starts)]
    return [_start_view(attempt, generation, before[i]) for i, (attempt, generation) in enumerate(starts)]


def _start_view(attempt: Attempt, generation: Generation, before: Generation | None) -> dict[str, object]:
    lost_s = lost_steps = None
    if before is not None:
        if before.ended_us is not None and generation.started_us is not None:
            lost_s = round((generation.started_us - before.ended_us) / 1e6, 3)
        if before.last_step is not None and generation.first_step is not None:
            lost_steps = before.last_step - generation.first_step
    return {
        "attempt": attempt.number,
        "generation": generation.number,
        "started_at": time_text(generation.started_us),
        "ended_at": time_text(generation.ended_us),
        "resumed_from": generation.restore.checkpoint if generation.restore is not None else None,
        "first_step": generation.first_step,
        "last_step": generation.last_step,
        "lost_s": lost_s,
        "lost_steps": lost_steps,
        "cause": generation.cause.summary if generation.cause is not None else None,
    }


def event_view(event: Event) -> dict[str, object]:
    """Return one event; `from` and `to` are null for what is no change of state."""
    return {
        "at": time_text(event.at_us),
        "kind": event.kind,
        "attempt": event.attempt,
        "generation": event.generation,
        "from": event.before,
        "to": event.after,
        "reason": event.reason,
    }


def datastore_views(versions: Iterable[DatastoreVersion]) -> list[dict[str, object]]:
    """Return datastore versions as rows."""
    return [
        {
            "name": v.name,
            "version": v.version,
            "state": v.state.value,
            "reason": v.reason,
            "files": v.files,
            "size": v.size,
            "source": v.source,
            "digest": v.digest,
            "user": v.user,
            "created_at": time_text(v.created_us),
        }
        for v in versions
    ]
