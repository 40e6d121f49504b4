"""Datastores: versions of folders, kept whole; and the paths that script arguments get for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from opengrid.core.errors import Conflict, InvalidValue, NotFound, Unusable
from opengrid.core.manifest import read_manifest
from opengrid.core.names import check_name
from opengrid.core.records import DatastoreState, DatastoreVersion
from opengrid.planning.arguments import find_references, substitute
from opengrid.store.database import Database


class Datastores:
    """Use cases around datastores. A version's tree is made once, at create, and mounted by its path."""

    def __init__(self, database: Database, root: Path, *, now_us: Callable[[], int]) -> None:
        self._database, self._root, self._now_us = database, root, now_us
        root.mkdir(parents=True, exist_ok=True)

    def create(self, name: str, source: str, user: str) -> tuple[DatastoreVersion, Path]:
        """Open the next version of a datastore; return it with the folder that takes its files until finish()."""
        check_name(name, "datastore")
        with self._database.transaction() as tx:
            version = tx.data.next_version(name, user, source, self._now_us())
        staging = self._staging(version.name, version.version)
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        except OSError as error:
            self.fail(name, version.version, str(error))
            raise Unusable(f"cannot write below {self._root}: {error.strerror}", hint="free space there") from error
        return version, staging

    def finish(self, name: str, version: int, *, digest: str, files: int, size: int) -> DatastoreVersion:
        """Verify what was put into the staging folder and make it the version's tree, whole or not at all."""
        self._processing(name, version)
        staging = self._staging(name, version)
        if not staging.is_dir():
            raise NotFound(f"datastore {name}:{version} has no staged files", hint="create it again")
        manifest = read_manifest(staging)
        if not manifest.files:
            self.fail(name, version, "the folder is empty")
            raise InvalidValue(f"datastore {name}:{version} would be empty", hint="give a folder with files")
        if (manifest.digest, len(manifest.files), manifest.size) != (digest, files, size):
            self.fail(name, version, "the files that arrived differ from those that were sent")
            raise InvalidValue(
                f"datastore {name}:{version}: {len(manifest.files)} files of {manifest.size} bytes arrived, "
                f"{files} of {size} were sent, or their contents differ",
                hint="was the source changed meanwhile? create it again",
            )
        _make_read_only(staging)
        os.replace(staging, self.path(name, version))
        with self._database.transaction() as tx:
            tx.data.finish(name, version, digest=digest, files=files, size=size)
            return tx.data.find(name, version)

    def fail(self, name: str, version: int, reason: str) -> None:
        """Record that a version will never be whole, and remove what arrived of it."""
        self._processing(name, version)
        shutil.rmtree(self._staging(name, version), ignore_errors=True)
        with self._database.transaction() as tx:
            tx.data.fail(name, version, reason)

    def list(self) -> list[DatastoreVersion]:
        """Return all versions, newest first."""
        with self._database.read() as tx:
            return tx.data.list()

    def resolve(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the arguments with every `grid:name:version` replaced by where that version is mounted.

        `latest` is the newest whole version. NotFound for a datastore or version that does not exist, InvalidValue
        for a malformed reference.
        """
        references = find_references(arguments)
        paths: dict[str, str] = {}
        with self._database.read() as tx:
            for reference in references:
                found = tx.data.find(reference.name, reference.version)
                if reference.user not in (None, found.user):
                    raise NotFound(f"{reference.text}: {reference.user} has no datastore {found.name}")
                if found.state is not DatastoreState.SUCCEEDED:
                    raise Conflict(f"datastore {found.name}:{found.version} is {found.state.value}: {found.reason}")
                paths[reference.text] = str(self.path(found.name, found.version))
        return substitute(arguments, paths)

    def path(self, name: str, version: int) -> Path:
        """Return where a version's tree lies."""
        return self._root / name / str(version)

    def _processing(self, name: str, version: int) -> None:
        with self._database.read() as tx:
            found = tx.data.find(name, version)
        if found.state is not DatastoreState.PROCESSING:
            raise Conflict(f"datastore {name}:{version} is already {found.state.value}")

    def _staging(self, name: str, version: int) -> Path:
        return self._root / name / f".{version}.staging"


def _make_read_only(tree: Path) -> None:
    """Take away write permission, against accidents; root can still write, so digests tell whether anybody did."""
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            os.chmod(Path(folder) / name, 0o444)
