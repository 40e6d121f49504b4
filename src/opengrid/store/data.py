"""Datastores: their versions, the files of each, and the runs that use them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, update

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.records.datastores import (
    DatastoreFile,
    DatastoreKind,
    DatastoreState,
    DatastoreUse,
    DatastoreVersion,
)
from opengrid.core.records.experiments import ExperimentState
from opengrid.store.tables import (
    DIGEST_START,
    datastore_files,
    datastore_versions,
    datastores,
    digest_start,
    experiments,
    fields,
    run_datastores,
    runs,
)

_versions, _files = datastore_versions.c, datastore_files.c
_file_columns = tuple(_files[name] for name in DatastoreFile._fields)
_ended = [state for state in ExperimentState if state.is_terminal]
#: A hint names at most this many versions, the newest.
_NAMED = 10


class Data:
    """Datastores in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_version(
        self,
        name: str,
        user: str,
        source: str,
        now_us: int,
        *,
        upload: str | None = None,
        kind: DatastoreKind = DatastoreKind.COPIED,
    ) -> DatastoreVersion:
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
            "kind": kind,
            "upload": upload,
        }
        self._connection.execute(insert(datastore_versions).values(row))
        return self.find(name, version)

    def begin_again(self, upload: str) -> DatastoreVersion | None:
        """Open the next round of an upload whose version is not whole; None when there is none."""
        going = (_versions.upload == upload, _versions.state != DatastoreState.SUCCEEDED)
        begun = {"round": _versions.round + 1, "state": DatastoreState.PROCESSING, "reason": "", "ended_us": None}
        self._connection.execute(update(datastore_versions).where(*going).values(begun))
        row = self._connection.execute(select(datastore_versions).where(*going)).mappings().first()
        return None if row is None else DatastoreVersion(**fields(row))

    def finish(self, name: str, version: int, *, digest: str, files: int, size: int, now_us: int | None = None) -> None:
        """Mark a version that is being processed as whole; Conflict when it is not."""
        changes = {"digest": digest, "files": files, "size": size, "ended_us": now_us, "reason": ""}
        self._end(name, version, state=DatastoreState.SUCCEEDED, **changes)

    def tell(self, name: str, version: int, text: str) -> bool:
        """Say how far a version is that is being processed; return whether it is."""
        going = (_versions.name == name, _versions.version == version, _versions.state == DatastoreState.PROCESSING)
        told = self._connection.execute(update(datastore_versions).where(*going).values(reason=text))
        return told.rowcount == 1

    def touch(self, name: str, version: int, now_us: int) -> None:
        """Take what a whole version's files are now for what they should be: they have just been looked at."""
        same = (_versions.name == name, _versions.version == version)
        self._connection.execute(update(datastore_versions).where(*same).values(ended_us=now_us))

    def fail(self, name: str, version: int, reason: str, now_us: int | None = None, *, may_go_on: bool = False) -> None:
        """Mark a version that is being processed as failed; Conflict when it is not."""
        changes = {} if may_go_on else {"upload": None}
        self._end(name, version, state=DatastoreState.FAILED, reason=reason, ended_us=now_us, **changes)

    def owner(self, name: str) -> str | None:
        """Return who made the oldest version that there is of a datastore; None when there is none."""
        oldest = select(_versions.user).where(_versions.name == name).order_by(_versions.version).limit(1)
        return self._connection.execute(oldest).scalar()

    def find(self, name: str, version: int | None) -> DatastoreVersion:
        """Return a version, or the newest whole one; NotFound names the versions there are, or datastores like it."""
        chosen = _versions.state == DatastoreState.SUCCEEDED if version is None else _versions.version == version
        found = select(datastore_versions).where(_versions.name == name, chosen).order_by(_versions.version.desc())
        row = self._connection.execute(found.limit(1)).mappings().first()
        if row is None:
            raise self._not_found(name, version)
        return DatastoreVersion(**fields(row))

    def list(self, *, name: str | None = None, limit: int | None = None, offset: int = 0) -> list[DatastoreVersion]:
        """Return a page of all versions, or of one datastore's, newest first."""
        order = (_versions.created_us.desc(), _versions.name, _versions.version.desc())
        chosen = select(datastore_versions).order_by(*order).limit(limit).offset(offset)
        if name is not None:
            chosen = chosen.where(_versions.name == name)
        return [DatastoreVersion(**fields(row)) for row in self._connection.execute(chosen).mappings()]

    def count(self, name: str | None = None) -> int:
        """Return how many versions there are, of all datastores or of one."""
        chosen = select(func.count()).select_from(datastore_versions)
        if name is not None:
            chosen = chosen.where(_versions.name == name)
        return int(self._connection.execute(chosen).scalar_one())

    def remove(self, name: str, version: int) -> set[str]:
        """Remove a version with its files; return the contents that they had. NotFound when there is none."""
        self.find(name, version)
        of_it = (_files.name == name, _files.version == version)
        digests = set(self._connection.execute(select(_files.digest).where(*of_it).distinct()).scalars())
        self._connection.execute(delete(datastore_versions).where(_versions.name == name, _versions.version == version))
        return digests

    # The files of a version

    def save_files(self, name: str, version: int, round: int, files: Sequence[DatastoreFile]) -> None:
        """Record files of one round of an upload. Repeating is harmless."""
        positions = [file.position for file in files]
        same = and_(_files.name == name, _files.version == version, _files.round == round)
        self._connection.execute(delete(datastore_files).where(same, _files.position.in_(positions)))
        if files:
            self._connection.execute(insert(datastore_files), [_row(name, version, round, file) for file in files])

    def drop_earlier_rounds(self, name: str, version: int, round: int) -> set[str]:
        """Forget what earlier rounds of an upload recorded; return its contents."""
        earlier = (_files.name == name, _files.version == version, _files.round < round)
        digests = set(self._connection.execute(select(_files.digest).where(*earlier).distinct()).scalars())
        self._connection.execute(delete(datastore_files).where(*earlier))
        return digests

    def files(
        self, name: str, version: int, *, limit: int | None = None, offset: int = 0, search: str = ""
    ) -> list[DatastoreFile]:
        """Return a page of a version's files by path; with `search` those in whose path it is found."""
        page = self._of_version(name, version, search, *_file_columns).order_by(_files.round, _files.position)
        rows = self._connection.execute(page.limit(limit).offset(offset)).all()
        return [DatastoreFile._make(row) for row in rows]

    def count_files(self, name: str, version: int, search: str = "") -> tuple[int, int]:
        """Return how many files a version has, and their bytes."""
        size = func.coalesce(func.sum(_files.size), 0)
        counted = self._of_version(name, version, search, func.count().label("files"), size.label("size"))
        row = self._connection.execute(counted).mappings().one()
        return int(row["files"]), int(row["size"])

    def unused(self, digests: Collection[str]) -> set[str]:
        """Return those of these contents that no version has."""
        starts = {digest[:DIGEST_START] for digest in digests}
        used = select(_files.digest).where(digest_start.in_(starts), _files.digest.in_(digests)).distinct()
        return set(digests) - set(self._connection.execute(used).scalars())

    def _of_version(self, name: str, version: int, search: str, *columns: ColumnElement[Any]) -> Select[Any]:
        newest = select(_versions.round).where(_versions.name == name, _versions.version == version)
        chosen = select(*columns).where(
            _files.name == name, _files.version == version, _files.round == newest.scalar_subquery()
        )
        return chosen.where(_files.path.contains(search, autoescape=True)) if search else chosen

    # The runs that use a version

    def use(self, run_id: str, versions: Collection[tuple[str, int]]) -> None:
        """Record that a run uses versions, which are whole: Conflict, NotFound otherwise."""
        for name, version in sorted(set(versions)):
            found = self.find(name, version)
            if found.state is not DatastoreState.SUCCEEDED:
                raise Conflict(f"datastore {name}:{version} is {found.state.value}: {found.reason}")
            self._connection.execute(insert(run_datastores).values(run_id=run_id, name=name, version=version))

    def uses(self, name: str, version: int) -> list[DatastoreUse]:
        """Return the runs that use a version, newest first."""
        used = run_datastores.c
        found = (
            select(runs.c.id, runs.c.name)
            .join(run_datastores, used.run_id == runs.c.id)
            .where(used.name == name, used.version == version)
            .order_by(runs.c.created_us.desc())
        )
        return [DatastoreUse(run=run, active=self._active(id)) for id, run in self._connection.execute(found)]

    def used_by(self, run_id: str) -> Sequence[tuple[str, int]]:
        """Return the versions that a run uses."""
        used = run_datastores.c
        chosen = select(used.name, used.version).where(used.run_id == run_id).order_by(used.name, used.version)
        return [(name, version) for name, version in self._connection.execute(chosen)]

    def _active(self, run_id: str) -> tuple[str, ...]:
        going = (experiments.c.run_id == run_id, experiments.c.state.not_in(_ended))
        chosen = select(experiments.c.name).where(*going).order_by(experiments.c.index)
        return tuple(self._connection.execute(chosen).scalars())

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
            there_are = select(_versions.name).distinct().order_by(_versions.name)
            names = self._connection.execute(there_are).scalars().all()
            if close := get_close_matches(name, names):
                hint = f"did you mean {' or '.join(close)}?"
            elif names:
                hint = f"there are {', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''}"
            else:
                hint = "`grid datastore create` makes one"
            return NotFound(f"there is no datastore named {name!r}", hint=hint)
        known = ", ".join(f"{v} ({s.value})" for v, s in reversed(versions[:_NAMED]))
        if version is None:
            return NotFound(f"no version of the datastore {name!r} is whole", hint=f"its versions are {known}")
        return NotFound(f"the datastore {name!r} has no version {version}", hint=f"its versions are {known}")


def _row(name: str, version: int, round: int, file: DatastoreFile) -> dict[str, object]:
    return {
        "name": name,
        "version": version,
        "round": round,
        "position": file.position,
        "path": file.path,
        "size": file.size,
        "digest": file.digest,
        "executable": file.executable,
    }
