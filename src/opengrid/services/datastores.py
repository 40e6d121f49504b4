"""Datastores as one finds them: their versions listed, looked at, verified, removed."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import Conflict
from opengrid.core.names import named
from opengrid.core.records.datastores import (
    DatastoreFile,
    DatastoreKind,
    DatastoreState,
    DatastoreUse,
    DatastoreVersion,
)
from opengrid.services.callers import Caller
from opengrid.services.references import OpenBucket, changed_files, no_bucket, referred_files
from opengrid.services.removals import DataRemovals
from opengrid.services.trees import Trees, Verdict
from opengrid.store.database import Database, Transaction


class Datastores:
    """Use cases around versions that are there."""

    def __init__(
        self, database: Database, root: Path, contents: Blobs, trees: Trees, *, open_bucket: OpenBucket = no_bucket
    ) -> None:
        self._database, self._contents, self._trees = database, contents, trees
        self._removals = DataRemovals(database, root, contents, trees)
        self._open_bucket, self._verifying = open_bucket, threading.Lock()

    def list(
        self, *, name: str | None = None, limit: int | None = None, offset: int = 0
    ) -> tuple[list[DatastoreVersion], int]:
        """Return a page of versions, newest first, and how many there are; of what is being filled, what arrived."""
        with self._database.read() as tx:
            page = tx.data.list(name=name, limit=limit, offset=offset)
            return [_as_filled(tx, found) for found in page], tx.data.count(name)

    def show(self, name: str, version: int | None) -> tuple[DatastoreVersion, list[DatastoreUse]]:
        """Return a version, or the newest whole one, and the runs that use it."""
        with self._database.read() as tx:
            found = tx.data.find(name, version)
            return _as_filled(tx, found), tx.data.uses(name, found.version)

    def files(
        self, name: str, version: int, *, limit: int, offset: int, search: str
    ) -> tuple[list[DatastoreFile], int, int]:
        """Return a page of a version's files by path, how many there are, and their bytes."""
        with self._database.read() as tx:
            tx.data.find(name, version)
            page = tx.data.files(name, version, limit=limit, offset=offset, search=search)
            return page, *tx.data.count_files(name, version, search)

    def verify(self, name: str, version: int) -> Verdict:
        """Read every file of a version and put right what can be; contents are taken from other copies on this disk."""
        with self._database.read() as tx:
            found = tx.data.find(name, version)
            files = tx.data.files(name, version)
        check_whole(found)
        if len(files) != found.files:
            raise Conflict(
                f"datastore {name}:{version} was made before digests of its files were kept",
                hint="create it again from its source, as another version",
            )
        if found.kind is DatastoreKind.REFERENCED:
            changed = changed_files(files, referred_files(found.source, self._open_bucket))
            return Verdict(files=len(files), damaged=tuple(changed), repaired=())
        with self._verifying:  # all machines of a gang may find the same damage
            if self._contents.links is None:
                return self._trees.verify(found, files)
            damaged = self._contents.check({file.digest for file in files})
            return Verdict(files=len(files), damaged=tuple(f.path for f in files if f.digest in damaged), repaired=())

    def delete(self, name: str, version: int | None, caller: Caller) -> tuple[list[int], int]:
        """Remove a version, or all of a datastore; return which, and the bytes that this freed.

        Conflict, touching nothing, while an experiment that has not ended uses one of them.
        """
        with self._database.transaction(frees_space=True) as tx:
            chosen = [tx.data.find(name, version)] if version is not None else tx.data.list(name=name)
            if not chosen:
                tx.data.find(name, None)  # which says what there is
            check_owner(tx, name, caller)
            for found in chosen:
                users = [experiment for use in tx.data.uses(name, found.version) for experiment in use.active]
                if users:
                    raise Conflict(
                        f"datastore {name}:{found.version} is used by {named(users)}",
                        hint="wait for its end, or stop it: `grid stop experiment NAME`",
                    )
            contents: set[str] = set()
            for found in chosen:
                digests = tx.data.remove(name, found.version)
                contents |= digests if found.kind is DatastoreKind.COPIED else set()
            removal = self._removals.plan(tx, contents, trees=chosen, uploads=chosen)
        return [found.version for found in chosen], self._removals.carry_out(removal)

    def finish_removals(self) -> None:
        """Remove what servers before this one had deleted and not removed."""
        self._removals.finish()

    def location(self, found: DatastoreVersion) -> str:
        """Return where a version rests, for people to see."""
        if found.kind is DatastoreKind.REFERENCED:
            return found.source
        links = self._contents.links
        return links.place if links is not None else str(self._trees.path(found.name, found.version))

    @property
    def protection(self) -> str:
        """How scripts are kept from changing a version, in words."""
        return self._trees.protection


def check_owner(tx: Transaction, name: str, caller: Caller) -> None:
    """Raise Forbidden for a datastore that is somebody else's."""
    owner = tx.data.owner(name)
    if owner is not None:
        caller.check(owner, f"the datastore {name}")


def check_whole(found: DatastoreVersion) -> None:
    """Raise Conflict for a version that nobody can use."""
    if found.state is not DatastoreState.SUCCEEDED:
        reason = f": {found.reason}" if found.reason else ""
        raise Conflict(f"datastore {found.name}:{found.version} is {found.state.value}{reason}")


def _as_filled(tx: Transaction, found: DatastoreVersion) -> DatastoreVersion:
    if found.state is not DatastoreState.PROCESSING:
        return found
    files, size = tx.data.count_files(found.name, found.version)
    return dataclasses.replace(found, files=files, size=size)
