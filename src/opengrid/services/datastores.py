"""Datastores: versions that are filled, looked at, removed; and the paths that script arguments get for them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.blobs.blobs import Links as BucketLinks
from opengrid.core.disks import DiskGuard
from opengrid.core.errors import Conflict, DataChanged, InvalidValue, NotFound, Unusable
from opengrid.core.manifest import check_paths, tree_digest
from opengrid.core.mounts import MOUNT_ROOT, Mount, check_mount_path
from opengrid.core.names import check_name
from opengrid.core.packs import Packed, PackLink, Piece
from opengrid.core.records.datastores import (
    DatastoreFile,
    DatastoreKind,
    DatastoreState,
    DatastoreUse,
    DatastoreVersion,
)
from opengrid.core.spec import RunSpec
from opengrid.planning.arguments import find_references, substitute
from opengrid.services.callers import Caller
from opengrid.services.looks import Looks
from opengrid.services.references import OpenBucket, changed_files, is_bucket, no_bucket, referred_files
from opengrid.services.trees import Trees, Verdict
from opengrid.store.database import Database, Transaction

#: Most files in one offer.
MOST_FILES = 4000

_BATCH = 500

#: How long links to what is only referred to work.
REFERRED_LINK_S = 900.0

#: The machines of an attempt come within so many seconds, for the most part.
_GANG_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A version that takes files."""

    version: DatastoreVersion
    staging: Path  #: where a client on this host puts contents, each under its SHA-256
    least_free: int  #: bytes of its disk that are left free
    is_resumed: bool


