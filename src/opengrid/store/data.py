"""Datastores and their versions."""

from __future__ import annotations

from difflib import get_close_matches

from sqlalchemy import Connection, insert, select, update

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.records import DatastoreState, DatastoreVersion
from opengrid.store.tables import datastore_versions, datastores, fields

_versions = datastore_versions.c
#: A hint names at most this many versions, the newest.
_NAMED = 10


class Data:
    """Datastores in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_version(self, name: str, user: str, source: str, now_us: int) -> DatastoreVersion:
        """Open the next version of a datastore, the first one too. Numbers are never given twice."""
        newest = select(datastores.c.newest).where(datastores.c.name == name)
        version = (self._connection.execute(newest).scalar() or 0) + 1
        if version == 1:
            self._connection.execute(insert(datastores).values(name=name, newest=version))
        else:
            self._connection.execute(update(datastores).where(datastores.c.name == name).values(newest=version))
        row = {
            "name": name,
            "version": version,
            "user": user,
            "state": DatastoreState.PROCESSING,
            "source": source,
            "files": 0,
            "size": 0,
            "created_us": now_us,
            "reason": "",
        }
        self._connection.execute(insert(datastore_versions).values(row))
        return self.find(name, version)

    def finish(self, name: str, version: int, *, digest: str, files: int, size: int) -> None:
        """Mark a version that is being processed as whole; Conflict when it is not."""
        self._end(name, version, state=DatastoreState.SUCCEEDED, digest=digest, files=files, size=size)

    def fail(self, name: str, version: int, reason: str) -> None:
        """Mark a version that is being processed as failed; Conflict when it is not."""
        self._end(name, version, state=DatastoreState.FAILED, reason=reason)

    def find(self, name: str, version: int | None) -> DatastoreVersion:
        """Return a version, or the newest whole one; NotFound names the versions there are, or datastores like it."""
        chosen = _versions.state == DatastoreState.SUCCEEDED if version is None else _versions.version == version
        found = select(datastore_versions).where(_versions.name == name, chosen).order_by(_versions.version.desc())
        row = self._connection.execute(found.limit(1)).mappings().first()
        if row is None:
            raise self._not_found(name, version)
        return DatastoreVersion(**fields(row))

    def list(self) -> list[DatastoreVersion]:
        """Return all versions, newest first."""
        order = (_versions.created_us.desc(), _versions.name, _versions.version.desc())
        rows = self._connection.execute(select(datastore_versions).order_by(*order)).mappings()
        return [DatastoreVersion(**fields(row)) for row in rows]

    def _end(self, name: str, version: int, **changes: object) -> None:
        open_one = (
            _versions.name == name,
            _versions.version == version,
            _versions.state == DatastoreState.PROCESSING,
        )
        if self._connection.execute(update(datastore_versions).where(*open_one).values(changes)).rowcount != 1:
            state = self.find(name, version).state.value
            raise Conflict(f"datastore {name}:{version} is already {state}")

    def _not_found(self, name: str, version: int | None) -> NotFound:
        there = select(_versions.version, _versions.state).where(_versions.name == name)
        versions = self._connection.execute(there.order_by(_versions.version.desc())).all()
        if not versions:
            names = self._connection.execute(select(datastores.c.name).order_by(datastores.c.name)).scalars().all()
            close = " or ".join(get_close_matches(name, names)) or ", ".join(names[:_NAMED])
            hint = f"did you mean {close}?" if close else "`grid datastore create` makes one"
            return NotFound(f"there is no datastore named {name!r}", hint=hint)
        known = ", ".join(f"{v} ({s.value})" for v, s in reversed(versions[:_NAMED]))
        if version is None:
            return NotFound(f"no version of the datastore {name!r} is whole", hint=f"its versions are {known}")
        return NotFound(f"the datastore {name!r} has no version {version}", hint=f"its versions are {known}")
