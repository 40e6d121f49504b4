"""Drives attempts: hands them to the engine and moves them as planning.generation decides."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Sequence

import structlog

from opengrid.controller.ending import end_experiment
from opengrid.core.errors import GridError
from opengrid.core.records import Attempt, AttemptMachine, AttemptState, Experiment, ExperimentState, GenerationPhase
from opengrid.core.tokens import attempt_token
from opengrid.engines.engine import Engine, GangRequest, NoCapacity
from opengrid.planning.generation import Move, decide
from opengrid.store.database import Database, Transaction

log = structlog.get_logger(__name__)

#: All attempts are looked at this often, for whatever nobody told us of …
_LOOK_AT_ALL_US = 5_000_000

#: … and so many at a time, so that what was hinted at need not wait for hundreds of others.
_BATCH = 8


class Gangs:
    """Stages of the controller that move attempts; `moved` hears of each attempt that moved."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        *,
        secret: str,
        moved: Callable[[Attempt], object],
        ended: Callable[[str], None],
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._engine, self._secret = database, engine, secret
        self._moved, self._ended, self._now_us = moved, ended, now_us
        self._hints: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._look_at_all_us = 0
        self._to_look_at: list[str] = []

    def submit(self) -> bool:
        """Hand created attempts to the engine. A crash in between is harmless: submitting is idempotent."""
        with self._database.read() as tx:
            created = tx.attempts.active(created=True)
        for attempt in created:
            self._submit(attempt)
        return bool(created)

    def _submit(self, attempt: Attempt) -> None:
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            gang = tx.runs.find_by_id(experiment.run_id).plan.gang
            machines = tx.attempts.machines(attempt.id)
        request = GangRequest(
            attempt_id=attempt.id,
            gang=gang,
            devices=tuple(m.devices for m in machines),
            token=attempt_token(self._secret, attempt.id),
        )
        to, reason, outcome = AttemptState.SUBMITTED, f"{len(machines)} agents started", None
        try:
            self._engine.submit(self._engine.render(request))
        except NoCapacity as error:
            to, reason, outcome = AttemptState.LOST, str(error), "requeued"
        except GridError as error:
            log.warning("submit failed", attempt=attempt.id, error=error.message)
            to, reason = AttemptState.FAILED, error.message
        with self._database.transaction() as tx:
            moved = tx.attempts.move(attempt, now_us=self._now_us(), to=to, reason=reason)
            if moved is not None and outcome == "requeued":
                current = tx.runs.experiment_by_id(experiment.id)
                tx.runs.move(current, ExperimentState.QUEUED, reason=reason, now_us=self._now_us())
            elif moved is not None and to.is_terminal:
                end_experiment(tx, moved, self._now_us())

    def hint(self, attempt_id: str | None = None) -> None:
        """Say that something about an attempt may have changed; None: about any. Callable from any thread."""
        self._hints.put(attempt_id)

    def drive(self) -> bool:
        """Move the attempts whose facts allow it, once; what a snapshot says is applied only if it still holds.

        Looks at those that were hinted at and those that shall stop, and at all of them every few seconds: a lost hint
        costs time, nothing else.
        """
        moved = False
        while True:
            with self._database.read() as tx:
                chosen = self._chosen(tx)
                machines = {a.id: tx.attempts.machines(a.id) for a in chosen}
            gone = self._engine.gone([(a.id, len(machines[a.id])) for a in chosen])
            for attempt in chosen:
                moved |= self._drive_safely(attempt, machines[attempt.id], gone[attempt.id])
            if not self._to_look_at:
                return moved

    def _chosen(self, tx: Transaction) -> list[Attempt]:
        hints = {self._hints.get_nowait() for _ in range(self._hints.qsize())}
        if None in hints or self._now_us() >= self._look_at_all_us:
            self._look_at_all_us = self._now_us() + _LOOK_AT_ALL_US
            self._to_look_at = [a.id for a in tx.attempts.active(created=False)]
        batch, self._to_look_at = self._to_look_at[:_BATCH], self._to_look_at[_BATCH:]
        looked = (a for a in map(tx.attempts.look, {*filter(None, hints), *batch}) if a is not None)
        found = {a.id: a for a in (*looked, *tx.attempts.to_stop())}
        return [a for a in found.values() if not a.state.is_terminal and a.state is not AttemptState.CREATED]

    def _drive_safely(self, attempt: Attempt, machines: Sequence[AttemptMachine], lost: frozenset[int]) -> bool:
        try:
            return self._drive(attempt, machines, lost)
        except Exception:  # one broken attempt must not hold up all others
            log.exception("cannot drive an attempt", attempt=attempt.id)
            return False

    def _drive(self, attempt: Attempt, machines: Sequence[AttemptMachine], lost: frozenset[int]) -> bool:
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            exits = tx.attempts.exits(attempt.id, attempt.generation)
        runs_now = _runs_now(attempt, experiment, machines)
        move = decide(attempt, machines, exits, lost=lost, stop_reason=experiment.stop_requested)
        if move is None and not runs_now:
            return False
        if move is not None and move.outcome == "lost" and attempt.state is not AttemptState.RUNNING:
            words = self._engine.last_words(attempt.id, min(lost))  # what kept it from saying hello
            move = dataclasses.replace(move, reason=f"{move.reason}: {words}") if words else move
        with self._database.transaction() as tx:
            if runs_now:
                self._mark_running(tx, experiment, attempt)
            moved = self._move(tx, attempt, move) if move is not None else None
        if moved is not None:
            self.hint(attempt.id)
            self._moved(moved)
            if moved.state.is_terminal:
                self._engine.forget(attempt.id)
                self._ended(attempt.id)
        return True

    def _move(self, tx: Transaction, attempt: Attempt, move: Move) -> Attempt | None:
        changes = {
            name: value
            for name in ("generation", "phase", "store_address", "store_port", "outcome")
            if (value := getattr(move, name)) is not None
        }
        moved = tx.attempts.move(attempt, now_us=self._now_us(), to=move.to, reason=move.reason, **changes)
        if moved is not None and moved.state.is_terminal:
            end_experiment(tx, moved, self._now_us())
        return moved

    def _mark_running(self, tx: Transaction, experiment: Experiment, attempt: Attempt) -> None:
        ranks = tx.runs.find_by_id(experiment.run_id).plan.gang.world_size
        tx.runs.move(
            experiment,
            ExperimentState.RUNNING,
            reason=f"all {ranks} ranks started" if ranks > 1 else "started",
            now_us=self._now_us(),
            attempt=attempt.number,
        )


def _runs_now(attempt: Attempt, experiment: Experiment, machines: Sequence[AttemptMachine]) -> bool:
    """Return whether an experiment that is shown as pending runs: every machine has started its ranks."""
    return (
        experiment.state is ExperimentState.PENDING
        and attempt.state is AttemptState.RUNNING
        and attempt.phase is not GenerationPhase.PREPARING
        and all(m.started >= attempt.generation for m in machines)
    )
