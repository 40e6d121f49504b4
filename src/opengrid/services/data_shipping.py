"""Datastores for machines: the files of what their run mounts, with links to the contents, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from opengrid.core.errors import Forbidden, NotFound
from opengrid.core.manifest import safe_path
from opengrid.core.packs import Piece
from opengrid.core.protocol import DataFile, DataFiles
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind, DatastoreVersion
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.references import etag_of
from opengrid.services.run_data import RunData
from opengrid.store.database import Database, Transaction


class DataShipping:
    """Contents of a bucket come from there; those of a folder from the version's tree, through the server."""

    def __init__(self, database: Database, run_data: RunData) -> None:
        self._database, self._run_data = database, run_data

    def files(self, agent: AgentIdentity, name: str, version: int, *, offset: int, limit: int) -> DataFiles:
        """Return a page of a version's files; Forbidden when the agent's run does not mount it."""
        with self._database.read() as tx:
            _check(tx, agent, name, version)
            version_of_it = tx.data.find(name, version)
            page = tx.data.files(name, version, limit=limit, offset=offset)
            total, _ = tx.data.count_files(name, version)
        if version_of_it.kind is DatastoreKind.REFERENCED:
            links = self._run_data.referred_links(version_of_it, page)
            return DataFiles(files=_referred(version_of_it, page), total=total, links=tuple(links))
        found = self._run_data.links_to(page)
        links, pieces = _own_links(name, version, page) if found is None else found
        files = (
            DataFile(path=f.path, size=f.size, sha256=f.digest, executable=f.executable, pieces=of_it)
            for f, of_it in zip(page, pieces, strict=True)
        )
        return DataFiles(files=tuple(files), total=total, links=tuple(links))

    def content(self, agent: AgentIdentity, name: str, version: int, path: str) -> Path:
        """Return where a file of a version lies."""
        with self._database.read() as tx:
            _check(tx, agent, name, version)
        file = safe_path(self._run_data.path(name, version), path)
        if not file.is_file():
            raise NotFound(f"datastore {name}:{version} has no file {path!r}")
        return file


def _referred(version: DatastoreVersion, page: list[DatastoreFile]) -> tuple[DataFile, ...]:
    """Return files of a bucket that nobody has read: a cache knows them by where they are, and their ETag."""
    return tuple(
        DataFile(
            path=file.path,
            size=file.size,
            sha256=hashlib.sha256(f"{version.source}/{file.path}\0{etag_of(file)}".encode()).hexdigest(),
            pieces=(Piece(link=i, offset=0, size=file.size),) if file.size else (),
            etag=etag_of(file),
        )
        for i, file in enumerate(page)
    )


def _own_links(name: str, version: int, page: list[DatastoreFile]) -> tuple[list[str], list[tuple[Piece, ...]]]:
    links = [f"/agent/v1/data/{name}/{version}/content?path={quote(file.path, safe='')}" for file in page]
    return links, [(Piece(link=i, offset=0, size=f.size),) if f.size else () for i, f in enumerate(page)]


def _check(tx: Transaction, agent: AgentIdentity, name: str, version: int) -> None:
    attempt = tx.attempts.find(agent.attempt_id)
    mounts = tx.runs.find_by_id(tx.runs.experiment_by_id(attempt.experiment_id).run_id).plan.mounts
    if not any((mount.name, mount.version) == (name, version) for mount in mounts):
        raise Forbidden(f"this run does not use the datastore {name}:{version}")
