"""Scalars for charts and tables: which there are, and series as far as a plot can show them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from opengrid.core.errors import InvalidValue
from opengrid.core.records.experiments import Experiment
from opengrid.core.records.scalars import EventFile, Scalar
from opengrid.planning.goals import goal_of, most_telling_first
from opengrid.planning.series import Axis, Points, Viewport, inside, not_finite_text, sample, shortest
from opengrid.services.documents.document import Document
from opengrid.services.event_files import EventFiles
from opengrid.services.scalar_reader import ScalarReader, Series
from opengrid.services.views import time_text
from opengrid.store.database import Database

Goal = Literal["min", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTag:
    """A scalar that some of a run's experiments have."""

    tag: str
    goal: Goal  #: which end of it is best
    experiments: int
    points: int
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTags(Document):
    """All scalars of a run's experiments, by name."""

    run: str
    tags: list[RunTag]
    best_by: str | None  #: the one that tells best which experiment is best


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarValues:
    """What a series of one experiment has come to."""

    tag: str
    goal: Goal
    points: int
    first_step: int
    last_step: int
    last_at: str | None
    last: float | None  #: null: not finite, see `text`
    min: float | None  #: among the finite values
    min_step: int | None
    max: float | None
    max_step: int | None
    best: float | None
    best_step: int | None
    text: str | None = None  #: NaN, Infinity or -Infinity, when the last value is that


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """An event file of which not all could be read."""

    node: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentScalars(Document):
    """All scalars of one experiment, by name."""

    experiment: str
    tags: list[ScalarValues]
    problems: list[FileProblem]
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """Which series to draw, and how."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for it

    experiments: Annotated[list[str], Field(max_length=1000)]
    tags: Annotated[list[str], Field(max_length=1000)]
    x: Axis = "step"
    min: float | None = None  #: viewport on x, included
    max: float | None = None
    pixels: Annotated[int, Field(ge=1, le=10_000)] | None = 1000  #: width of the plot; null: every point
    since: dict[str, str] = field(default_factory=dict[str, str])  #: by experiment, a cursor: only what came after


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDocument:
    """One series inside the viewport."""

    experiment: str
    tag: str
    start: float  #: time of the experiment's first point
    total: int  #: points in the viewport before sampling
    steps: list[int]
    times: list[float]
    values: list[float | None]  #: null: not finite
    not_finite: list[tuple[int, str]]  #: place in `values`, and what stands there
    is_append: bool = False  #: to be added to what is known; else in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAnswer(Document):
    """The series that there are."""

    series: list[SeriesDocument]
    cursors: dict[str, str]  #: by experiment
    reset: list[str]  #: experiments whose series were named anew: forget all that is known of them


class Scalars:
    """What can be asked about scalars."""

    def __init__(self, database: Database, files: EventFiles, reader: ScalarReader) -> None:
        self._database, self._files, self._reader = database, files, reader

    def tags_of_run(self, run: str) -> RunTags:
        """Return the scalars of a run's experiments."""
        with self._database.read() as tx:
            found = tx.scalars.tags_of_run(tx.runs.find(run).id)
        tags = [
            RunTag(tag=tag, goal=goal_of(tag), experiments=number, points=points, first_step=first, last_step=last)
            for tag, number, points, first, last in found
        ]
        telling = most_telling_first(one.tag for one in tags)
        return RunTags(run=run, tags=tags, best_by=telling[0] if telling else None)

    def of_experiment(self, name: str) -> ExperimentScalars:
        """Return the scalars of an experiment, all that has come of them."""
        (experiment,) = self._experiments([name])
        self._reader.catch_up([experiment.id])
        with self._database.read() as tx:
            files, found = tx.scalars.files(experiment.id), tx.scalars.of_experiment(experiment.id)
        return ExperimentScalars(
            experiment=name,
            tags=[scalar_values(scalar) for scalar in found],
            problems=[problem for file in files if (problem := self._problem(file, experiment)) is not None],
            cursor=_cursor(files),
        )

    def series(self, request: SeriesRequest) -> SeriesAnswer:
        """Return series inside a viewport, no more points of each than its plot can show."""
        viewport = Viewport(axis=request.x, start=request.min, end=request.max, pixels=request.pixels)
        experiments = self._experiments(request.experiments)
        ids = [experiment.id for experiment in experiments]
        self._reader.catch_up(ids)
        with self._database.read() as tx:
            files = tx.scalars.files_of(ids)
        answer = SeriesAnswer(series=[], cursors={}, reset=[])
        for experiment in experiments:
            own = [file for file in files if file.experiment_id == experiment.id]
            answer.cursors[experiment.name] = cursor = _cursor(own)
            known = _known_points(request.since.get(experiment.name), cursor)
            if known is None:
                answer.reset.append(experiment.name)
            answer.series.extend(self._of_one(experiment, own, known or 0, request.tags, viewport))
        return answer

    def _of_one(
        self, experiment: Experiment, files: Sequence[EventFile], known: int, tags: Sequence[str], viewport: Viewport
    ) -> list[SeriesDocument]:
        count = sum(file.points for file in files)
        if count == known:
            return []
        points = self._files.points(experiment.id, count)
        now, old, new = (Series(files, part) for part in (points, points[:known], points[known:]))
        changed = set(new.names) if known else set(tags)
        start, found = float(points["time"].min()), list[SeriesDocument]()
        for tag in dict.fromkeys(tags):
            whole, is_append = now.whole(tag) if tag in changed else points[:0], False
            if not len(whole):
                continue
            if known:
                first, before = int(new.whole(tag)["step"][0]), old.whole(tag)
                is_append = bool(len(before)) and first > int(before["step"][-1])
                whole = whole[np.searchsorted(whole["step"], first) :] if is_append else whole
            found.append(series_document(experiment.name, tag, whole, viewport, start=start, is_append=is_append))
        return found

    def _experiments(self, names: Sequence[str]) -> list[Experiment]:
        with self._database.read() as tx:
            return [tx.runs.experiment(name) for name in dict.fromkeys(names)]

    def _problem(self, file: EventFile, experiment: Experiment) -> FileProblem | None:
        reasons = [file.problem] if file.problem else []
        if file.damaged:
            more = "" if file.damaged == 1 else f" and in {file.damaged - 1} more"
            said = f"in the record at byte {file.damaged_at}{more} the content does not fit the checksum: left out"
            reasons.insert(0, said)
        left = self._files.size(file) - file.offset
        if file.problem is None and left > 0 and experiment.state.is_terminal:
            reasons.append(f"it ends in the middle of a record: its last {left} bytes are left out")
        return FileProblem(node=file.node, path=file.path, reason="; ".join(reasons)) if reasons else None


