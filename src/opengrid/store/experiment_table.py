"""A run's experiments in any order, filtered: by what they are, their hyperparameters and their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, Select, String, and_, case, cast, exists, func, or_, select

from opengrid.core.records.experiments import ExperimentState
from opengrid.planning.goals import goal_of
from opengrid.planning.table import Field, Filter, Key, Metric, Param, Which
from opengrid.store.run_list import STATE_GROUPS
from opengrid.store.tables import experiments, scalars

#: Most tags that are columns of one table.
MOST_TAGS = 500

_Value = ColumnElement[Any]


class ExperimentTable:
    """One run's experiments as a table, in one transaction. `now_us` is when unfinished ones are looked at."""

    def __init__(self, connection: Connection, run_id: str, *, now_us: int) -> None:
        self._connection, self._run_id, self._now_us = connection, run_id, now_us
        self._is_postgres = connection.dialect.name == "postgresql"

    def page(
        self, *, filters: Sequence[Filter], search: str, sort: Key, descending: bool, limit: int, offset: int
    ) -> tuple[list[str], int]:
        """Return the ids of a page of the experiments that fulfil all filters, and how many there are.

        Those that lack what they are ordered by come last, whichever way the order is.
        """
        conditions = [experiments.c.run_id == self._run_id, *(self._holds(one) for one in filters)]
        if search:
            conditions.append(self._is_found(search))
        total = self._count(select(func.count()).select_from(experiments).where(*conditions))
        if isinstance(sort, Metric):
            return self._ids_by_metric(sort, conditions, descending=descending, limit=limit, offset=offset), total
        return self._ids_by(sort, conditions, descending=descending, limit=limit, offset=offset), total

    def tags(self) -> list[str]:
        """Return the names of the run's series, a jump in the index for each."""
        found: list[str] = []
        while len(found) < MOST_TAGS:
            later = [scalars.c.tag > found[-1]] if found else []
            least = select(func.min(scalars.c.tag)).where(scalars.c.run_id == self._run_id, *later)
            tag = self._connection.execute(least).scalar_one()
            if tag is None:
                break
            found.append(tag)
        return found

    def _ids_by(
        self, key: Key, conditions: Sequence[_Value], *, descending: bool, limit: int, offset: int
    ) -> list[str]:
        order = [part.desc() if descending else part for part in self._parts(key)]
        lacking = [part.is_(None) for part in self._parts(key)]
        chosen = select(experiments.c.id).where(*conditions).order_by(and_(*lacking), *order, experiments.c.index)
        return self._ids(chosen.limit(limit).offset(offset))

    def _ids_by_metric(
        self, metric: Metric, conditions: Sequence[_Value], *, descending: bool, limit: int, offset: int
    ) -> list[str]:
        """Return a page in the order of the index: first those that have a value, then the others."""
        value = scalars.c[_column(metric)]
        own = (scalars.c.run_id == self._run_id, scalars.c.tag == metric.tag, value.is_not(None))
        having = select(experiments.c.id).join(scalars, scalars.c.experiment_id == experiments.c.id)
        having = having.where(*own, *conditions)
        order = value.desc() if descending else value
        ids = self._ids(having.order_by(order, experiments.c.index).limit(limit).offset(offset))
        if len(ids) == limit:
            return ids
        number = (
            offset + len(ids) if ids or not offset else self._count(select(func.count()).select_from(having.subquery()))
        )
        lacking = ~exists().where(scalars.c.experiment_id == experiments.c.id, *own)
        others = select(experiments.c.id).where(*conditions, lacking).order_by(experiments.c.index)
        return ids + self._ids(others.limit(limit - len(ids)).offset(max(0, offset - number)))

    def _ids(self, chosen: Select[Any]) -> list[str]:
        return [str(id) for id in self._connection.execute(chosen).scalars()]

    def _count(self, counted: Select[Any]) -> int:
        return int(self._connection.execute(counted).scalar_one())

    def _parts(self, key: Key) -> list[_Value]:
        """Return the values that rows are ordered by; all of them are NULL where a row has none."""
        if isinstance(key, Param):
            return [self._number_of(key), self._text_of(key)]
        return [self._column(key)]

    def _column(self, key: Key) -> _Value:
        duration = func.coalesce(experiments.c.ended_us, self._now_us) - experiments.c.started_us
        return {
            Field.INDEX: experiments.c.index,
            Field.NAME: experiments.c.name,
            Field.STATE: experiments.c.state,
            Field.CREATED: experiments.c.created_us,
            Field.STARTED: experiments.c.started_us,
            Field.ENDED: experiments.c.ended_us,
            Field.DURATION: duration,
        }[Field(key)]

    def _holds(self, one: Filter) -> _Value:
        key = one.key
        if isinstance(key, Param):
            return self._param_holds(key, one)
        if isinstance(key, Metric):
            of_row = scalars.alias()  # beside the one that rows are ordered by
            own = (of_row.c.experiment_id == experiments.c.id, of_row.c.tag == key.tag)
            return exists().where(*own, _compared(of_row.c[_column(key)], one.operator, one.number))
        if key is Field.STATE and one.operator != "~":
            states = STATE_GROUPS.get(one.text) or tuple(s for s in ExperimentState if s.value == one.text)
            among = experiments.c.state.in_(states)
            return ~among if one.operator == "!=" else among
        if key in (Field.NAME, Field.STATE):
            return _text_holds(cast(self._column(key), String), one)
        number = one.number if key is Field.INDEX or one.number is None else one.number * 1e6
        return _compared(self._column(key), one.operator, number)

    def _param_holds(self, key: Param, one: Filter) -> _Value:
        number, text = self._number_of(key), self._text_of(key)
        if one.operator == "~" or one.number is None:
            return _text_holds(text, one)
        if one.operator == "!=":
            return or_(number.is_(None), number != one.number)
        return _compared(number, one.operator, one.number)

    def _number_of(self, key: Param) -> _Value:
        """Return a hyperparameter where it is a number, else NULL."""
        if self._is_postgres:
            kind = func.json_typeof(func.json_extract_path(experiments.c.params, key.name))
            return case((kind == "number", cast(self._text_of(key), Double)))
        path = f'$."{key.name}"'
        kind = func.json_type(experiments.c.params, path)
        return case((kind.in_(("integer", "real")), func.json_extract(experiments.c.params, path)))

    def _text_of(self, key: Param) -> _Value:
        """Return a hyperparameter as text."""
        if self._is_postgres:
            return func.json_extract_path_text(experiments.c.params, key.name)
        path = f'$."{key.name}"'
        kind = func.json_type(experiments.c.params, path)
        as_text = cast(func.json_extract(experiments.c.params, path), String)
        return case((kind.in_(("true", "false")), kind), else_=as_text)

    def _is_found(self, search: str) -> _Value:
        params = cast(experiments.c.params, String)
        return or_(*(text.icontains(search, autoescape=True) for text in (experiments.c.name, params)))


def _column(metric: Metric) -> str:
    """Return which column of a series' row holds the value."""
    if metric.which is None:
        return "greatest" if goal_of(metric.tag) == "max" else "least"
    return {Which.LAST: "last", Which.MIN: "least", Which.MAX: "greatest"}[metric.which]


def _compared(value: _Value, operator: str, number: float | None) -> _Value:
    return {
        "=": value == number,
        "!=": value != number,
        "<": value < number,
        "<=": value <= number,
        ">": value > number,
        ">=": value >= number,
    }[operator]


def _text_holds(text: _Value, one: Filter) -> _Value:
    if one.operator == "~":
        return text.icontains(one.text, autoescape=True)
    return text == one.text if one.operator == "=" else or_(text.is_(None), text != one.text)
