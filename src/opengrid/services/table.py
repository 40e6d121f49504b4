"""A run's experiments as a table: hyperparameters and metrics are columns, rows in any order, filtered, in pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from opengrid.core.records.experiments import Experiment, Run
from opengrid.planning.goals import goal_of, most_telling_first
from opengrid.planning.table import Filter, Key, Metric, Param, parse_filter, parse_key
from opengrid.services.documents.document import Document
from opengrid.services.documents.experiments import ExperimentRow
from opengrid.services.documents.scalars import Goal, ScalarValues
from opengrid.services.scalars import scalar_values
from opengrid.services.views import experiment_fields
from opengrid.store.database import Database

#: Metrics that rows carry unless others are asked for.
_METRICS = 50

#: Rows of a CSV file that are read at once.
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricColumn:
    """A metric that some experiments of the run have."""

    tag: str
    goal: Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """What can be a column."""

    params: list[str]
    metrics: list[MetricColumn]  #: the most telling ones first


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow(ExperimentRow):
    """One experiment with its metrics, by name."""

    metrics: dict[str, ScalarValues]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDocument(Document):
    """A page of a run's experiments."""

    run: str
    total: int  #: rows that fulfil the filters
    columns: TableColumns
    unknown: list[str]  #: params and metrics that were asked for and that no experiment has, as `metric:loss`
    experiments: list[TableRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """Which rows, in which order, with which metrics."""

    sort: Key
    descending: bool = False
    filters: tuple[Filter, ...] = ()
    search: str = ""
    metrics: tuple[str, ...] | None = None  #: None: the first ones

    @classmethod
    def parse(
        cls, *, sort: str, descending: bool, filters: Sequence[str], search: str, metrics: Sequence[str] | None
    ) -> TableRequest:
        """Return the request that texts make; InvalidValue names the text that means nothing."""
        return cls(
            sort=parse_key(sort),
            descending=descending,
            filters=tuple(parse_filter(text) for text in filters),
            search=search,
            metrics=None if metrics is None else tuple(metrics),
        )


class Table:
    """What can be asked about a run's experiments as a table."""

    def __init__(self, database: Database, *, now_us: Callable[[], int]) -> None:
        self._database, self._now_us = database, now_us

    def page(self, name: str, request: TableRequest, *, limit: int, offset: int) -> TableDocument:
        """Return a page of a run's experiments."""
        found, now_us = self._find(name, request, limit=limit, offset=offset), self._now_us()
        rows = [
            TableRow(
                **experiment_fields(found.run, experiment, now_us=now_us), metrics=found.metrics.get(experiment.id, {})
            )
            for experiment in found.experiments
        ]
        metrics = [MetricColumn(tag=tag, goal=goal_of(tag)) for tag in found.tags]
        columns = TableColumns(params=found.params, metrics=metrics)
        unknown = _unknown(request, columns)
        return TableDocument(run=name, total=found.total, columns=columns, unknown=unknown, experiments=rows)

    def csv(self, name: str, request: TableRequest) -> Iterator[str]:
        """Yield all rows as CSV, a title first: parameters as they are called, metrics with their last and best value.

        Raises before the first piece for a run that does not exist.
        """
        return self._csv_pages(name, request, self._find(name, request, limit=_PAGE, offset=0))

    def _csv_pages(self, name: str, request: TableRequest, found: _Found) -> Iterator[str]:
        params, tags = found.params, request.metrics or tuple(found.tags[:_METRICS])
        titles = [f"{tag}:{which}" for tag in tags for which in ("last", "best")]
        yield _csv([["experiment", "state", "duration_s", *(f"param:{p}" for p in params), *titles]])
        offset = 0
        while found.experiments:
            yield _csv(self._csv_row(experiment, found, params, tags) for experiment in found.experiments)
            offset += len(found.experiments)
            found = self._find(name, request, limit=_PAGE, offset=offset)

    def _csv_row(
        self, experiment: Experiment, found: _Found, params: Sequence[str], tags: Sequence[str]
    ) -> list[object]:
        values, metrics = [experiment.params.get(name) for name in params], found.metrics.get(experiment.id, {})
        row: list[object] = [experiment.name, experiment.state.value, self._duration_s(experiment), *values]
        for tag in tags:
            one = metrics.get(tag)
            row += [None, None] if one is None else [one.text or one.last, one.best]
        return row

    def _duration_s(self, experiment: Experiment) -> float | None:
        if experiment.started_us is None:
            return None
        return round(((experiment.ended_us or self._now_us()) - experiment.started_us) / 1e6, 3)

    def _find(self, name: str, request: TableRequest, *, limit: int, offset: int) -> _Found:
        with self._database.read() as tx:
            run = tx.runs.find(name, is_counted=False)
            table = tx.experiment_table(run.id, now_us=self._now_us())
            ids, total = table.page(
                filters=request.filters,
                search=request.search,
                sort=request.sort,
                descending=request.descending,
                limit=limit,
                offset=offset,
            )
            by_id, tags = {e.id: e for e in tx.runs.some_experiments(ids)}, most_telling_first(table.tags())
            experiments = [by_id[id] for id in ids]
            shown = tags[:_METRICS] if request.metrics is None else request.metrics
            scalars = tx.scalars.of_experiments(ids, shown)
            # All of a run's experiments have the arguments of one command line.
            first = experiments or tx.runs.experiments(run.id, limit=1)
        metrics: dict[str, dict[str, ScalarValues]] = {}
        for scalar in scalars:
            metrics.setdefault(scalar.experiment_id, {})[scalar.tag] = scalar_values(scalar)
        params = list(dict.fromkeys(name for experiment in first for name in experiment.params))
        return _Found(run=run, experiments=experiments, total=total, params=params, tags=tags, metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A page as the store has it."""

    run: Run
    experiments: list[Experiment]
    total: int
    params: list[str]
    tags: list[str]
    metrics: dict[str, dict[str, ScalarValues]]  #: by experiment's id and tag


def _unknown(request: TableRequest, columns: TableColumns) -> list[str]:
    keys = [request.sort, *(one.key for one in request.filters), *(Metric(tag=tag) for tag in request.metrics or ())]
    asked = [f"param:{key.name}" for key in keys if isinstance(key, Param)]
    asked += [f"metric:{key.tag}" for key in keys if isinstance(key, Metric)]
    known = {*(f"param:{name}" for name in columns.params), *(f"metric:{metric.tag}" for metric in columns.metrics)}
    return [name for name in dict.fromkeys(asked) if name not in known]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
