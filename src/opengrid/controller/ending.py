"""What the end of a generation or an attempt means: the cause, and the experiment's state and exit code."""

from __future__ import annotations

import dataclasses

from opengrid.core.records.attempts import Attempt, AttemptMachine, AttemptState
from opengrid.core.records.experiments import ExperimentState, RootCause, Run
from opengrid.planning.failing import failing_alike
from opengrid.planning.generation import Move
from opengrid.planning.root_cause import find_root_cause
from opengrid.store.database import Transaction

_STATE = {
    AttemptState.SUCCEEDED: ExperimentState.SUCCEEDED,
    AttemptState.FAILED: ExperimentState.FAILED,
    AttemptState.STOPPED: ExperimentState.STOPPED,
    AttemptState.PREEMPTED: ExperimentState.QUEUED,
    AttemptState.LOST: ExperimentState.QUEUED,
}


def find_cause(tx: Transaction, run: Run, attempt: Attempt, move: Move) -> RootCause | None:
    """Return why the attempt's generation ends by `move`; None when nothing failed."""
    outcome = move.changes.get("outcome", attempt.outcome)
    if outcome in ("succeeded", "stopped", "preempted"):
        return None
    exits = tx.attempts.exits(attempt.id, attempt.generation)
    if move.lost:  # whatever ranks on other machines said: their peers were gone
        return RootCause(summary=move.reason, machine=move.lost[0])
    if any(e.exit_code != 0 for e in exits):
        return find_root_cause(run.plan.gang, exits)
    broken = next((m.index for m in tx.attempts.machines(attempt.id) if m.broken), None)
    return RootCause(summary=move.reason, machine=broken)


def end_experiment(tx: Transaction, attempt: Attempt, now_us: int) -> None:
    """Move the experiment of a terminal attempt to the state that follows from it, in the same transaction."""
    experiment = tx.runs.experiment_by_id(attempt.experiment_id)
    run = tx.runs.find_by_id(experiment.run_id)
    reason, cause, exit_code = attempt.reason, None, None
    if attempt.state is AttemptState.SUCCEEDED:
        exit_code = 0
        reason = _never_met(run, tx.attempts.machines(attempt.id)) or "all ranks exited with 0"
    elif attempt.state is AttemptState.FAILED:
        last = next(reversed(tx.attempts.generations(attempt.id)), None)
        found = last.cause if last is not None and last.cause is not None else RootCause(summary=reason)
        cause = dataclasses.replace(found, summary=reason)  # which says how often it was tried, too
        failed = [e for e in tx.attempts.exits(attempt.id, attempt.generation) if e.exit_code != 0]
        # A rank that left too early did so with 0, and one that never came has no code: then their victims' counts.
        exit_code = cause.exit_code or (min(failed, key=lambda e: e.at_ns).exit_code if failed else None)
    tx.runs.move(
        experiment,
        _STATE[attempt.state],
        reason=reason,
        now_us=now_us,
        exit_code=exit_code,
        root_cause=cause,
        attempt=attempt.number,
    )
    if run.spec.fail_fast and cause is not None:
        _stop_the_rest(tx, run, now_us)


def _stop_the_rest(tx: Transaction, run: Run, now_us: int) -> None:
    members = tx.runs.experiments(run.id)
    reason = failing_alike(members)
    for experiment in members if reason is not None else ():
        tx.runs.request_stop(experiment.id, reason or "", now_us)


def _never_met(run: Run, machines: list[AttemptMachine]) -> str | None:
    """Return the warning for ranks of which none ever connected to its generation's store."""
    ranks = run.plan.gang.world_size
    if ranks == 1 or machines[0].met is not False:
        return None
    return f"your {ranks} ranks never met: {ranks} separate copies ran (the script never joined torch.distributed)"
