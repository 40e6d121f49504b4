"""What scripts write for TensorBoard, on the server's disk: taken from agents by offset, while it is written.

`<experiment>/<number>` is a file as the script wrote it; `<experiment>/points` holds what was read of all of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.core.errors import InvalidValue
from opengrid.core.records.scalars import EventFile
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.attempts import open_attempt
from opengrid.services.growing import GrowingFiles
from opengrid.store.database import Database, Transaction

if TYPE_CHECKING:
    from opengrid.planning.series import Points

#: Most event files of one experiment: more are what a loop makes by mistake.
MOST_FILES = 1000

_LONGEST_PATH = 1 << 12


class EventFiles:
    """All event files of this server."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database, self._root = database, root
        self._growing = GrowingFiles(root)
        self._known: dict[tuple[str, int, str], tuple[str, int]] = {}  #: attempt, node, path → experiment, number

    def append(
        self, agent: AgentIdentity, *, node: int, path: str, generation: int, offset: int, data: bytes
    ) -> tuple[str, int]:
        """Append to a node's file when it ends at `offset`, else raise OffsetMismatch; return whose it is and its size.

        `generation` is the one in which the agent first saw the file; 0 when it was there before the agent was.
        """
        experiment_id, number = self._known.get((agent.attempt_id, node, path)) or self._find(
            agent, node, path, generation
        )
        return experiment_id, self._growing.append(self.place(experiment_id, number), data, offset=offset)

    def place(self, experiment_id: str, number: int) -> Path:
        """Return where a file lies."""
        return self._root / experiment_id / str(number)

    def size(self, file: EventFile) -> int:
        """Return the number of bytes received."""
        try:
            return self.place(file.experiment_id, file.number).stat().st_size
        except FileNotFoundError:
            return 0

    def has_more(self, file: EventFile) -> bool:
        """Return whether there is something in a file that was not read, and can be."""
        return file.problem is None and self.size(file) > file.offset

    def read(self, file: EventFile, limit: int) -> bytes:
        """Return at most `limit` bytes of those that were not read."""
        with self.place(file.experiment_id, file.number).open("rb") as opened:
            return os.pread(opened.fileno(), limit, file.offset)

    def points(self, experiment_id: str, count: int) -> Points:
        """Return the points that were read of an experiment's files, without loading those nobody looks at."""
        from opengrid.services.series import stored_points  # needs numpy, which ScalarReader loads

        return stored_points(self._root / experiment_id / "points", count)

    def save_points(self, experiment_id: str, at: int, points: Points) -> None:
        """Store points behind the first `at` ones, in place of any that are there and that the store does not count."""
        descriptor = os.open(self._root / experiment_id / "points", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            view, offset = memoryview(points.tobytes()), at * points.itemsize
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        finally:
            os.close(descriptor)

    def delete(self, experiment_ids: Collection[str]) -> None:
        """Remove all files of experiments."""
        for id in experiment_ids:
            shutil.rmtree(self._root / id, ignore_errors=True)
        gone = set(experiment_ids)
        known = list(self._known.items())  # in one step: agents' requests add to it meanwhile
        self._known = {key: file for key, file in known if file[0] not in gone}

    def _find(self, agent: AgentIdentity, node: int, path: str, generation: int) -> tuple[str, int]:
        """Return which file this is; one that is new is given a number."""
        with self._database.transaction() as tx:
            attempt = open_attempt(tx, agent.attempt_id)
            self._check(tx, attempt.experiment_id, agent, node, path)
            files = tx.scalars.files(attempt.experiment_id)
            number = next(
                (f.number for f in files if (f.attempt, f.node, f.path) == (attempt.number, node, path)), None
            )
            if number is None:
                if len(files) >= MOST_FILES:
                    raise InvalidValue(f"an experiment has at most {MOST_FILES} event files")
                number = files[-1].number + 1 if files else 1
                # What an agent found that came after another was written before the generation that now begins.
                started = generation or max(1, attempt.generation - 1)
                tx.scalars.add_file(
                    EventFile(
                        experiment_id=attempt.experiment_id,
                        number=number,
                        attempt=attempt.number,
                        generation=started,
                        node=node,
                        path=path,
                    )
                )
        known = self._known[agent.attempt_id, node, path] = attempt.experiment_id, number
        return known

    def _check(self, tx: Transaction, experiment_id: str, agent: AgentIdentity, node: int, path: str) -> None:
        gang = tx.runs.find_by_id(tx.runs.experiment_by_id(experiment_id).run_id, is_counted=False).plan.gang
        if node not in {one.index for one in gang.nodes_of(agent.machine)}:
            raise InvalidValue(f"node {node} is none of machine {agent.machine}")
        parts = path.split("/")
        if len(path) > _LONGEST_PATH or path.startswith("/") or not all(parts) or {".", ".."} & set(parts):
            raise InvalidValue(f"{path[:100]!r} is no path of an event file")
