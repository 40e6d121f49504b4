"""Runs, their experiments, and what happened to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Table,
    case,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.gang import Plan
from opengrid.core.names import split_experiment_name
from opengrid.core.records.experiments import EXPERIMENT_MOVES, Event, Experiment, ExperimentState, RootCause, Run
from opengrid.store.run_list import ALL_RUNS, NEWEST, OPEN, WAITING, RunFilter, matching, order
from opengrid.store.tables import all_fields, attempt_machines, attempts, events, experiments, fields, run_labels, runs

#: How many of the newest names are searched for one that resembles a name that does not exist.
_SEARCHED = 1000


class Runs:
    """Runs and experiments in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, run: Run, experiments: Sequence[Experiment], now_us: int) -> None:
        """Store a run with its experiments and their first events; Conflict when its name is taken."""
        if self.taken(run.name):
            raise Conflict(
                f"there is already a run named {run.name}",
                hint="choose another --name, or `grid delete run` the old one",
                field="name",
            )
        self._connection.execute(
            insert(runs).values(
                id=run.id, name=run.name, user=run.user, spec=run.spec, plan=run.plan, created_us=run.created_us
            )
        )
        if run.spec.labels:
            rows = [{"run_id": run.id, "key": key, "value": value} for key, value in run.spec.labels.items()]
            self._connection.execute(insert(run_labels), rows)
        if experiments:
            self._add(experiments, now_us)

    def find(self, name: str, *, is_counted: bool = True) -> Run:
        """Return the run with this name, with or without counting its experiments; NotFound offers names like it."""
        found = self._runs(select(runs).where(runs.c.name == name), is_counted=is_counted)
        if not found:
            close = self._names_like(name, runs)
            raise NotFound(f"there is no run named {name!r}", hint=_offer(close, "see `grid history`"), field="run")
        return found[0]

    def find_by_id(self, id: str, *, is_counted: bool = True) -> Run:
        """Return the run with this id, with or without counting its experiments, or raise NotFound."""
        found = self._runs(select(runs).where(runs.c.id == id), is_counted=is_counted)
        if not found:
            raise NotFound(f"there is no run with the id {id!r}")
        return found[0]

    def set_plan(self, id: str, plan: Plan) -> None:
        """Keep what turned out about a run's plan."""
        self._connection.execute(update(runs).where(runs.c.id == id).values(plan=plan))

    def taken(self, name: str) -> bool:
        """Return whether a run has this name."""
        return self._connection.execute(select(runs.c.id).where(runs.c.name == name)).first() is not None

    def list(self, chosen: RunFilter = ALL_RUNS, *, sort: str = NEWEST, limit: int = 100, offset: int = 0) -> list[Run]:
        """Return a page of the runs that are chosen. `sort` is one of SORTS, with `-` in front for the other way."""
        page = select(runs).where(*matching(chosen)).order_by(*order(sort)).limit(limit).offset(offset)
        return self._runs(page)

    def count(self, chosen: RunFilter = ALL_RUNS) -> int:
        """Return how many runs list() has in all."""
        counted = select(func.count()).select_from(runs).where(*matching(chosen))
        return self._connection.execute(counted).scalar_one()

    def users(self, limit: int) -> list[str]:
        """Return who has runs, those with most first."""
        most = select(runs.c.user).group_by(runs.c.user).order_by(func.count().desc(), runs.c.user).limit(limit)
        return list(self._connection.execute(most).scalars())

    def labels(self, limit: int) -> list[tuple[str, str]]:
        """Return the labels that runs have, those of most runs first."""
        pairs = select(run_labels.c.key, run_labels.c.value).group_by(run_labels.c.key, run_labels.c.value)
        most = pairs.order_by(func.count().desc(), run_labels.c.key, run_labels.c.value).limit(limit)
        return [(key, value) for key, value in self._connection.execute(most)]

    def experiments(self, run_id: str, *, limit: int | None = None) -> list[Experiment]:
        """Return a run's experiments by index, all or the first ones."""
        chosen = _EXPERIMENT.where(experiments.c.run_id == run_id).order_by(experiments.c.index)
        return self._experiments(chosen.limit(limit))

    def experiment(self, name: str) -> Experiment:
        """Return the experiment with this name; NotFound offers names like it."""
        found = self._experiments(_EXPERIMENT.where(experiments.c.name == name))
        if not found:
            raise self._no_experiment(name)
        return found[0]

    def has_experiment(self, name: str) -> bool:
        """Return whether an experiment has this name."""
        return self._connection.execute(select(experiments.c.id).where(experiments.c.name == name)).first() is not None

    def experiment_by_id(self, id: str) -> Experiment:
        """Return the experiment with this id, or raise NotFound."""
        found = self._experiments(_EXPERIMENT.where(experiments.c.id == id))
        if not found:
            raise NotFound(f"there is no experiment with the id {id!r}")
        return found[0]

    def span(self, run_id: str) -> tuple[int | None, int | None]:
        """Return when the first experiment of a run began to run, and when the last ended; None: not yet."""
        open_ones = func.count(case((experiments.c.state.in_(OPEN), 1)))
        asked = select(func.min(experiments.c.started_us), func.max(experiments.c.ended_us), open_ones)
        started, ended, still_open = self._connection.execute(asked.where(experiments.c.run_id == run_id)).one()
        return started, None if still_open else ended

    def held_us(self, run_id: str, now_us: int) -> int:
        """Return how long all experiments of a run have had machines so far, each counted for itself."""
        held = select(func.coalesce(func.sum(attempts.c.held_us + attempts.c.holding * now_us), 0))
        return int(self._connection.execute(held.join(experiments).where(experiments.c.run_id == run_id)).scalar_one())

    def pulse(self) -> dict[str, tuple[object, ...]]:
        """Return, of each run that is active, what changes when its row does. Reads no documents: it is asked often."""
        going = select(experiments.c.run_id).where(experiments.c.state.in_(OPEN)).distinct()
        by_state = select(experiments.c.run_id, experiments.c.state, func.count(), func.sum(experiments.c.version))
        grouped = by_state.where(experiments.c.run_id.in_(going)).group_by(experiments.c.run_id, experiments.c.state)
        found: dict[str, tuple[object, ...]] = {}
        for id, state, number, versions in self._connection.execute(grouped.order_by(experiments.c.state)):
            found[id] = (*found.get(id, ()), state, number, versions)
        waiting = self._waiting(list(found))
        return {id: (*seen, waiting.get(id)) for id, seen in found.items()}

    def experiments_pulse(self, run_id: str) -> dict[str, tuple[object, ...]]:
        """Return, of each of a run's experiments, what changes when its row does."""
        columns = ("version", "reason", "stop_requested", "attempts", "generations")
        of_run = _EXPERIMENT.where(experiments.c.run_id == run_id).subquery()
        seen = select(of_run.c.id, *(of_run.c[name] for name in columns))
        return {id: tuple(rest) for id, *rest in self._connection.execute(seen)}

    def experiment_pulse(self, id: str) -> tuple[object, ...]:
        """Return what changes whenever anything about an experiment does; () when it does not exist."""
        of_it = attempts.c.experiment_id == id
        seen = select(
            experiments.c.version,
            experiments.c.reason,
            experiments.c.stop_requested,
            select(func.max(events.c.sequence)).where(events.c.experiment_id == id).scalar_subquery(),
            select(func.sum(attempts.c.version)).where(of_it).scalar_subquery(),
            select(func.sum(attempt_machines.c.facts_seen)).join(attempts).where(of_it).scalar_subquery(),
        )
        row = self._connection.execute(seen.where(experiments.c.id == id)).first()
        return () if row is None else tuple(row)

    def some(self, ids: Collection[str]) -> list[Run]:
        """Return those of these runs that exist, newest first."""
        newest_first = select(runs).where(runs.c.id.in_(ids)).order_by(runs.c.created_us.desc(), runs.c.id.desc())
        return self._runs(newest_first)

    def some_experiments(self, ids: Collection[str]) -> list[Experiment]:
        """Return those of these experiments that exist, by index."""
        return self._experiments(_EXPERIMENT.where(experiments.c.id.in_(ids)).order_by(experiments.c.index))

    def experiments_in(self, states: Collection[ExperimentState]) -> list[Experiment]:
        """Return the experiments in any of these states, oldest first."""
        return self._experiments(_EXPERIMENT.where(experiments.c.state.in_(states)).order_by(*_OLDEST_FIRST))

    def active_run_ids(self) -> set[str]:
        """Return the ids of the runs that have an experiment which has not ended."""
        active = select(experiments.c.run_id).where(experiments.c.state.in_(OPEN)).distinct()
        return set(self._connection.execute(active).scalars())

    def queue(self, *, limit: int, offset: int) -> list[Experiment]:
        """Return a page of the experiments that wait for machines, oldest first."""
        waiting = _EXPERIMENT.where(experiments.c.state == ExperimentState.QUEUED).order_by(*_OLDEST_FIRST)
        return self._experiments(waiting.limit(limit).offset(offset))

    def queue_length(self) -> int:
        """Return how many experiments wait for machines."""
        counted = select(func.count()).select_from(experiments).where(experiments.c.state == ExperimentState.QUEUED)
        return self._connection.execute(counted).scalar_one()

    def stop_requested(self, states: Sequence[ExperimentState] = OPEN) -> list[Experiment]:
        """Return the experiments in these states, all that have not ended, that shall stop; oldest first."""
        asked = _EXPERIMENT.where(experiments.c.state.in_(states), experiments.c.stop_requested.is_not(None))
        return self._experiments(asked.order_by(*_OLDEST_FIRST))

    def move(
        self,
        experiment: Experiment,
        to: ExperimentState,
        *,
        reason: str,
        now_us: int,
        exit_code: int | None = None,
        root_cause: RootCause | None = None,
        attempt: int | None = None,
    ) -> bool:
        """Move an experiment to another state, with the event that says so; False when it is not as it was read.

        ValueError for a move that EXPERIMENT_MOVES does not allow. A request to stop survives a return to the queue,
        unless the experiment had ended: then it is tried again from the start.
        """
        if to not in EXPERIMENT_MOVES[experiment.state]:
            raise ValueError(f"{experiment.name} cannot move from {experiment.state.value} to {to.value}")
        values: dict[str, object] = {"state": to, "version": experiment.version + 1, "reason": reason}
        if to is ExperimentState.RUNNING:
            values["started_us"] = func.coalesce(experiments.c.started_us, now_us)
        if to.is_terminal:
            values.update(ended_us=now_us, exit_code=exit_code, root_cause=root_cause)
        if to is ExperimentState.QUEUED:
            values.update(ended_us=None, exit_code=None, root_cause=None)
            if experiment.state.is_terminal:
                values.update(stop_requested=None, started_us=None)
        as_read = (
            experiments.c.id == experiment.id,
            experiments.c.state == experiment.state,
            experiments.c.version == experiment.version,
        )
        moved = self._connection.execute(update(experiments).where(*as_read).values(values)).rowcount == 1
        if moved:
            self.note(_state_event(experiment, experiment.state, to, now_us=now_us, reason=reason, attempt=attempt))
        return moved

    def set_reason(self, experiment_id: str, reason: str) -> None:
        """Say why an experiment waits: no move, no event, and no write when it is said already."""
        changed = (experiments.c.id == experiment_id, experiments.c.reason != reason)
        self._connection.execute(update(experiments).where(*changed).values(reason=reason))

    def request_stop(self, experiment_id: str, reason: str, now_us: int) -> bool:
        """Remember that an experiment shall stop, and why; False when it has ended or was asked before."""
        going = (
            experiments.c.id == experiment_id,
            experiments.c.state.in_(OPEN),
            experiments.c.stop_requested.is_(None),
        )
        asked = self._connection.execute(update(experiments).where(*going).values(stop_requested=reason)).rowcount == 1
        if asked:
            self.note(Event(at_us=now_us, experiment_id=experiment_id, reason=f"stop requested: {reason}"))
        return asked

    def note(self, event: Event) -> None:
        """Add an event."""
        self._note_all([event])

    def events(self, experiment_id: str) -> list[Event]:
        """Return what happened to an experiment, in order."""
        return self._events(events.c.experiment_id == experiment_id)

    def last_rehearsals(self) -> list[Event]:
        """Return the newest rehearsal of each experiment that has not ended, in order."""
        rehearsed = select(func.max(events.c.sequence)).join(experiments).group_by(events.c.experiment_id)
        going = rehearsed.where(events.c.kind == "rehearsal", experiments.c.state.in_(OPEN))
        return self._events(events.c.sequence.in_(going))

    def delete_experiment(self, id: str) -> None:
        """Remove an experiment with its attempts, exits and events. Its run stays, even empty."""
        self._connection.execute(delete(experiments).where(experiments.c.id == id))

    def delete_run(self, id: str) -> None:
        """Remove a run with everything below it."""
        self._connection.execute(delete(runs).where(runs.c.id == id))

    def _add(self, members: Sequence[Experiment], now_us: int) -> None:
        columns = [c.name for c in experiments.columns]
        self._connection.execute(insert(experiments), [{c: getattr(e, c) for c in columns} for e in members])
        self._note_all([_state_event(e, None, e.state, now_us=now_us, reason=e.reason) for e in members])

    def _runs(self, query: Executable, *, is_counted: bool = True) -> list[Run]:
        rows = self._connection.execute(query).mappings().all()
        if not is_counted:
            return [Run(**fields(row)) for row in rows]
        counts: dict[str, dict[ExperimentState, int]] = {row["id"]: {} for row in rows}
        if counts:
            by_state = select(experiments.c.run_id, experiments.c.state, func.count())
            grouped = by_state.where(experiments.c.run_id.in_(counts)).group_by(
                experiments.c.run_id, experiments.c.state
            )
            for run_id, state, number in self._connection.execute(grouped):
                counts[run_id][state] = number
        waiting = self._waiting([id for id, of_run in counts.items() if any(state in of_run for state in WAITING)])
        return [Run(**fields(row), counts=counts[row["id"]], waiting=waiting.get(row["id"])) for row in rows]

    def _waiting(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Return why the oldest waiting experiment of each run waits."""
        if not run_ids:
            return {}
        its_waiting = (experiments.c.run_id.in_(run_ids), experiments.c.state.in_(WAITING))
        oldest = select(experiments.c.run_id, func.min(experiments.c.index).label("index")).where(*its_waiting)
        first = oldest.group_by(experiments.c.run_id).subquery()
        its_row = (experiments.c.run_id == first.c.run_id) & (experiments.c.index == first.c.index)
        found = select(experiments.c.run_id, experiments.c.reason).join(first, its_row)
        return {id: reason for id, reason in self._connection.execute(found) if reason}

    def _experiments(self, query: Executable) -> list[Experiment]:
        return [Experiment(**row) for row in all_fields(self._connection.execute(query))]

    def _events(self, wanted: ColumnElement[bool]) -> list[Event]:
        columns = [c for c in events.columns if c.name != "sequence"]
        found = select(*columns).where(wanted).order_by(events.c.sequence)
        return [Event(**fields(row)) for row in self._connection.execute(found).mappings()]

    def _note_all(self, noted: Sequence[Event]) -> None:
        columns = [c.name for c in events.columns if c.name != "sequence"]
        self._connection.execute(insert(events), [{c: getattr(e, c) for c in columns} for e in noted])

    def _no_experiment(self, name: str) -> NotFound:
        """Return the error for a name that no experiment has; often it is a run's, or its index is too high."""
        split = split_experiment_name(name)
        run = split[0] if split else name
        first = select(experiments.c.name).join(runs).where(runs.c.name == run).order_by(experiments.c.index)
        close = list(self._connection.execute(first.limit(3)).scalars()) or self._names_like(name, experiments)
        return NotFound(
            f"there is no experiment named {name!r}", hint=_offer(close, "see `grid status`"), field="experiment"
        )

    def _names_like(self, name: str, table: Table) -> list[str]:
        newest = select(table.c.name).order_by(table.c.created_us.desc()).limit(_SEARCHED)
        return get_close_matches(name, self._connection.execute(newest).scalars().all())


_OLDEST_FIRST = (experiments.c.created_us, experiments.c.index, experiments.c.id)

_OF_EXPERIMENT = attempts.c.experiment_id == experiments.c.id
_EXPERIMENT = select(
    experiments,
    select(func.count()).select_from(attempts).where(_OF_EXPERIMENT).scalar_subquery().label("attempts"),
    select(func.coalesce(func.sum(attempts.c.generation), 0))
    .where(_OF_EXPERIMENT)
    .scalar_subquery()
    .label("generations"),
    *(
        # PostgreSQL's sum of 64-bit numbers is a decimal one.
        select(cast(func.coalesce(func.sum(column), 0), BigInteger))
        .where(_OF_EXPERIMENT)
        .scalar_subquery()
        .label(column.name)
        for column in (attempts.c.holding, attempts.c.held_us)
    ),
)


def _state_event(
    experiment: Experiment,
    before: ExperimentState | None,
    after: ExperimentState,
    *,
    now_us: int,
    reason: str,
    attempt: int | None = None,
) -> Event:
    return Event(
        at_us=now_us,
        experiment_id=experiment.id,
        attempt=attempt,
        kind="state",
        before=before.value if before else None,
        after=after.value,
        reason=reason,
    )


def _offer(close: Sequence[str], otherwise: str) -> str:
    return f"did you mean {' or '.join(close)}?" if close else otherwise
