"""Which runs a list shows, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import JSON, ColumnElement, UnaryExpression, exists, func, or_, select, type_coerce

from opengrid.core.errors import InvalidValue
from opengrid.core.records.experiments import ExperimentState
from opengrid.store.tables import experiments, run_labels, runs

#: States of experiments that have not ended, and of those that wait.
OPEN = [state for state in ExperimentState if not state.is_terminal]
WAITING = [ExperimentState.QUEUED, ExperimentState.BUILDING, ExperimentState.PENDING]

#: The five counts of a run: together they are all its experiments.
STATE_GROUPS: dict[str, tuple[ExperimentState, ...]] = {
    "queued": tuple(WAITING),
    "running": (ExperimentState.RUNNING,),
    "completed": (ExperimentState.SUCCEEDED,),
    "stopped": (ExperimentState.STOPPED,),
    "failed": (ExperimentState.FAILED,),
}

_SORT_COLUMNS: dict[str, ColumnElement[Any]] = {
    "created_at": runs.c.created_us,
    "run": runs.c.name,
    "user": runs.c.user,
}

#: What runs can be sorted by.
SORTS = (*_SORT_COLUMNS, "experiments", *STATE_GROUPS)
NEWEST = "-created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs somebody wants; all conditions hold together."""

    active: bool | None = None  #: whether they have an experiment that has not ended
    user: str | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])  #: None: with any value
    search: str = ""  #: words, each of which is in the name, user, description, script or a label
    states: tuple[ExperimentState, ...] = ()  #: that at least one experiment has; none: any
    since_us: int | None = None  #: made then or later
    until_us: int | None = None  #: made before


ALL_RUNS = RunFilter()


def matching(chosen: RunFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that hold for the rows of the runs that are chosen."""
    conditions: list[ColumnElement[bool]] = []
    if chosen.active is not None:
        going = _has_experiment(OPEN)
        conditions.append(going if chosen.active else ~going)
    if chosen.states:
        conditions.append(_has_experiment(chosen.states))
    if chosen.user is not None:
        conditions.append(runs.c.user == chosen.user)
    if chosen.since_us is not None:
        conditions.append(runs.c.created_us >= chosen.since_us)
    if chosen.until_us is not None:
        conditions.append(runs.c.created_us < chosen.until_us)
    for key, value in chosen.labels.items():
        has = exists().where(run_labels.c.run_id == runs.c.id, run_labels.c.key == key)
        conditions.append(has if value is None else has.where(run_labels.c.value == value))
    return [*conditions, *(_contains(word) for word in chosen.search.split())]


def _has_experiment(states: Collection[ExperimentState]) -> ColumnElement[bool]:
    # Not one look-up per run: of most states few experiments are, and an index finds those.
    return runs.c.id.in_(select(experiments.c.run_id).where(experiments.c.state.in_(states)))


def _contains(word: str) -> ColumnElement[bool]:
    spec = type_coerce(runs.c.spec, JSON)
    texts = (runs.c.name, runs.c.user, spec["description"].as_string(), spec["program"]["target"].as_string())
    label = exists().where(
        run_labels.c.run_id == runs.c.id,
        or_(*(column.icontains(word, autoescape=True) for column in (run_labels.c.key, run_labels.c.value))),
    )
    return or_(label, *(text.icontains(word, autoescape=True) for text in texts))


def order(sort: str) -> list[UnaryExpression[Any]]:
    """Return what to sort by; runs that are equal by that come newest first."""
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise InvalidValue(f"runs cannot be sorted by {name!r}", hint=f"one of: {', '.join(SORTS)}", field="sort")
    if name in _SORT_COLUMNS:
        key: ColumnElement[Any] = _SORT_COLUMNS[name]
    else:
        counted = select(func.count()).select_from(experiments).where(experiments.c.run_id == runs.c.id)
        states = STATE_GROUPS.get(name)
        key = (counted.where(experiments.c.state.in_(states)) if states else counted).scalar_subquery()
    return [key.desc() if sort.startswith("-") else key.asc(), runs.c.created_us.desc(), runs.c.id.desc()]
