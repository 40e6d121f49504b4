"""What runs read: versions that their arguments name, where ranks see them, and whether they are as they were made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import DataChanged, NotFound
from opengrid.core.mounts import MOUNT_ROOT, Mount, check_mount_path
from opengrid.core.names import named
from opengrid.core.packs import Piece
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind, DatastoreVersion
from opengrid.core.spec import RunSpec
from opengrid.planning.arguments import find_references, substitute
from opengrid.services.datastores import Datastores, check_whole
from opengrid.services.looks import Looks
from opengrid.services.references import OpenBucket, is_bucket, no_bucket
from opengrid.services.trees import Trees
from opengrid.store.database import Database

#: How long links to what is only referred to work.
REFERRED_LINK_S = 900.0

#: The machines of an attempt come within so many seconds, for the most part.
_GANG_S = 60.0


class RunData:
    """Use cases around the datastores of a run. `has_mounts` tells whether ranks of this host can have mounts."""

    def __init__(
        self,
        database: Database,
        datastores: Datastores,
        contents: Blobs,
        trees: Trees,
        *,
        has_mounts: Callable[[], bool],
        now_us: Callable[[], int],
        open_bucket: OpenBucket = no_bucket,
    ) -> None:
        self._database, self._datastores, self._contents, self._trees = database, datastores, contents, trees
        self._has_mounts, self._now_us, self._open_bucket = has_mounts, now_us, open_bucket
        self._looks = Looks(_GANG_S, clock=time.monotonic)

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
                check_whole(found)
                paths[reference.text] = str(self._place(found))
        return substitute(arguments, paths)

    def mounts(self, words: Sequence[str], spec: RunSpec) -> tuple[Mount, ...]:
        """Return the versions that arguments name and the one that is asked for beside them, with where they are seen.

        NotFound, Conflict for one that does not exist, or is not whole.
        """
        chosen: dict[str, DatastoreVersion] = {}  # by path: two may not be in one place
        with self._database.read() as tx:
            for reference in find_references(words):
                found = tx.data.find(reference.name, reference.version)
                chosen[str(self._place(found))] = found
            if spec.datastore_name is not None:
                found = tx.data.find(spec.datastore_name, spec.datastore_version)
                check_whole(found)
                path = spec.datastore_mount_dir or f"{MOUNT_ROOT}/{found.name}"
                chosen[check_mount_path(path)] = found
        is_bound = bool(chosen) and self._has_mounts()
        return tuple(
            Mount(
                name=found.name,
                version=found.version,
                path=path,
                source=str(self._place(found)),
                is_fetched=self._is_fetched(found),
                is_shared=_is_shared(found),
                is_bound=is_bound,
            )
            for path, found in chosen.items()
        )

    def check_mounts(self, mounts: Sequence[Mount], attempt_id: str) -> None:
        """See that the versions are as they were made, and repair what is not; DataChanged names what cannot be.

        Contents of a bucket are looked at where they are brought to. All machines of an attempt ask, most of them at
        once: what a version refers to is listed for the first one.
        """
        for name, version in {(mount.name, mount.version) for mount in mounts}:
            with self._database.read() as tx:
                found = tx.data.find(name, version)
            if found.kind is DatastoreKind.REFERENCED:
                key = (attempt_id, name, version)
                self._looks.once(key, lambda found=found: self._check_reference(found))
                continue
            if self._has_links or self._trees.is_untouched(found):
                continue
            verdict = self._datastores.verify(name, version)
            if verdict.damaged:
                raise DataChanged(
                    f"datastore {name}:{version} is damaged: {named(verdict.damaged)}",
                    hint=f"create {name} from its source again, then `grid datastore verify {name}:{version}`",
                )
            with self._database.transaction() as tx:
                tx.data.touch(name, version, self._now_us())

    def path(self, name: str, version: int) -> Path:
        """Return where a version's tree lies."""
        return self._trees.path(name, version)

    def referred_links(self, found: DatastoreVersion, files: Sequence[DatastoreFile]) -> list[str]:
        """Return a link for each file of a version that refers to a bucket."""
        bucket = self._open_bucket(found.source)
        return bucket.links("GET", [file.path for file in files], REFERRED_LINK_S)

    def links_to(self, files: Sequence[DatastoreFile]) -> tuple[list[str], list[tuple[Piece, ...]]] | None:
        """Return links, and which bytes of them each file's content is; None where the server itself has the files."""
        links = self._contents.links
        return None if links is None else links.to_get([file.digest for file in files])

    def _place(self, found: DatastoreVersion) -> Path:
        return Path(found.source) if _is_shared(found) else self.path(found.name, found.version)

    def _is_fetched(self, found: DatastoreVersion) -> bool:
        if found.kind is DatastoreKind.REFERENCED:
            return is_bucket(found.source)
        return self._has_links

    def _check_reference(self, found: DatastoreVersion) -> None:
        changed = self._datastores.verify(found.name, found.version).damaged
        if changed:
            raise DataChanged(
                f"datastore {found.name}:{found.version} refers to {found.source}, where {_files(len(changed))} "
                f"changed since: {named(changed)}",
                hint=f"create {found.name} from there again: that is another version",
            )

    @property
    def _has_links(self) -> bool:
        """Whether machines fetch contents by links, and keep what they read."""
        return self._contents.links is not None


def _is_shared(found: DatastoreVersion) -> bool:
    """Return whether a version is a folder that all machines see."""
    return found.kind is DatastoreKind.REFERENCED and not is_bucket(found.source)


def _files(number: int) -> str:
    return "1 file has" if number == 1 else f"{number:,} files have"