def scalar_values(scalar: Scalar) -> ScalarValues:
    """Return what a series has come to."""
    goal = goal_of(scalar.tag)
    is_max = goal == "max"
    least, greatest = shortest(scalar.least), shortest(scalar.greatest)
    return ScalarValues(
        tag=scalar.tag,
        goal=goal,
        points=scalar.points,
        first_step=scalar.first_step,
        last_step=scalar.last_step,
        last_at=time_text(scalar.last_us),
        last=shortest(scalar.last),
        min=least,
        min_step=scalar.least_step,
        max=greatest,
        max_step=scalar.greatest_step,
        best=greatest if is_max else least,
        best_step=scalar.greatest_step if is_max else scalar.least_step,
        text=scalar.last_text,
    )


def series_document(
    experiment: str, tag: str, series: Points, viewport: Viewport, *, start: float, is_append: bool
) -> SeriesDocument:
    """Return what of a series is drawn in a viewport; `start` is when the experiment's first point was made."""
    seen = inside(series, viewport, start)
    drawn = sample(seen, viewport)
    values: npt.NDArray[np.float64] = drawn["value"]
    strange = np.flatnonzero(~np.isfinite(values))
    numbers: list[float | None] = values.tolist()
    for place in strange.tolist():
        numbers[place] = None
    return SeriesDocument(
        experiment=experiment,
        tag=tag,
        start=start,
        total=len(seen),
        steps=drawn["step"].tolist(),
        times=np.round(drawn["time"], 3).tolist(),
        values=numbers,
        not_finite=[(place, not_finite_text(float(values[place])) or "") for place in strange.tolist()],
        is_append=is_append,
    )


def _cursor(files: Sequence[EventFile]) -> str:
    """Return what tells how much somebody knows: how series are named, and the number of points."""
    names = zlib.crc32("\n".join(sorted({file.label for file in files if file.points})).encode())
    return f"{names:x}.{sum(file.points for file in files)}"


def _known_points(since: str | None, now: str) -> int | None:
    """Return how many points somebody knows; None when the series have other names by now."""
    if since is None:
        return 0
    names, _, points = since.partition(".")
    if not points.isdecimal():
        raise InvalidValue(f"{since!r} is no cursor", field="since")
    same, _, count = now.partition(".")
    return min(int(points), int(count)) if names == same or points == "0" else None
