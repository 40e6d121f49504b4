"""Datastores for machines that do not see the server's disk: the files of what their run mounts, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opengrid.core.errors import Forbidden, NotFound
from opengrid.core.manifest import safe_path
from opengrid.core.protocol import DataFile, DataFiles
from opengrid.services.agent_memory import AgentIdentity
from opengrid.store.database import Database, Transaction


class DataShipping:
    """`place` tells where the tree of a datastore version lies on the server."""

    def __init__(self, database: Database, place: Callable[[str, int], Path]) -> None:
        self._database, self._place = database, place

    def files(self, agent: AgentIdentity, name: str, version: int, *, offset: int, limit: int) -> DataFiles:
        """Return a page of a version's files; Forbidden when the agent's run does not mount it."""
        with self._database.read() as tx:
            _check(tx, agent, name, version)
            page = tx.data.files(name, version, limit=limit, offset=offset)
            total, _ = tx.data.count_files(name, version)
        files = (DataFile(path=f.path, size=f.size, sha256=f.digest, executable=f.executable) for f in page)
        return DataFiles(files=tuple(files), total=total)

    def content(self, agent: AgentIdentity, name: str, version: int, path: str) -> Path:
        """Return where a file of a version lies."""
        with self._database.read() as tx:
            _check(tx, agent, name, version)
        file = safe_path(self._place(name, version), path)
        if not file.is_file():
            raise NotFound(f"datastore {name}:{version} has no file {path!r}")
        return file


def _check(tx: Transaction, agent: AgentIdentity, name: str, version: int) -> None:
    attempt = tx.attempts.find(agent.attempt_id)
    mounts = tx.runs.find_by_id(tx.runs.experiment_by_id(attempt.experiment_id).run_id).plan.mounts
    if not any((mount.name, mount.version) == (name, version) for mount in mounts):
        raise Forbidden(f"this run does not use the datastore {name}:{version}")
