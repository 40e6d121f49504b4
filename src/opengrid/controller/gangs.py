"""Drives attempts: hands them to the engine and moves them as planning.generation decides."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Mapping, Sequence

import structlog

from opengrid.controller.ending import end_experiment, find_cause
from opengrid.core.errors import GridError
from opengrid.core.gang import Plan
from opengrid.core.protocol import Restore
from opengrid.core.records.attempts import (
    Attempt,
    AttemptMachine,
    AttemptState,
    Generation,
    GenerationPhase,
    MachineState,
)
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.tokens import attempt_token
from opengrid.engines.engine import EngineAway, Engines, GangRequest, NoCapacity
from opengrid.planning.generation import Move, decide
from opengrid.planning.recovery import Later, Past, replace_within_s
from opengrid.planning.sentences import count
from opengrid.store.database import Database, Transaction

log = structlog.get_logger(__name__)

#: All attempts are looked at this often, for whatever nobody told us of …
_LOOK_AT_ALL_US = 5_000_000

#: … and so many at a time, so that what was hinted at need not wait for hundreds of others.
_BATCH = 8

#: A machine's agent that replaces a lost one may use the attempt's token for so long.
_TOKEN_LIFE_US = 10 * 60 * 1_000_000


class Gangs:
    """Stages of the controller that move attempts; `moved` hears of each attempt that moved.

    `keep_records` writes down what experiments are that start.
    """

    def __init__(
        self,
        database: Database,
        engines: Engines,
        *,
        secret: str,
        find_restore: Callable[[Attempt], Restore],
        keep_records: Callable[[Sequence[Experiment]], None],
        moved: Callable[[Attempt], object],
        ended: Callable[[str], None],
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._engines, self._secret = database, engines, secret
        self._find_restore, self._moved, self._ended, self._now_us = find_restore, moved, ended, now_us
        self._keep_records = keep_records
        self._hints: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._to_kill: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._look_at_all_us = 0
        self._to_look_at: list[str] = []
        self._later: dict[str, int] = {}  #: when attempts that wait are to be looked at, whatever happens
        self._replaced: set[tuple[str, int]] = set()  #: (attempt, generation) whose lost machines were started anew

    def submit(self) -> bool:
        """Hand created attempts to the engine. A crash in between is harmless: submitting is idempotent."""
        with self._database.read() as tx:
            created = tx.attempts.active(created=True)
        handed_over = [self._submit(attempt) for attempt in created]
        return any(handed_over)

    def _submit(self, attempt: Attempt) -> bool:
        """Hand an attempt over; False when its engine does not answer: it is tried again, unless it shall stop."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            plan = tx.runs.find_by_id(experiment.run_id).plan
            machines = tx.attempts.machines(attempt.id)
        here = f"{count(len(machines), 'agent')} started"
        reason = here if attempt.cluster == LOCAL_CLUSTER else f"handed over to {attempt.cluster}"
        to, outcome = AttemptState.SUBMITTED, None
        try:
            engine = self._engines.of(attempt.cluster)
            engine.submit(engine.render(self._request(attempt, plan, machines)))
        except EngineAway as error:
            if experiment.stop_requested is None:
                return self._say_away(experiment, error.message)
            to, reason = AttemptState.STOPPED, experiment.stop_requested
        except NoCapacity as error:
            to, reason, outcome = AttemptState.LOST, str(error), "requeued"
        except GridError as error:
            log.warning("submit failed", attempt=attempt.id, error=error.message)
            to, reason = AttemptState.FAILED, error.message
        self._keep_records([experiment])  # while the agents start
        with self._database.transaction() as tx:
            moved = tx.attempts.move(attempt, now_us=self._now_us(), to=to, reason=reason)
            if moved is not None and outcome == "requeued":
                current = tx.runs.experiment_by_id(experiment.id)
                tx.runs.move(current, ExperimentState.QUEUED, reason=reason, now_us=self._now_us())
            elif moved is not None and to.is_terminal:
                end_experiment(tx, moved, self._now_us())
        return True

    def _say_away(self, experiment: Experiment, why: str) -> bool:
        if experiment.reason != why:
            with self._database.transaction() as tx:
                tx.runs.set_reason(experiment.id, why)
        return False

    def _request(self, attempt: Attempt, plan: Plan, machines: Sequence[AttemptMachine]) -> GangRequest:
        return GangRequest(
            attempt_id=attempt.id,
            gang=plan.gang,
            devices=tuple(m.devices for m in machines),
            bundles=plan.bundles,
            token=attempt_token(self._secret, attempt.id),
        )

    def hint(self, attempt_id: str | None = None) -> None:
        """Say that something about an attempt may have changed; None: about any. Callable from any thread."""
        self._hints.put(attempt_id)

    def kill(self, attempt_id: str) -> None:
        """Have an attempt's agents killed, because somebody says so: they may be hung. Callable from any thread.

        In memory only: who wants it still after a crash of the server says it again.
        """
        self._to_kill.put(attempt_id)
        self.hint(attempt_id)

    def drive(self) -> bool:
        """Move the attempts whose facts allow it, once; what a snapshot says is applied only if it still holds.

        Looks at those that were hinted at and those that shall stop, and at all of them every few seconds: a lost hint
        costs time, nothing else.
        """
        moved = False
        for attempt_id in {self._to_kill.get_nowait() for _ in range(self._to_kill.qsize())}:
            self._kill_now(attempt_id)
        while True:
            with self._database.read() as tx:
                chosen = self._chosen(tx)
                machines = {a.id: tx.attempts.machines(a.id) for a in chosen}
            not_yet = {a.id: self._replace(a, machines[a.id]) for a in chosen}
            gone = self._gone(chosen, machines)
            for attempt in chosen:
                moved |= self._drive_safely(attempt, machines[attempt.id], gone[attempt.id] - not_yet[attempt.id])
            if not self._to_look_at:
                return moved

    def _kill_now(self, attempt_id: str) -> None:
        try:
            with self._database.read() as tx:
                attempt, machines = tx.attempts.find(attempt_id), tx.attempts.machines(attempt_id)
            self._engines.of(attempt.cluster).cancel(attempt_id, len(machines))
        except GridError as error:  # of one engine; the others' attempts must not wait for it
            log.warning("cannot kill the agents of an attempt", attempt=attempt_id, error=error.message)

    def _gone(
        self, chosen: Sequence[Attempt], machines: Mapping[str, Sequence[AttemptMachine]]
    ) -> dict[str, frozenset[int]]:
        """Ask each engine about all of its attempts at once."""
        gone: dict[str, frozenset[int]] = {}
        for cluster in {attempt.cluster for attempt in chosen}:
            theirs = [(a.id, len(machines[a.id])) for a in chosen if a.cluster == cluster]
            gone.update(self._engines.of(cluster).gone(theirs))
        return gone

    def _chosen(self, tx: Transaction) -> list[Attempt]:
        hints = {self._hints.get_nowait() for _ in range(self._hints.qsize())}
        if None in hints or self._now_us() >= self._look_at_all_us:
            self._look_at_all_us = self._now_us() + _LOOK_AT_ALL_US
            self._to_look_at = [a.id for a in tx.attempts.active(created=False)]
        due = {id for id, at_us in self._later.items() if self._now_us() >= at_us}
        self._later = {id: at_us for id, at_us in self._later.items() if id not in due}
        batch, self._to_look_at = self._to_look_at[:_BATCH], self._to_look_at[_BATCH:]
        looked = (a for a in map(tx.attempts.look, {*filter(None, hints), *due, *batch}) if a is not None)
        found = {a.id: a for a in (*looked, *tx.attempts.to_stop())}
        return [a for a in found.values() if not a.state.is_terminal and a.state is not AttemptState.CREATED]

    def _drive_safely(self, attempt: Attempt, machines: Sequence[AttemptMachine], lost: frozenset[int]) -> bool:
        try:
            return self._drive(attempt, machines, lost)
        except Exception:  # one broken attempt must not hold up all others
            log.exception("cannot drive an attempt", attempt=attempt.id)
            return False

    def _replace(self, attempt: Attempt, machines: Sequence[AttemptMachine]) -> frozenset[int]:
        """Start the agents that replace lost ones; return the machines for which that cannot be done now.

        A crash in between is harmless: the second copy of an agent ends by itself.
        """
        missing = frozenset(m.index for m in machines if m.state is MachineState.WAITING)
        key = (attempt.id, attempt.generation)
        if attempt.state is not AttemptState.RUNNING or not missing or key in self._replaced:
            return frozenset()
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            plan = tx.runs.find_by_id(experiment.run_id).plan
        engine = self._engines.of(attempt.cluster)
        submission = engine.render(self._request(attempt, plan, machines))
        agents = tuple(agent for agent in submission.agents if agent.machine in missing)
        try:
            engine.submit(dataclasses.replace(submission, agents=agents))
        except GridError as error:  # tried again in later passes, until the generation's time for it is over
            log.warning("cannot replace machines", attempt=attempt.id, machines=sorted(missing), error=error.message)
            return missing
        self._replaced.add(key)
        return frozenset()

    def _drive(self, attempt: Attempt, machines: Sequence[AttemptMachine], lost: frozenset[int]) -> bool:
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            run = tx.runs.find_by_id(experiment.run_id)
            exits = tx.attempts.exits(attempt.id, attempt.generation)
            past = _past(tx, run, attempt)
        engine = self._engines.of(attempt.cluster)
        if lost and attempt.phase is GenerationPhase.ENDED:
            past = dataclasses.replace(
                past, is_new_boot=engine.is_new_boot(attempt.id), is_over=engine.is_over(attempt.id)
            )
        if lost and attempt.state is not AttemptState.RUNNING:
            past = dataclasses.replace(past, cannot_start=engine.cannot_start(attempt.id))
        started = _all_started(attempt, machines, past)
        now = self._now_us()
        move = decide(attempt, machines, exits, lost=lost, stop_reason=experiment.stop_requested, past=past, now_us=now)
        if isinstance(move, Later):
            self._later[attempt.id], move = move.at_us, None
        if move is None and not started:
            return False
        is_unsaid = lost and attempt.state is not AttemptState.RUNNING and not any(m.broken for m in machines)
        if move is not None and is_unsaid and move.to is AttemptState.ENDING:
            words = engine.last_words(attempt.id, min(lost))  # what kept it from saying hello
            move = dataclasses.replace(move, reason=f"{move.reason}: {words}") if words else move
        restores = move is not None and move.changes.get("phase") is GenerationPhase.RESTORING
        restore = self._find_restore(attempt) if restores else None  # reads files: not inside a transaction
        with self._database.transaction() as tx:
            if started:
                self._mark_started(tx, run, experiment, attempt)
            if restore is not None:  # with the move: agents ask for it as soon as they hear of that
                tx.attempts.update_generation(attempt.id, attempt.generation, restore=restore)
            moved = self._move(tx, run, attempt, move) if move is not None else None
        if moved is not None:
            self._follow_up(moved)
        return True

    def _follow_up(self, moved: Attempt) -> None:
        self.hint(moved.id)
        self._moved(moved)
        if moved.state.is_terminal:
            self._engines.of(moved.cluster).forget(moved.id)
            self._ended(moved.id)
            self._later.pop(moved.id, None)
            self._replaced = {key for key in self._replaced if key[0] != moved.id}

    def _move(self, tx: Transaction, run: Run, attempt: Attempt, move: Move) -> Attempt | None:
        now = self._now_us()
        changes = dict(move.changes)
        if move.replace:
            changes["token_expires_us"] = now + _TOKEN_LIFE_US
        ends = changes.get("phase") is GenerationPhase.ENDED
        cause = find_cause(tx, run, attempt, move) if ends else None
        reason = cause.summary if cause is not None else move.reason
        moved = tx.attempts.move(attempt, now_us=now, to=move.to, reason=reason, **changes)
        if moved is None:
            return None
        if ends:
            tx.attempts.update_generation(moved.id, moved.generation, ended_us=now, cause=cause)
        if moved.state is AttemptState.RUNNING and moved.phase in _BETWEEN:
            tx.runs.set_reason(attempt.experiment_id, f"{_BETWEEN[moved.phase]}: {reason}")
        for index in move.lost:
            tx.attempts.lose_machine(attempt.id, index, now)
        for index in move.replace:
            tx.attempts.lose_machine(attempt.id, index, now, **_ANEW, ended=attempt.generation)
        if moved.generation != attempt.generation:
            tx.attempts.add_generation(Generation(attempt_id=moved.id, number=moved.generation, created_us=now))
            if moved.generation > 1:
                tx.runs.set_reason(attempt.experiment_id, f"starts again: {move.reason}")
        if moved.state.is_terminal:
            end_experiment(tx, moved, now)
        return moved

    def _mark_started(self, tx: Transaction, run: Run, experiment: Experiment, attempt: Attempt) -> None:
        now, ranks = self._now_us(), run.plan.gang.world_size
        tx.attempts.update_generation(attempt.id, attempt.generation, started_us=now)
        reason = f"all {ranks} ranks started" if ranks > 1 else "started"
        if experiment.state is ExperimentState.PENDING:
            tx.runs.move(experiment, ExperimentState.RUNNING, reason=reason, now_us=now, attempt=attempt.number)
        else:
            tx.runs.set_reason(experiment.id, f"{reason} for the {_ordinal(attempt.generation)} time")


