"""What becomes of each fact that an agent tells."""

from __future__ import annotations

from opengrid.core.protocol import (
    Broken,
    Ended,
    Exited,
    Fact,
    Preempted,
    Prepared,
    Released,
    Restored,
    Started,
    Unsaved,
    Waits,
)
from opengrid.core.records.attempts import Attempt, AttemptMachine, MachineState, RankExit
from opengrid.core.records.experiments import Event
from opengrid.planning.sentences import count
from opengrid.store.database import Transaction


def apply_fact(
    tx: Transaction, attempt: Attempt, machine: AttemptMachine, fact: Fact, *, skew_ns: int, now_us: int
) -> None:
    """Take a fact down; `skew_ns` is how far the machine's clock is behind ours."""

    def update(**changes: object) -> None:
        tx.attempts.update_machine(attempt.id, machine.index, **changes)

    def note(generation: int, text: str, kind: str = "launch") -> None:
        tx.runs.note(_event(attempt, machine, generation, text, kind, now_us))

    if isinstance(fact, Prepared):
        update(prepared=fact.generation, store_port=fact.store_port, broken=None, is_retryable=False)
        note(fact.generation, f"prepared; {fact.launch_reason}")
    elif isinstance(fact, Waits):
        note(fact.generation, fact.reason)
        tx.runs.set_reason(attempt.experiment_id, f"machine {machine.index} {fact.reason}")
    elif isinstance(fact, Restored):
        update(restored=fact.generation)
        for text in fact.notes:
            note(fact.generation, text)
    elif isinstance(fact, Started):
        update(started=fact.generation)
        how = f"as ordinary processes: {fact.launch_reason}" if fact.launch == "exec" else "by fork of the template"
        note(fact.generation, f"{count(len(fact.pids), 'rank')} started {how}")
    elif isinstance(fact, Exited):
        tx.attempts.add_exit(_exit(attempt, fact, skew_ns))
    elif isinstance(fact, Ended):
        update(ended=fact.generation, **({} if fact.met is None else {"met": fact.met}))
        if fact.last_step is not None:
            steps = {"first_step": fact.first_step, "last_step": fact.last_step}
            tx.attempts.update_generation(attempt.id, fact.generation, **steps)
    elif isinstance(fact, Broken):
        update(broken=fact.message, is_retryable=fact.is_retryable, ended=fact.generation)
        note(fact.generation, fact.message)
    elif isinstance(fact, Preempted):
        update(preempted=True)
        note(attempt.generation, "told by SIGTERM that it goes away")
    elif isinstance(fact, Unsaved):
        note(attempt.generation, _unsaved_text(fact), kind="artifacts")
    elif isinstance(fact, Released):  # pyright: ignore[reportUnnecessaryIsInstance] - the wire may bring newer kinds
        update(state=MachineState.RELEASED)


def _event(attempt: Attempt, machine: AttemptMachine, generation: int, text: str, kind: str, now_us: int) -> Event:
    return Event(
        at_us=now_us,
        experiment_id=attempt.experiment_id,
        attempt=attempt.number,
        generation=generation,
        kind=kind,
        reason=f"machine {machine.index}: {text}",
    )


def _unsaved_text(fact: Unsaved) -> str:
    files = "1 file was not saved" if fact.total == 1 else f"{fact.total} files were not saved"
    more = f" and {fact.total - len(fact.files)} more" if fact.total > len(fact.files) else ""
    return f"{files}: {', '.join(f'{_short(file.path)!r} ({file.reason})' for file in fact.files)}{more}"


def _short(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:60]}…{path[-30:]}"


def _exit(attempt: Attempt, fact: Exited, skew_ns: int) -> RankExit:
    return RankExit(
        attempt_id=attempt.id,
        generation=fact.generation,
        rank=fact.rank,
        exit_code=fact.exit_code,
        at_ns=fact.at_ns + skew_ns,
        exception=fact.exception,
        frame=fact.frame,
        log_tail=fact.log_tail,
        peak_mib=fact.peak_mib,
        available_mib=fact.available_mib,
        oom_killed=fact.oom_killed,
    )
