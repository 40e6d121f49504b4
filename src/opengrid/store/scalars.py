"""Event files, how far each was read, and what experiments' series have come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from opengrid.core.records.scalars import EventFile, Scalar
from opengrid.store.tables import all_fields, event_files, fields, scalars

#: Values that one statement may carry, on any database.
_BATCH = 500


class Scalars:
    """Event files and series in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_file(self, file: EventFile) -> None:
        """Store a file that nothing was read of."""
        self._connection.execute(insert(event_files).values(dataclasses.asdict(file)))

    def files(self, experiment_id: str) -> list[EventFile]:
        """Return an experiment's event files by number: the order in which they came."""
        return self.files_of([experiment_id])

    def files_of(self, experiment_ids: Collection[str]) -> list[EventFile]:
        """Return the event files of experiments, those of one experiment by number."""
        return self._files(event_files.c.experiment_id.in_(experiment_ids))

    def readable_files(self) -> list[EventFile]:
        """Return all event files that more may be read of."""
        return self._files(event_files.c.problem.is_(None))

    def _files(self, condition: ColumnElement[bool]) -> list[EventFile]:
        chosen = select(event_files).where(condition).order_by(event_files.c.experiment_id, event_files.c.number)
        return [EventFile(**fields(row)) for row in self._connection.execute(chosen).mappings()]

    def save_files(self, files: Sequence[EventFile]) -> None:
        """Store how far files were read."""
        for file in files:
            same = (event_files.c.experiment_id == file.experiment_id, event_files.c.number == file.number)
            self._connection.execute(update(event_files).where(*same).values(dataclasses.asdict(file)))

    def save(self, found: Sequence[Scalar]) -> None:
        """Store what series of one experiment have come to, in place of what was known of them."""
        for at in range(0, len(found), _BATCH):
            batch = found[at : at + _BATCH]
            old = (scalars.c.experiment_id == batch[0].experiment_id, scalars.c.tag.in_([one.tag for one in batch]))
            self._connection.execute(delete(scalars).where(*old))
            self._connection.execute(insert(scalars), [dataclasses.asdict(one) for one in batch])

    def forget(self, experiment_id: str) -> None:
        """Remove what an experiment's series have come to."""
        self._connection.execute(delete(scalars).where(scalars.c.experiment_id == experiment_id))

    def of_experiment(self, experiment_id: str) -> list[Scalar]:
        """Return an experiment's series by name."""
        return self.of_experiments([experiment_id])

    def of_experiments(self, experiment_ids: Collection[str], tags: Collection[str] | None = None) -> list[Scalar]:
        """Return the series of experiments, all or those with these names, by name."""
        chosen = select(scalars).where(scalars.c.experiment_id.in_(experiment_ids)).order_by(scalars.c.tag)
        if tags is not None:
            chosen = chosen.where(scalars.c.tag.in_(tags))
        return [Scalar(**row) for row in all_fields(self._connection.execute(chosen))]

    def version(self, *, run_id: str | None = None, experiment_id: str | None = None) -> str:
        """Return what is another text whenever a run or an experiment has new points."""
        of_it = scalars.c.run_id == run_id if experiment_id is None else scalars.c.experiment_id == experiment_id
        seen = select(func.count(), func.sum(scalars.c.points), func.max(scalars.c.last_us)).where(of_it)
        return ".".join(str(part) for part in self._connection.execute(seen).one())

    def tags_of_run(self, run_id: str) -> list[tuple[str, int, int, int, int]]:
        """Return the names of a run's series: of how many experiments, points, first and last step."""
        numbers = (
            func.count(),
            func.sum(scalars.c.points),
            func.min(scalars.c.first_step),
            func.max(scalars.c.last_step),
        )
        grouped = select(scalars.c.tag, *numbers).where(scalars.c.run_id == run_id)
        rows = self._connection.execute(grouped.group_by(scalars.c.tag).order_by(scalars.c.tag))
        return [(str(tag), int(n), int(points), int(first), int(last)) for tag, n, points, first, last in rows]
