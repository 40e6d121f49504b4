"""What agents have measured of ranks, GPUs and machines: taken by offset, kept beside logs, answered as series.

One file per (attempt, generation, machine), of records of core.samples.
"""

from __future__ import annotations

from pathlib import Path

from opengrid.core.errors import InvalidValue
from opengrid.core.gang import Gang
from opengrid.planning.viewport import Viewport
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.documents.scalars import SeriesAnswer, SeriesRequest
from opengrid.services.documents.system import SystemDocument
from opengrid.services.growing import GrowingFiles
from opengrid.services.sample_files import SampleFile, cursor_of, files_of, known_records, place_of
from opengrid.store.database import Database, Transaction


class Samples:
    """All samples of this server; `root` is where logs are, so that they go with them."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database, self._root = database, root
        self._growing = GrowingFiles(root)
        self._came: dict[str, int] = {}  #: bytes of each attempt under way since this server has started

    def append(self, agent: AgentIdentity, generation: int, *, offset: int, data: bytes) -> int:
        """Append to a machine's file when it ends at `offset`, else raise OffsetMismatch; return its new size."""
        if generation < 1:
            raise InvalidValue(f"there is no generation {generation}")
        path = place_of(self._root, agent.attempt_id, generation, agent.machine)
        size = self._growing.append(path, data, offset=offset)
        self._came[agent.attempt_id] = self._came.get(agent.attempt_id, 0) + len(data)
        return size

    def forget(self, attempt_id: str) -> None:
        """Know that nothing more comes of an attempt."""
        self._came.pop(attempt_id, None)

    def version(self, tx: Transaction, name: str) -> str:
        """Return what is another text whenever something was measured of an experiment; NotFound without one."""
        attempts = tx.attempts.of_experiment(tx.runs.experiment(name).id)
        return str([self._came.get(attempt.id, 0) for attempt in attempts])

    def now(self, name: str) -> SystemDocument:
        """Return what each series of an experiment has come to, of those that its newest start has."""
        from opengrid.services.measured import newest_samples  # needs numpy, which ScalarReader loads

        with self._database.read() as tx:
            gang, files = self._files(tx, name)
        return SystemDocument(experiment=name, series=newest_samples(gang, files))

    def series(self, request: SeriesRequest) -> SeriesAnswer:
        """Return series inside a viewport, as Scalars.series does; a series' steps are its samples, from 0."""
        from opengrid.services.measured import first_time, measured_series  # as above

        viewport = Viewport(axis=request.x, start=request.min, end=request.max, pixels=request.pixels)
        answer = SeriesAnswer(series=[], cursors={}, reset=[])
        for name in dict.fromkeys(request.experiments):
            with self._database.read() as tx:
                gang, files = self._files(tx, name)
            answer.cursors[name] = cursor_of(files)
            known = known_records(request.since.get(name, ""), files)
            if known is None:
                answer.reset.append(name)
            start = first_time(files)
            for tag in dict.fromkeys(request.tags):
                found = measured_series(name, tag, gang, files, known or {}, viewport, start)
                if found is not None:
                    answer.series.append(found)
        return answer

    def _files(self, tx: Transaction, name: str) -> tuple[Gang, list[SampleFile]]:
        """Return an experiment's gang and files."""
        experiment = tx.runs.experiment(name)
        gang = tx.runs.find_by_id(experiment.run_id, is_counted=False).plan.gang
        return gang, files_of(self._root, tx.attempts.of_experiment(experiment.id))