class Datastores:
    """Use cases around datastores. Each content is stored once, however many versions have it."""

    def __init__(
        self,
        database: Database,
        root: Path,
        contents: Blobs,
        *,
        has_mounts: Callable[[], bool],
        disks: DiskGuard,
        now_us: Callable[[], int],
        open_bucket: OpenBucket = no_bucket,
    ) -> None:
        self._database, self._root, self._now_us, self._has_mounts = database, root, now_us, has_mounts
        self._open_bucket = open_bucket
        self._contents, self._disks = contents, disks
        self._verifying = threading.Lock()
        self._looks = Looks(_GANG_S, clock=time.monotonic)
        self._trees = Trees(root, self._contents, has_mounts=has_mounts)

    def check_owner(self, name: str, caller: Caller) -> None:
        """Raise Forbidden for a datastore that is somebody else's."""
        with self._database.read() as tx:
            _check_owner(tx, name, caller)

    # Filling a version

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
            _check_owner(tx, name, caller)
            version = tx.data.begin_again(upload) if upload else None
            is_resumed = version is not None
            if version is None:
                version = tx.data.next_version(
                    name, caller.name, source, self._now_us(), upload=uuid.uuid4().hex, kind=kind
                )
        staging = self._staging(version)
        try:
            staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unusable(f"cannot write below {self._root}: {error.strerror}", hint="free space there") from error
        least_free = self._disks.least_of(staging)
        return Opened(version=version, staging=staging, least_free=least_free, is_resumed=is_resumed)

    def offer(self, name: str, version: int, round: int, files: Sequence[DatastoreFile]) -> list[str]:
        """Record files whose content is here, or staged; return the contents that are missing. Repeating is harmless.

        What is staged is verified, and taken away when it is not what it says.
        """
        if len(files) > MOST_FILES:
            raise InvalidValue(f"at most {MOST_FILES} files in one offer, not {len(files)}")
        check_paths([file.path for file in files])
        filling = self._filling(name, version, round)
        staging = self._staging(filling)
        staged = {file.digest for file in files}.intersection(_names(staging))
        self._contents.adopt_all(staging, staged - self._contents.sizes(staged).keys())
        # In one transaction with the look at the disk: contents are removed in transactions too, and only one writes.
        with self._database.transaction() as tx:
            _check_round(tx.data.find(name, version), round)
            sizes = self._contents.sizes([file.digest for file in files])
            is_here = [sizes.get(file.digest) == file.size for file in files]
            arrived = list(compress(files, is_here))
            tx.data.save_files(name, version, round, arrived)
        if self._contents.links is None:
            self._trees.begin(filling, arrived)
        missing = [file for file, here in zip(files, is_here, strict=True) if not here]
        self._disks.check(self._root, sum(file.size for file in missing))
        return list(dict.fromkeys(file.digest for file in missing))

    def partial(self, name: str, version: int, digest: str) -> Path:
        """Return the file that takes a content in parts; it becomes a staged one with staged()."""
        with self._database.read() as tx:
            found = tx.data.find(name, version)
        if found.state is not DatastoreState.PROCESSING:
            raise Conflict(f"datastore {name}:{version} is already {found.state.value}")
        self._contents.location(digest)  # which checks it
        return self._staging(found) / f"{digest}.part"

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
        if self._contents.links is None:
            self._trees.make(name, version, offered)
        with self._database.transaction() as tx:
            _check_round(tx.data.find(name, version), round)
            tx.data.finish(name, version, digest=digest, files=files, size=size, now_us=self._now_us())
            replaced = tx.data.drop_earlier_rounds(name, version, round)
            whole = tx.data.find(name, version)
        self._remove_unused(replaced)
        shutil.rmtree(self._staging(filled), ignore_errors=True)
        return whole

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
        shutil.rmtree(self._staging(version), ignore_errors=True)
        return dataclasses.replace(version, state=DatastoreState.SUCCEEDED, files=len(files), size=size)

    def tell(self, version: DatastoreVersion, text: str) -> None:
        """Say how far a version is that the server fills."""
        with self._database.transaction() as tx:
            tx.data.tell(version.name, version.version, text)

    def fail(self, version: DatastoreVersion, reason: str) -> None:
        """Say that a version will not become whole, and remove what came of it."""
        with self._database.transaction() as tx:
            try:
                tx.data.fail(version.name, version.version, reason, self._now_us())
            except (Conflict, NotFound):
                return  # deleted meanwhile
            contents = tx.data.drop_earlier_rounds(version.name, version.version, version.round + 1)
        shutil.rmtree(self._staging(version), ignore_errors=True)
        self._trees.remove(version.name, version.version)
        if version.kind is not DatastoreKind.REFERENCED:  # of which we have pins, and no contents
            self._remove_unused(contents)

    def filled_from(self, *sources: str) -> list[DatastoreVersion]:
        """Return the versions that are being filled from sources that begin like these, or that refer to theirs."""
        with self._database.read() as tx:
            found = [version for version in tx.data.list() if version.state is DatastoreState.PROCESSING]
        return [v for v in found if v.source.startswith(sources) or v.kind is DatastoreKind.REFERENCED]

    # Looking and removing

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
        _check_whole(found)
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
        with self._database.transaction() as tx:
            chosen = [tx.data.find(name, version)] if version is not None else tx.data.list(name=name)
            if not chosen:
                tx.data.find(name, None)  # which says what there is
            _check_owner(tx, name, caller)
            for found in chosen:
                users = [experiment for use in tx.data.uses(name, found.version) for experiment in use.active]
                if users:
                    raise Conflict(
                        f"datastore {name}:{found.version} is used by {_named(users)}",
                        hint="wait for its end, or stop it: `grid stop experiment NAME`",
                    )
            contents: set[str] = set()
            for found in chosen:
                digests = tx.data.remove(name, found.version)
                contents |= digests if found.kind is DatastoreKind.COPIED else set()
        for found in chosen:
            self._trees.remove(name, found.version)
            shutil.rmtree(self._staging(found), ignore_errors=True)
        return [found.version for found in chosen], self._remove_unused(contents)

    # Use by runs

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
                _check_whole(found)
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
                _check_whole(found)
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
            if self.has_links or self._trees.is_untouched(found):
                continue
            verdict = self.verify(name, version)
            if verdict.damaged:
                raise DataChanged(
                    f"datastore {name}:{version} is damaged: {_named(verdict.damaged)}",
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

    def _place(self, found: DatastoreVersion) -> Path:
        return Path(found.source) if _is_shared(found) else self.path(found.name, found.version)

    def _is_fetched(self, found: DatastoreVersion) -> bool:
        if found.kind is DatastoreKind.REFERENCED:
            return is_bucket(found.source)
        return self.has_links

    def _check_reference(self, found: DatastoreVersion) -> None:
        changed = self.verify(found.name, found.version).damaged
        if changed:
            raise DataChanged(
                f"datastore {found.name}:{found.version} refers to {found.source}, where {_files(len(changed))} "
                f"changed since: {_named(changed)}",
                hint=f"create {found.name} from there again: that is another version",
            )

    def links_to(self, files: Sequence[DatastoreFile]) -> tuple[list[str], list[tuple[Piece, ...]]] | None:
        """Return links, and which bytes of them each file's content is; None where the server itself has the files."""
        links = self._contents.links
        return None if links is None else links.to_get([file.digest for file in files])

    @property
    def has_links(self) -> bool:
        """Whether contents are brought and fetched by links, and machines keep what they read."""
        return self._contents.links is not None

    def location(self, found: DatastoreVersion) -> str:
        """Return where a version rests, for people to see."""
        if found.kind is DatastoreKind.REFERENCED:
            return found.source
        links = self._contents.links
        return links.place if links is not None else str(self.path(found.name, found.version))

    @property
    def protection(self) -> str:
        """How scripts are kept from changing a version, in words."""
        return self._trees.protection

    def _of_bucket(self) -> BucketLinks:
        links = self._contents.links
        if links is None:
            raise InvalidValue("this server keeps contents in a folder: there are no links to it")
        return links

    def _filling(self, name: str, version: int, round: int) -> DatastoreVersion:
        with self._database.read() as tx:
            found = tx.data.find(name, version)
        _check_round(found, round)
        return found

    def _remove_unused(self, digests: Collection[str]) -> int:
        left, freed = iter(digests), 0
        while batch := list(islice(left, _BATCH)):
            with self._database.transaction() as tx:  # nobody can begin to use one meanwhile
                freed += self._contents.remove(tx.data.unused(batch))
        return freed

    def _staging(self, version: DatastoreVersion) -> Path:
        return self._root / ".staging" / (version.upload or f"{version.name}-{version.version}")


def _check_owner(tx: Transaction, name: str, caller: Caller) -> None:
    owner = tx.data.owner(name)
    if owner is not None:
        caller.check(owner, f"the datastore {name}")


def _is_shared(found: DatastoreVersion) -> bool:
    """Return whether a version is a folder that all machines see."""
    return found.kind is DatastoreKind.REFERENCED and not is_bucket(found.source)


def _check_round(found: DatastoreVersion, round: int) -> None:
    if found.state is not DatastoreState.PROCESSING:
        raise Conflict(f"datastore {found.name}:{found.version} is already {found.state.value}")
    if found.round != round:
        raise Conflict(f"another command goes on with the upload of {found.name}:{found.version}")


def _check_whole(found: DatastoreVersion) -> None:
    if found.state is not DatastoreState.SUCCEEDED:
        reason = f": {found.reason}" if found.reason else ""
        raise Conflict(f"datastore {found.name}:{found.version} is {found.state.value}{reason}")


def _digest_of(files: Sequence[DatastoreFile]) -> str:
    return tree_digest((file.path, file.size, file.digest) for file in files)


def _as_filled(tx: Transaction, found: DatastoreVersion) -> DatastoreVersion:
    if found.state is not DatastoreState.PROCESSING:
        return found
    files, size = tx.data.count_files(found.name, found.version)
    return dataclasses.replace(found, files=files, size=size)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _files(number: int) -> str:
    return "1 file has" if number == 1 else f"{number:,} files have"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
