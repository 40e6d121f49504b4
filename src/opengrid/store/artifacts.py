"""Artifacts: which files experiments have made, and which contents are still used."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, insert, select, update

from opengrid.core.errors import NotFound
from opengrid.core.records.artifacts import Artifact
from opengrid.store.tables import artifacts, fields

_columns = [column for column in artifacts.columns if column.name != "id"]


class Artifacts:
    """Artifacts in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, found: Sequence[Artifact]) -> set[str]:
        """Store files of one experiment; return the digests of versions that they replace.

        One that is there with the same content is left alone; with another content it becomes the next version,
        whatever version it was given.
        """
        if not found:
            return set()
        newest = {artifact.id: artifact for artifact in found}
        known = self._by_id(found[0].experiment_id, newest)
        if len(known) < len(newest):
            rows = [_row(newest[id], 1) | {"id": id} for id in newest.keys() - known.keys()]
            self._connection.execute(insert(artifacts), rows)
        replaced: set[str] = set()
        for id, (version, digest) in known.items():
            if newest[id].digest != digest:
                self._replace(newest[id], version + 1)
                replaced.add(digest)
        return replaced

    def list(self, experiment_id: str, *, limit: int, offset: int = 0) -> list[Artifact]:
        """Return a page of an experiment's artifacts, by path and node."""
        order = (artifacts.c.path, artifacts.c.node)
        page = select(*_columns).where(artifacts.c.experiment_id == experiment_id).order_by(*order)
        return [
            Artifact(**fields(row)) for row in self._connection.execute(page.limit(limit).offset(offset)).mappings()
        ]

    def count(self, experiment_id: str) -> tuple[int, int]:
        """Return how many artifacts an experiment has, and their bytes."""
        counted = select(func.count(), func.coalesce(func.sum(artifacts.c.size), 0))
        number, size = self._connection.execute(counted.where(artifacts.c.experiment_id == experiment_id)).one()
        return int(number), int(size)

    def version(self, experiment_id: str) -> str:
        """Return what is another text whenever a file is new or has changed."""
        seen = select(func.count(), func.coalesce(func.sum(artifacts.c.version), 0))
        return ".".join(
            str(part) for part in self._connection.execute(seen.where(artifacts.c.experiment_id == experiment_id)).one()
        )

    def all(self, experiment_id: str) -> list[Artifact]:
        """Return all artifacts of an experiment, by path and node."""
        chosen = select(*_columns).where(artifacts.c.experiment_id == experiment_id)
        rows = self._connection.execute(chosen.order_by(artifacts.c.path, artifacts.c.node)).mappings()
        return [Artifact(**fields(row)) for row in rows]

    def nodes(self, experiment_id: str) -> list[tuple[int, int, int]]:
        """Return the nodes that have files: how many, and their bytes."""
        grouped = select(artifacts.c.node, func.count(), func.sum(artifacts.c.size)).group_by(artifacts.c.node)
        rows = self._connection.execute(
            grouped.where(artifacts.c.experiment_id == experiment_id).order_by(artifacts.c.node)
        )
        return [(int(node), int(files), int(size)) for node, files, size in rows]

    def paths(self, experiment_id: str, node: int, above: str) -> list[tuple[str, int]]:
        """Return path and size of a node's files whose paths begin so."""
        chosen = select(artifacts.c.path, artifacts.c.size).where(
            artifacts.c.experiment_id == experiment_id, artifacts.c.node == node
        )
        if above:
            chosen = chosen.where(artifacts.c.path.startswith(above, autoescape=True))
        # SQLite's LIKE does not tell upper from lower case.
        return [(path, size) for path, size in self._connection.execute(chosen) if path.startswith(above)]

    def some(self, experiment_id: str, node: int, paths: Sequence[str]) -> list[Artifact]:
        """Return those of these files that a node has, by path."""
        chosen = select(*_columns).where(
            artifacts.c.experiment_id == experiment_id, artifacts.c.node == node, artifacts.c.path.in_(paths)
        )
        rows = self._connection.execute(chosen.order_by(artifacts.c.path)).mappings()
        return [Artifact(**fields(row)) for row in rows]

    def find(self, experiment_id: str, id: str) -> Artifact:
        """Return one artifact, or raise NotFound."""
        chosen = select(*_columns).where(artifacts.c.experiment_id == experiment_id, artifacts.c.id == id)
        row = self._connection.execute(chosen).mappings().first()
        if row is None:
            raise NotFound("there is no such artifact", hint="`grid artifacts --list` shows what there is")
        return Artifact(**fields(row))

    def record_path(self, experiment_id: str) -> str | None:
        """Return where the server's own record of an experiment lies; None when there is none."""
        chosen = select(artifacts.c.path).where(artifacts.c.experiment_id == experiment_id, artifacts.c.attempt == 0)
        return self._connection.execute(chosen).scalar()

    def move_record(self, experiment_id: str, path: str) -> None:
        """Give the server's own record of an experiment, if there is one, another path, which is free."""
        chosen = select(*_columns).where(artifacts.c.experiment_id == experiment_id, artifacts.c.attempt == 0)
        row = self._connection.execute(chosen).mappings().first()
        if row is not None:
            record = Artifact(**fields(row))
            moved = dataclasses.replace(record, path=path)
            same = (artifacts.c.experiment_id == experiment_id, artifacts.c.id == record.id)
            self._connection.execute(update(artifacts).where(*same).values(id=moved.id, path=path))

    def digests(self, experiment_ids: Collection[str]) -> set[str]:
        """Return the contents that experiments refer to."""
        used = select(artifacts.c.digest).where(artifacts.c.experiment_id.in_(experiment_ids)).distinct()
        return set(self._connection.execute(used).scalars())

    def unused(self, digests: Collection[str]) -> set[str]:
        """Return those of these contents to which no artifact refers."""
        used = select(artifacts.c.digest).where(artifacts.c.digest.in_(digests)).distinct()
        return set(digests) - set(self._connection.execute(used).scalars())

    def _by_id(self, experiment_id: str, ids: Collection[str]) -> dict[str, tuple[int, str]]:
        known = select(artifacts.c.id, artifacts.c.version, artifacts.c.digest).where(
            artifacts.c.experiment_id == experiment_id, artifacts.c.id.in_(ids)
        )
        return {id: (version, digest) for id, version, digest in self._connection.execute(known)}

    def _replace(self, artifact: Artifact, version: int) -> None:
        same = (artifacts.c.experiment_id == artifact.experiment_id, artifacts.c.id == artifact.id)
        self._connection.execute(update(artifacts).where(*same).values(_row(artifact, version)))


def _row(artifact: Artifact, version: int) -> dict[str, object]:
    return {**{column.name: getattr(artifact, column.name) for column in _columns}, "version": version}
