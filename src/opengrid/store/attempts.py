"""Attempts, their machines, and how their ranks ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, insert, select, update

from opengrid.core.errors import NotFound
from opengrid.core.records.attempts import (
    ATTEMPT_MOVES,
    Attempt,
    AttemptMachine,
    AttemptState,
    Generation,
    MachineState,
    RankExit,
)
from opengrid.core.records.experiments import Event
from opengrid.store.runs import Runs
from opengrid.store.tables import attempt_machines, attempts, checked, experiments, fields, generations, rank_exits

_OPEN = [state for state in AttemptState if not state.is_terminal]
_MOVED = frozenset({"generation", "phase", "store_address", "store_port", "outcome", "token_hash", "token_expires_us"})
_MACHINE = frozenset(c.name for c in attempt_machines.columns) - {"attempt_id", "index"}
_GENERATION = frozenset(c.name for c in generations.columns) - {"attempt_id", "number", "created_us"}


class Attempts:
    """Attempts in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, attempt: Attempt, machines: Sequence[AttemptMachine]) -> None:
        """Store an attempt with its machines."""
        self._connection.execute(insert(attempts).values(_values(attempt)))
        if machines:
            self._connection.execute(insert(attempt_machines), [_values(machine) for machine in machines])

    def find(self, id: str) -> Attempt:
        """Return the attempt with this id, or raise NotFound."""
        found = self.look(id)
        if found is None:
            raise NotFound(f"there is no attempt {id!r}")
        return found

    def look(self, id: str) -> Attempt | None:
        """Return the attempt with this id, None when it was deleted."""
        row = self._connection.execute(select(attempts).where(attempts.c.id == id)).mappings().first()
        return None if row is None else Attempt(**fields(row))

    def active(self, *, created: bool | None = None, cluster: str | None = None) -> list[Attempt]:
        """Return the attempts that have not ended, oldest first; only those not yet submitted, or all but those.

        Of all clusters, or of one.
        """
        found = select(attempts).where(attempts.c.state.in_(_OPEN)).order_by(attempts.c.created_us, attempts.c.id)
        if created is not None:
            is_created = attempts.c.state == AttemptState.CREATED
            found = found.where(is_created if created else ~is_created)
        if cluster is not None:
            found = found.where(attempts.c.cluster == cluster)
        return [Attempt(**fields(row)) for row in self._connection.execute(found).mappings()]

    def to_stop(self) -> list[Attempt]:
        """Return the attempts without an outcome whose experiments shall stop, oldest first."""
        shall_stop = select(experiments.c.id).where(experiments.c.stop_requested.is_not(None))
        found = select(attempts).where(
            attempts.c.state.in_(_OPEN), attempts.c.outcome.is_(None), attempts.c.experiment_id.in_(shall_stop)
        )
        rows = self._connection.execute(found.order_by(attempts.c.created_us, attempts.c.id)).mappings()
        return [Attempt(**fields(row)) for row in rows]

    def of_experiment(self, experiment_id: str) -> list[Attempt]:
        """Return an experiment's attempts by number."""
        found = select(attempts).where(attempts.c.experiment_id == experiment_id).order_by(attempts.c.number)
        return [Attempt(**fields(row)) for row in self._connection.execute(found).mappings()]

    def machines(self, attempt_id: str) -> list[AttemptMachine]:
        """Return an attempt's machines by index."""
        found = select(attempt_machines).where(attempt_machines.c.attempt_id == attempt_id)
        rows = self._connection.execute(found.order_by(attempt_machines.c.index)).mappings()
        return [AttemptMachine(**fields(row)) for row in rows]

    def machine(self, attempt_id: str, index: int) -> AttemptMachine:
        """Return one machine of an attempt, or raise NotFound."""
        found = select(attempt_machines).where(
            attempt_machines.c.attempt_id == attempt_id, attempt_machines.c.index == index
        )
        row = self._connection.execute(found).mappings().first()
        if row is None:
            raise _no_machine(attempt_id, index)
        return AttemptMachine(**fields(row))

    def machine_of_session(self, session_hash: str) -> AttemptMachine | None:
        """Return the machine whose agent chose the session secret with this hash."""
        found = select(attempt_machines).where(attempt_machines.c.session_hash == session_hash)
        row = self._connection.execute(found).mappings().first()
        return None if row is None else AttemptMachine(**fields(row))

    def move(
        self, attempt: Attempt, *, now_us: int, to: AttemptState | None = None, reason: str = "", **changes: object
    ) -> Attempt | None:
        """Change an attempt, with the events that say so; return it as it is then, None when it is not as it was read.

        `changes` may be generation, phase, store_address, store_port, outcome, token_hash, token_expires_us. Without a
        `reason` the former one stays. ValueError for a move that ATTEMPT_MOVES does not allow.
        """
        if to is not None and to not in ATTEMPT_MOVES[attempt.state]:
            raise ValueError(f"attempt {attempt.id} cannot move from {attempt.state.value} to {to.value}")
        values: dict[str, object] = {**checked(changes, _MOVED), "version": attempt.version + 1}
        if reason:
            values["reason"] = reason
        if to is not None:
            values["state"] = to
            if to.is_terminal:
                values["ended_us"] = now_us
        as_read = (attempts.c.id == attempt.id, attempts.c.version == attempt.version)
        if self._connection.execute(update(attempts).where(*as_read).values(values)).rowcount != 1:
            return None
        if to is not None and to.is_terminal:
            self._count(attempt.id, -attempts.c.holding, now_us)
        moved = dataclasses.replace(attempt, **values)
        for event in _events(attempt, moved, now_us, reason):
            Runs(self._connection).note(event)
        return moved

    def update_machine(self, attempt_id: str, index: int, **changes: object) -> None:
        """Change fields of a machine; NotFound when there is none such."""
        if not checked(changes, _MACHINE):
            return
        its_row = (attempt_machines.c.attempt_id == attempt_id, attempt_machines.c.index == index)
        if self._connection.execute(update(attempt_machines).where(*its_row).values(changes)).rowcount != 1:
            raise _no_machine(attempt_id, index)

    def gain_machine(self, attempt_id: str, index: int, now_us: int, **changes: object) -> None:
        """Take down that a machine's agent is here, and other changes of it: the attempt has it from now on."""
        self.update_machine(attempt_id, index, state=MachineState.PRESENT, **changes)
        self._count(attempt_id, 1, now_us)

    def lose_machine(self, attempt_id: str, index: int, now_us: int, **changes: object) -> None:
        """Take down that a machine is lost, or changes that make it one that nobody has seen yet."""
        if self.machine(attempt_id, index).state in (MachineState.PRESENT, MachineState.RELEASED):
            self._count(attempt_id, -1, now_us)
        self.update_machine(attempt_id, index, **{"state": MachineState.LOST, **changes})

    def _count(self, attempt_id: str, more: int | ColumnElement[int], now_us: int) -> None:
        """Take down that an attempt has more machines from now on, or fewer; until it ends, when it has none."""
        values = {"holding": attempts.c.holding + more, "held_us": attempts.c.held_us - now_us * more}
        self._connection.execute(update(attempts).where(attempts.c.id == attempt_id).values(values))

    def generations(self, attempt_id: str) -> list[Generation]:
        """Return an attempt's generations by number."""
        found = select(generations).where(generations.c.attempt_id == attempt_id).order_by(generations.c.number)
        return [Generation(**fields(row)) for row in self._connection.execute(found).mappings()]

    def add_generation(self, generation: Generation) -> None:
        """Remember that a generation begins."""
        self._connection.execute(insert(generations).values(_values(generation)))

    def update_generation(self, attempt_id: str, number: int, **changes: object) -> None:
        """Change fields of a generation; NotFound when there is none such."""
        its_row = (generations.c.attempt_id == attempt_id, generations.c.number == number)
        values = checked(changes, _GENERATION)
        if self._connection.execute(update(generations).where(*its_row).values(values)).rowcount != 1:
            raise NotFound(f"attempt {attempt_id!r} has no generation {number}")

    def add_exit(self, exit: RankExit) -> bool:
        """Remember how a rank ended; False when that is known: the first word counts."""
        its_row = [rank_exits.c[key] == getattr(exit, key) for key in ("attempt_id", "generation", "rank")]
        if self._connection.execute(select(rank_exits.c.rank).where(*its_row)).first() is not None:
            return False
        self._connection.execute(insert(rank_exits).values(_values(exit)))
        return True

    def exits(self, attempt_id: str, generation: int) -> list[RankExit]:
        """Return how a generation's ranks ended, by rank."""
        its_exits = (rank_exits.c.attempt_id == attempt_id, rank_exits.c.generation == generation)
        found = select(rank_exits).where(*its_exits).order_by(rank_exits.c.rank)
        return [RankExit(**fields(row)) for row in self._connection.execute(found).mappings()]


def _values(record: Attempt | AttemptMachine | RankExit | Generation) -> dict[str, object]:
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def _events(before: Attempt, after: Attempt, now_us: int, reason: str) -> list[Event]:
    """Return what to write down about a change: of the attempt's state, and of its generation or that one's phase."""
    changed: list[tuple[str, str | None, str]] = []
    if after.state is not before.state:
        changed.append(("attempt", before.state.value, after.state.value))
    if after.generation != before.generation:
        changed.append(("generation", None, after.phase.value))  # a new one comes from nowhere
    elif after.phase is not before.phase:
        changed.append(("generation", before.phase.value, after.phase.value))
    return [
        Event(
            at_us=now_us,
            experiment_id=after.experiment_id,
            attempt=after.number,
            generation=after.generation or None,
            kind=kind,
            before=left,
            after=entered,
            reason=reason,
        )
        for kind, left, entered in changed
    ]


def _no_machine(attempt_id: str, index: int) -> NotFound:
    return NotFound(f"attempt {attempt_id!r} has no machine {index}")
