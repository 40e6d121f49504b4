"""Has environments made before their experiments are given machines: queued → building → queued."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from opengrid.core.records.experiments import Experiment, ExperimentState, RootCause, Run
from opengrid.planning.environment import Environment, EnvironmentState
from opengrid.store.database import Database

_WAITING = (ExperimentState.QUEUED, ExperimentState.BUILDING)


class Building:
    """The stage of the controller that moves experiments whose environment is not there.

    `look` tells how a run's environment stands, and begins to make it; `keep_only` ends the making of all but these
    runs', `forget_failure` lets it be tried again, and `keep_records` writes down what experiments were that will
    never start.
    """

    def __init__(
        self,
        database: Database,
        *,
        look: Callable[[Run], Environment],
        keep_only: Callable[[Collection[str]], None],
        forget_failure: Callable[[Run], None],
        keep_records: Callable[[Sequence[Experiment]], None],
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._now_us = database, now_us
        self._look, self._keep_only = look, keep_only
        self._forget_failure, self._keep_records = forget_failure, keep_records

    def build(self) -> bool:
        """Move what waits to where its environment stands: building, back to the queue, or failed."""
        with self._database.read() as tx:
            waiting = tx.runs.experiments_in(_WAITING)
            runs = {id: tx.runs.find_by_id(id) for id in {e.run_id for e in waiting}}
        environments = {id: self._look(run) for id, run in runs.items()}  # reads files: not inside a transaction
        self._keep_only({e.run_id for e in waiting if e.stop_requested is None})
        due = [e for e in waiting if _target(e, environments[e.run_id]) is not None]
        for id, environment in environments.items():
            failing = [e for e in due if e.run_id == id] if environment.state is EnvironmentState.FAILED else []
            if failing:
                self._keep_records(failing)
        if due:
            self._move(due, environments)
        for id, environment in environments.items():
            if environment.state is EnvironmentState.FAILED:
                self._forget_failure(runs[id])
        return bool(due)

    def _move(self, due: Iterable[Experiment], environments: dict[str, Environment]) -> None:
        with self._database.transaction() as tx:
            for experiment in due:
                environment = environments[experiment.run_id]
                to = _target(experiment, environment)
                if to is ExperimentState.FAILED:
                    cause = RootCause(summary=f"its environment: {environment.reason}", log_tail=environment.log_tail)
                    tx.runs.move(experiment, to, reason=cause.summary, root_cause=cause, now_us=self._now_us())
                elif to is not None:
                    reason = environment.reason or "its environment is there"
                    tx.runs.move(experiment, to, reason=reason, now_us=self._now_us())


def _target(experiment: Experiment, environment: Environment) -> ExperimentState | None:
    """Return the state that an experiment must move to; None when it is where it belongs."""
    to = {
        EnvironmentState.READY: ExperimentState.QUEUED,
        EnvironmentState.BUILDING: ExperimentState.BUILDING,
        EnvironmentState.FAILED: ExperimentState.FAILED,
    }[environment.state]
    return None if to is experiment.state or experiment.stop_requested is not None else to
