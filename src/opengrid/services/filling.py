"""Versions of datastores on their way: opened, offered files, made whole; each content is stored once."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

from opengrid.blobs.blobs import Blobs, Links
from opengrid.core.disks import DiskGuard
from opengrid.core.errors import Conflict, GridError, InvalidValue, NotFound, Unusable
from opengrid.core.manifest import check_paths, tree_digest
from opengrid.core.names import check_name
from opengrid.core.packs import Packed, PackLink
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind, DatastoreState, DatastoreVersion
from opengrid.services.callers import Caller
from opengrid.services.datastores import check_owner
from opengrid.services.references import OpenBucket, no_bucket, referred_files
from opengrid.services.removals import DataRemovals, staging_of
from opengrid.services.trees import Trees
from opengrid.store.database import Database

#: Most files in one offer.
MOST_FILES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A version that takes files."""

    version: DatastoreVersion
    staging: Path  #: where a client on this host puts contents, each under its SHA-256
    tree: Path | None  #: where it may put files as they will lie in the version; None where it cannot
    least_free: int  #: bytes of its disk that are left free
    is_resumed: bool


class Filling:
    """Use cases of whoever brings a version: a client, file by file, or the server itself."""

    def __init__(
        self,
        database: Database,
        root: Path,
        contents: Blobs,
        trees: Trees,
        *,
        disks: DiskGuard,
        now_us: Callable[[], int],
        open_bucket: OpenBucket = no_bucket,
    ) -> None:
        self._database, self._root, self._now_us = database, root, now_us
        self._contents, self._trees, self._disks, self._open_bucket = contents, trees, disks, open_bucket
        self._removals = DataRemovals(database, root, contents, trees)

    def check_owner(self, name: str, caller: Caller) -> None:
        """Raise Forbidden for a datastore that is somebody else's."""
        with self._database.read() as tx:
            check_owner(tx, name, caller)

    def open(
        self,
        name: str,
        source: str,
        caller: Caller,
        upload: str | None = None,
        kind: DatastoreKind = DatastoreKind.COPIED,
    ) -> Opened:
        """Open the next version of a datastore, or go on with the one that an upload was filling.

        A name belongs to who made its first version: Forbidden for others.
        """
        check_name(name, "datastore")
        self._disks.check(self._root)
        with self._database.transaction() as tx:
            check_owner(tx, name, caller)
            version = tx.data.begin_again(upload) if upload else None
            is_resumed = version is not None
            if version is None:
                version = tx.data.next_version(
                    name, caller.name, source, self._now_us(), upload=uuid.uuid4().hex, kind=kind
                )
        staging = staging_of(self._root, version)
        try:
            staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unusable(f"cannot write below {self._root}: {error.strerror}", hint="free space there") from error
        has_tree = kind is DatastoreKind.COPIED and self._contents.links is None
        tree = self._trees.open(version) if has_tree else None
        least_free = self._disks.least_of(staging)
        return Opened(version=version, staging=staging, tree=tree, least_free=least_free, is_resumed=is_resumed)

    def offer(
        self, name: str, version: int, round: int, files: Sequence[DatastoreFile], in_tree: Collection[str] = ()
    ) -> list[str]:
        """Record files whose content is here, or staged; return the contents that are missing. Repeating is harmless.

        What is staged is verified, and taken away when it is not what it says. `in_tree` are paths of files that a
        client has put where they will lie.
        """
        if len(files) > MOST_FILES:
            raise InvalidValue(f"at most {MOST_FILES} files in one offer, not {len(files)}")
        check_paths([file.path for file in files])
        filling = self._filling(name, version, round)
        staging = staging_of(self._root, filling)
        staged = {file.digest for file in files}.intersection(_names(staging))
        self._contents.adopt_all(staging, staged - self._contents.sizes(staged).keys())
        # In one transaction with the look at the disk: contents are removed in transactions too, and only one writes.
        with self._database.transaction() as tx:
            _check_round(tx.data.find(name, version), round)
            taken = self._trees.take(filling, [file for file in files if file.path in in_tree])
            sizes = self._contents.sizes([file.digest for file in files if file.path not in taken])
            is_here = [file.path in taken or sizes.get(file.digest) == file.size for file in files]
            arrived = list(compress(files, is_here))
            tx.data.save_files(name, version, round, arrived)
            if self._contents.links is None:  # before anybody can delete the version, who waits for it then
                self._trees.begin(filling, arrived, taken)
        missing = [file for file, here in zip(files, is_here, strict=True) if not here]
        self._disks.check(self._root, sum(file.size for file in missing))
        return list(dict.fromkeys(file.digest for file in missing))

    def partial(self, name: str, version: int, digest: str) -> Path:
        """Return the file that takes a content in parts; under its digest alone it is a staged one."""
        staging = self._staging(name, version)
        self._contents.location(digest)  # which checks it
        return staging / f"{digest}.part"

    def stage(self, name: str, version: int, contents: Sequence[tuple[str, bytes]]) -> None:
        """Keep small contents, each with its digest, until they are offered; they are verified then."""
        staging = self._staging(name, version)
        for digest, content in contents:
            self._contents.location(digest)  # which checks it
            try:
                (staging / digest).write_bytes(content)
            except OSError as error:
                raise Unusable(f"cannot write below {staging}: {error.strerror}", hint="free space there") from error

    def links(self, name: str, version: int, round: int, packs: Sequence[str]) -> list[PackLink]:
        """Return where to put packs for a version that is being filled; those that are here already are left out."""
        self._filling(name, version, round)
        return self._of_bucket().to_put(packs)

    def take_packed(self, name: str, version: int, round: int, contents: Sequence[Packed]) -> list[str]:
        """Take in contents whose packs were put; return packs that are missing: then nothing is.

        Repeating is harmless.
        """
        self._filling(name, version, round)
        return self._of_bucket().add(contents)

    def finish(self, name: str, version: int, round: int, *, digest: str, files: int, size: int) -> DatastoreVersion:
        """Make a version's tree of what was offered in this round; Conflict when that is not what the sender says.

        Repeating is harmless.
        """
        with self._database.read() as tx:
            filled = tx.data.find(name, version)
            if (filled.state, filled.round, filled.digest) == (DatastoreState.SUCCEEDED, round, digest):
                return filled
            _check_round(filled, round)
            offered = tx.data.files(name, version)
        if not offered:
            raise InvalidValue(f"datastore {name}:{version} would be empty", hint="give a folder with files")
        arrived = sum(file.size for file in offered)
        if (_digest_of(offered), len(offered), arrived) != (digest, files, size):
            raise Conflict(
                f"datastore {name}:{version}: {len(offered)} files of {arrived} bytes arrived, "
                f"{files} of {size} were sent, or they differ",
                hint="repeat the command: it goes on where it was",
            )
        check_paths([file.path for file in offered])
        try:
            if self._contents.links is None:
                self._trees.make(filled, offered)
            with self._database.transaction() as tx:
                _check_round(tx.data.find(name, version), round)
                tx.data.finish(name, version, digest=digest, files=files, size=size, now_us=self._now_us())
                replaced = tx.data.drop_earlier_rounds(name, version, round)
                whole = tx.data.find(name, version)
                removal = self._removals.plan(tx, replaced, uploads=[filled])
        except GridError:
            self._check_is_there(name, version)
            raise
        self._removals.carry_out(removal)
        return whole

    def _check_is_there(self, name: str, version: int) -> None:
        """Raise NotFound for a version that was deleted while it became whole, perhaps before its tree was made."""
        try:
            with self._database.read() as tx:
                tx.data.find(name, version)
        except NotFound:
            self._trees.remove(name, version)
            raise

    def refer(self, version: DatastoreVersion) -> DatastoreVersion:
        """Make a version whole that only refers to its source: pin what lies there now."""
        files = referred_files(version.source, self._open_bucket)
        check_paths([file.path for file in files])
        left = iter(files)
        while batch := list(islice(left, MOST_FILES)):
            with self._database.transaction() as tx:
                _check_round(tx.data.find(version.name, version.version), version.round)
                tx.data.save_files(version.name, version.version, version.round, batch)
        digest, size = _digest_of(files), sum(file.size for file in files)
        with self._database.transaction() as tx:
            tx.data.finish(
                version.name,
                version.version,
                digest=digest,
                files=len(files),
                size=size,
                now_us=self._now_us(),
            )
            removal = self._removals.plan(tx, (), uploads=[version])
        self._removals.carry_out(removal)
        return dataclasses.replace(version, state=DatastoreState.SUCCEEDED, files=len(files), size=size)

    def tell(self, version: DatastoreVersion, text: str) -> bool:
        """Say how far a version is that the server fills; return whether it is still to be filled."""
        with self._database.transaction() as tx:
            return tx.data.tell(version.name, version.version, text)

    def fail(self, version: DatastoreVersion, reason: str, *, may_go_on: bool) -> None:
        """Say that a version did not become whole; what came of it is removed, or rests until somebody goes on."""
        with self._database.transaction(frees_space=True) as tx:
            try:
                tx.data.fail(version.name, version.version, reason, self._now_us(), may_go_on=may_go_on)
            except (Conflict, NotFound):
                return  # deleted meanwhile
            if may_go_on:
                return
            known = tx.data.drop_earlier_rounds(version.name, version.version, version.round + 1)
            contents = known if version.kind is DatastoreKind.COPIED else ()  # of references we have pins alone
            removal = self._removals.plan(tx, contents, trees=[version], uploads=[version])
        self._removals.carry_out(removal)

    def to_go_on(self, name: str, version: int, caller: Caller) -> DatastoreVersion:
        """Return a version that can be begun again, or was; Conflict for another, Forbidden for somebody else's."""
        with self._database.read() as tx:
            found = tx.data.find(name, version)
            check_owner(tx, name, caller)
        if not found.may_go_on and found.state is not DatastoreState.PROCESSING:
            raise Conflict(
                f"datastore {name}:{version} is {found.state.value}" + (f": {found.reason}" if found.reason else ""),
                hint="`grid datastore create` makes another version",
            )
        return found

    def filled_from(self, *sources: str) -> list[DatastoreVersion]:
        """Return the versions that are being filled from sources that begin like these, or that refer to theirs."""
        with self._database.read() as tx:
            found = [version for version in tx.data.list() if version.state is DatastoreState.PROCESSING]
        return [v for v in found if v.source.startswith(sources) or v.kind is DatastoreKind.REFERENCED]

    @property
    def has_links(self) -> bool:
        """Whether contents are brought by links."""
        return self._contents.links is not None

    def _of_bucket(self) -> Links:
        links = self._contents.links
        if links is None:
            raise InvalidValue("this server keeps contents in a folder: there are no links to it")
        return links

    def _staging(self, name: str, version: int) -> Path:
        with self._database.read() as tx:
            found = tx.data.find(name, version)
        if found.state is not DatastoreState.PROCESSING:
            raise Conflict(f"datastore {name}:{version} is already {found.state.value}")
        return staging_of(self._root, found)

    def _filling(self, name: str, version: int, round: int) -> DatastoreVersion:
        with self._database.read() as tx:
            found = tx.data.find(name, version)
        _check_round(found, round)
        return found


def _check_round(found: DatastoreVersion, round: int) -> None:
    if found.state is not DatastoreState.PROCESSING:
        raise Conflict(f"datastore {found.name}:{found.version} is already {found.state.value}")
    if found.round != round:
        raise Conflict(f"another command goes on with the upload of {found.name}:{found.version}")


def _digest_of(files: Sequence[DatastoreFile]) -> str:
    return tree_digest((file.path, file.size, file.digest) for file in files)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
