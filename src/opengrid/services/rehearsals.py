"""Rehearsals: faults brought about on purpose, so that people see their training recover before they depend on it."""

from __future__ import annotations

from collections.abc import Callable

from opengrid.core.errors import Conflict, InvalidValue
from opengrid.core.protocol import Fault, Rehearsal
from opengrid.core.records.attempts import Attempt, AttemptState, GenerationPhase
from opengrid.core.records.experiments import Event, Experiment, ExperimentState
from opengrid.services.callers import Caller
from opengrid.store.database import Database, Transaction

#: More faults than these are not told to an agent that hears of them late.
_KEPT = 20

_OF_A_RANK = (Fault.KILL_RANK, Fault.HANG_RANK)


class Rehearsals:
    """Tells agents which fault to bring about. In memory only: one that a dying server forgets has not happened."""

    def __init__(self, database: Database, *, moved: Callable[[Attempt], object], now_us: Callable[[], int]) -> None:
        self._database, self._moved, self._now_us = database, moved, now_us
        self._of: dict[str, tuple[Rehearsal, ...]] = {}

    def of(self, attempt_id: str) -> tuple[Rehearsal, ...]:
        """Return the last rehearsals of an attempt's current generation, the newest last."""
        return self._of.get(attempt_id, ())

    def begin(self, name: str, fault: Fault, target: int | None, caller: Caller) -> str:
        """Rehearse a fault on a running experiment's rank or machine; return in words what happens, as its events say.

        Forbidden for another's experiment, Conflict when its ranks do not run, InvalidValue for a rank or machine that
        it does not have.
        """
        with self._database.transaction() as tx:
            experiment = tx.runs.experiment(name)
            run = tx.runs.find_by_id(experiment.run_id)
            caller.check(run.user, name)
            attempt, gang = _running(tx, experiment), run.plan.gang
            whole = gang.world_size if fault in _OF_A_RANK else gang.machines
            what = "rank" if fault in _OF_A_RANK else "machine"
            chosen = target if target is not None else whole - 1
            if not 0 <= chosen < whole:
                raise InvalidValue(f"{name} has no {what} {chosen}: 0 to {whole - 1}", field="target")
            text = f"{_said(fault).format(chosen)} (asked for by {caller.name})"
            tx.runs.note(self._event(experiment.id, attempt.number, attempt.generation, text))
            moved = None
            if fault is not Fault.KILL_SERVER:
                machine = next(p.node.machine for p in gang.ranks() if p.rank == chosen) if what == "rank" else chosen
                rehearsal = Rehearsal(
                    number=self._now_us(),
                    generation=attempt.generation,
                    fault=fault,
                    machine=machine,
                    rank=chosen if what == "rank" else None,
                )
                current = [r for r in self.of(attempt.id) if r.generation == attempt.generation]
                self._of[attempt.id] = (*current[1 - _KEPT :], rehearsal)
                moved = tx.attempts.move(attempt, now_us=self._now_us())  # a new version: agents hear of it at once
        if moved is not None:
            self._moved(moved)
        return text

    def say_that_server_is_back(self) -> None:
        """Note that a server which a rehearsal killed has begun again; once, where its experiment has not ended."""
        with self._database.read() as tx:
            lasts = tx.runs.last_rehearsals()
        killed = [last for last in lasts if last.reason.startswith(_said(Fault.KILL_SERVER))]
        if killed:
            with self._database.transaction() as tx:
                for last in killed:
                    away_s = (self._now_us() - last.at_us) / 1e6
                    text = f"rehearsal: the server is back after {away_s:.1f} s"
                    tx.runs.note(self._event(last.experiment_id, last.attempt, last.generation, text))

    def forget(self, attempt_id: str) -> None:
        """Drop what is remembered of an attempt that has ended."""
        self._of.pop(attempt_id, None)

    def _event(self, experiment_id: str, attempt: int | None, generation: int | None, text: str) -> Event:
        return Event(
            at_us=self._now_us(),
            experiment_id=experiment_id,
            attempt=attempt,
            generation=generation,
            kind="rehearsal",
            reason=text,
        )


_WORDS = {
    Fault.KILL_RANK: "rank {} is killed",
    Fault.HANG_RANK: "rank {} stands still",
    Fault.KILL_MACHINE: "machine {} dies",
    Fault.PARTITION_MACHINE: "machine {} is cut off for a while",
    Fault.PREEMPT: "machine {} is told that it goes away",
    Fault.KILL_SERVER: "the server is killed",
}


def _said(fault: Fault) -> str:
    return f"rehearsal: {_WORDS[fault]}"


def _running(tx: Transaction, experiment: Experiment) -> Attempt:
    if experiment.state is not ExperimentState.RUNNING:
        raise Conflict(
            f"{experiment.name} is {experiment.state.value}: only a running experiment can rehearse",
            hint=f"`grid status {experiment.name}` says more",
        )
    attempt = tx.attempts.of_experiment(experiment.id)[-1]
    if attempt.state is not AttemptState.RUNNING or attempt.phase is not GenerationPhase.RUNNING:
        raise Conflict(f"the ranks of {experiment.name} are being started or ended", hint="try again in a moment")
    return attempt