#: A machine of which nothing is left but its place in the gang.
_ANEW: dict[str, object] = {
    "state": MachineState.WAITING,
    "session_hash": None,
    "facts_seen": 0,
    "prepared": 0,
    "restored": 0,
    "started": 0,
    "broken": None,
    "is_retryable": False,
    "preempted": False,
}


#: What is said of an experiment whose ranks do not run.
_BETWEEN = {
    GenerationPhase.STOPPING: "its ranks are being ended",
    GenerationPhase.ENDED: "about to start again, or to end",
}


def _all_started(attempt: Attempt, machines: Sequence[AttemptMachine], past: Past) -> bool:
    """Return whether every machine has started the generation's ranks, and nobody wrote it down yet."""
    return (
        attempt.state is AttemptState.RUNNING
        and attempt.phase in (GenerationPhase.RUNNING, GenerationPhase.STOPPING)
        and past.generations[-1].started_us is None
        and all(m.started >= attempt.generation for m in machines)
    )


def _past(tx: Transaction, run: Run, attempt: Attempt) -> Past:
    earlier = tx.attempts.of_experiment(attempt.experiment_id) if attempt.number > 1 else []
    return Past(
        max_restarts=run.spec.max_restarts,
        replace_s=replace_within_s(tx.clusters.look(attempt.cluster)),
        auto_resume=run.spec.auto_resume,
        generations=tuple(tx.attempts.generations(attempt.id)),
        lost_attempts=sum(a.outcome == "lost" and (a.generation == 0 or a.cluster != LOCAL_CLUSTER) for a in earlier),
    )


def _ordinal(number: int) -> str:
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
