"""Has what comes of event files read, soon after it has come: by a thread, or by whoever asks for series."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

import structlog

from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.event_files import EventFiles
from opengrid.store.database import Database

log = structlog.get_logger(__name__)

#: What comes within this time is read together.
_TOGETHER_S = 0.3


class ScalarReader:
    """Takes event files from agents, and reads them in a thread; whoever asks for series may be faster.

    `changed` hears of experiments whose series have grown.
    """

    def __init__(self, database: Database, files: EventFiles, *, changed: Callable[[str], None]) -> None:
        self._database, self._files, self._changed = database, files, changed
        self._grown: set[str] = set()
        self._some, self._stopped = threading.Event(), threading.Event()
        self._reading = [threading.Lock() for _ in range(64)]
        self._thread = threading.Thread(target=self._run, name="scalars", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what it has not read is read when the server starts again."""
        self._stopped.set()
        self._some.set()
        self._thread.join()

    def receive(self, agent: AgentIdentity, *, node: int, path: str, generation: int, offset: int, data: bytes) -> int:
        """Append to a node's file, as EventFiles.append does, and have it read; return its new size."""
        experiment_id, size = self._files.append(
            agent, node=node, path=path, generation=generation, offset=offset, data=data
        )
        self._grown.add(experiment_id)
        self._some.set()
        return size

    def catch_up(self, experiment_ids: Collection[str]) -> None:
        """Read all that has come of experiments' files; return when that is done."""
        with self._database.read() as tx:
            files = tx.scalars.files_of(experiment_ids)
        for id in {file.experiment_id for file in files if self._files.has_more(file)}:
            self._catch_up(id)

    def _run(self) -> None:
        _loaded()
        with self._database.read() as tx:
            unfinished = tx.scalars.readable_files()
        self._grown |= {file.experiment_id for file in unfinished if self._files.has_more(file)}
        while not self._stopped.is_set():
            while self._grown and not self._stopped.is_set():
                id = self._grown.pop()
                try:
                    self._catch_up(id)
                except Exception:  # one experiment's trouble must not keep others' series back
                    log.exception("cannot read event files", experiment=id)
            self._some.wait()
            self._some.clear()
            self._stopped.wait(_TOGETHER_S)

    def _catch_up(self, experiment_id: str) -> None:
        read_more, is_changed = _loaded(), False
        with self._reading[hash(experiment_id) % len(self._reading)]:
            while read_more(self._database, self._files, experiment_id):
                is_changed = True
        if is_changed:
            self._changed(experiment_id)


def _loaded() -> Callable[[Database, EventFiles, str], bool]:
    """Return what reads points. It needs numpy: for that, neither the server's start nor the first chart shall wait."""
    from opengrid.services.new_points import read_more

    return read_more
