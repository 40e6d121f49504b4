"""Scalars for charts and tables: which there are, and series as far as a plot can show them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from opengrid.core.errors import InvalidValue
from opengrid.core.records.experiments import Experiment
from opengrid.core.records.scalars import EventFile, Scalar
from opengrid.planning.goals import goal_of, most_telling_first
from opengrid.planning.viewport import Viewport, shortest
from opengrid.services.documents.scalars import (
    ExperimentScalars,
    FileProblem,
    RunTag,
    RunTags,
    ScalarValues,
    SeriesAnswer,
    SeriesRequest,
)
from opengrid.services.event_files import EventFiles
from opengrid.services.scalar_reader import ScalarReader
from opengrid.services.views import time_text
from opengrid.store.database import Database


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
        from opengrid.services.series import drawn_series  # needs numpy, which ScalarReader loads

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
            count = sum(file.points for file in own)
            if count > (known or 0):
                points = self._files.points(experiment.id, count)
                answer.series.extend(drawn_series(experiment.name, own, points, known or 0, request.tags, viewport))
        return answer

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
