"""What the store has forgotten is removed from the disk, also when the server that forgot it was killed before."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import GridError
from opengrid.core.files import remove_folder
from opengrid.core.records.datastores import DatastoreVersion
from opengrid.core.records.removals import DataRemoval, Removal
from opengrid.services.trees import Trees
from opengrid.store.database import Database, Transaction

R = TypeVar("R", bound=Removal)

log = structlog.get_logger(__name__)

#: So many contents are looked at in one transaction.
_BATCH = 500


class DataRemovals:
    """Removes what lies of datastores below `root`."""

    def __init__(self, database: Database, root: Path, contents: Blobs, trees: Trees) -> None:
        self._database, self._root, self._contents, self._trees = database, root, contents, trees

    def plan(
        self,
        tx: Transaction,
        contents: Collection[str],
        *,
        trees: Sequence[DatastoreVersion] = (),
        uploads: Sequence[DatastoreVersion] = (),
    ) -> DataRemoval:
        """Write down what carry_out() shall remove when the transaction is committed."""
        removal = DataRemoval(
            id=uuid.uuid4().hex,
            contents=tuple(contents),
            versions=tuple((version.name, version.version) for version in trees),
            uploads=tuple(staging_of(self._root, version).name for version in uploads),
        )
        tx.removals.add(removal)
        return removal

    def carry_out(self, removal: DataRemoval) -> int:
        """Remove it, and cross it out; return the bytes that this freed. Repeating is harmless."""
        for name, version in removal.versions:
            self._trees.remove(name, version)
        for upload in removal.uploads:
            with contextlib.suppress(OSError):
                remove_folder(_staging(self._root) / upload)
        return remove_contents(self._database, self._contents, removal, lambda tx, some: tx.data.unused(some))

    def finish(self) -> None:
        """Remove what servers before this one had forgotten and not removed."""
        carry_out_all(self._database, DataRemoval, self.carry_out)


def staging_of(root: Path, version: DatastoreVersion) -> Path:
    """Return where contents of a version that is being filled are put, each under its SHA-256."""
    return _staging(root) / (version.upload or f"{version.name}-{version.version}")


def remove_contents(
    database: Database,
    contents: Blobs,
    removal: Removal,
    unused: Callable[[Transaction, Collection[str]], set[str]],
) -> int:
    """Remove those of its contents that nothing has, and cross the removal out; return the bytes that this freed."""
    left, freed = iter(removal.contents), 0
    while batch := list(islice(left, _BATCH)):
        with database.transaction() as tx:  # nobody can begin to use one meanwhile
            freed += contents.remove(unused(tx, batch))
    with database.transaction(frees_space=True) as tx:
        tx.removals.done(removal.id)
    return freed


def carry_out_all(database: Database, kind: type[R], carry_out: Callable[[R], object]) -> None:
    """Carry out what of a kind is written down; what cannot be removed now is left to the next server."""
    with database.read() as tx:
        planned = [removal for removal in tx.removals.all() if isinstance(removal, kind)]
    for removal in planned:
        try:
            carry_out(removal)
        except (GridError, OSError) as error:
            log.warning("cannot remove what was deleted", error=str(error))


def _staging(root: Path) -> Path:
    return root / ".staging"
