"""Artifacts: the files that experiments made, taken from agents, listed and served, removed when nobody needs them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from opengrid.blobs.blobs import Blobs, BlobWriter
from opengrid.blobs.blobs import Links as BucketLinks
from opengrid.core.disks import reserved_bytes
from opengrid.core.errors import Forbidden, InvalidValue, NotFound, Unusable
from opengrid.core.gang import Gang
from opengrid.core.manifest import is_inside, safe_path
from opengrid.core.packs import Located, Packed, PackLink
from opengrid.core.protocol import MOST_ARTIFACTS, ArtifactFile, Wanted
from opengrid.core.records.artifacts import Artifact
from opengrid.core.records.attempts import Attempt
from opengrid.core.records.removals import RunRemoval
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.attempts import open_attempt
from opengrid.services.claims import Claims
from opengrid.services.removals import remove_contents
from opengrid.store.database import Database, Transaction

_LONGEST_PATH = 1 << 14

#: Where the server's own record of an experiment lies among its artifacts, and where when its script writes that file.
_RECORDS = ("run.json", "run.grid.json", *(f"run.grid.{number}.json" for number in range(2, 10)))


class Folder(NamedTuple):
    """A folder, and what is in it and below."""

    name: str
    files: int
    size: int


class Artifacts:
    """Use cases around artifacts. Contents lie in a store of their own, one file each, however many nodes wrote it."""

    def __init__(
        self,
        database: Database,
        root: Path,
        contents: Blobs,
        *,
        now_us: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._now_us = database, now_us
        self._blobs, self._claims = contents, Claims(clock=clock)
        self._root, self._staging = root, root / "staging"

    def staging_folder(self, attempt_id: str, machine: int) -> Path:
        """Return where an agent on this host puts contents before it offers them, made when it is missing."""
        folder = self._staging / f"{attempt_id}-{machine}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def offer(self, agent: AgentIdentity, files: Sequence[ArtifactFile]) -> Wanted:
        """Record files whose content is here, or staged; return the contents that are missing. Repeating is harmless.

        What is staged is verified, and taken away when it is not what it says. Of a content that several machines of a
        gang have, one is told to bring it, and the others that it is coming.
        """
        if len(files) > MOST_ARTIFACTS:
            raise InvalidValue(f"at most {MOST_ARTIFACTS} files in one offer, not {len(files)}")
        for file in files:
            _check(file)
        self._take_staged(agent, {file.sha256 for file in files})
        # In one transaction with the look at the disk: contents are removed in transactions too, and only one writes.
        with self._database.transaction() as tx:
            attempt = open_attempt(tx, agent.attempt_id)
            nodes = {node.index for node in _gang(tx, attempt).nodes_of(agent.machine)}
            strange = next((file for file in files if file.node not in nodes), None)
            if strange is not None:
                raise InvalidValue(f"node {strange.node} is none of machine {agent.machine}")
            sizes = self._blobs.sizes([file.sha256 for file in files])
            found = [file for file in files if sizes.get(file.sha256) == file.size]
            _keep_record_apart(tx, attempt.experiment_id, {file.path for file in found if file.node == 0})
            replaced = tx.artifacts.save([_artifact(attempt, file, self._now_us()) for file in found])
            removal = _removal(tx, replaced)
        self._remove(removal)
        here = set(found)
        missing = dict.fromkeys(file.sha256 for file in files if file not in here)
        self._claims.settle(agent.attempt_id, {file.sha256 for file in found})
        coming = self._claims.claim(agent.attempt_id, agent.machine, missing)
        return Wanted(
            contents=tuple(digest for digest in missing if digest not in coming),
            coming=tuple(digest for digest in missing if digest in coming),
        )

    def keep_records(self, contents: Mapping[str, bytes]) -> None:
        """Store the server's own records of experiments, by their ids, among their artifacts; the newest one stays."""
        for content in contents.values():
            with self._blobs.writing(hashlib.sha256(content).hexdigest()) as writer:
                writer.write(content)
        replaced: set[str] = set()
        with self._database.transaction() as tx:
            for experiment_id, content in contents.items():
                path = tx.artifacts.record_path(experiment_id) or _place_of_record(tx, experiment_id, set())
                replaced |= tx.artifacts.save([_record(experiment_id, path, content, self._now_us())])
            removal = _removal(tx, replaced)
        self._remove(removal)

    @property
    def has_links(self) -> bool:
        """Whether contents are brought and fetched by links."""
        return self._blobs.links is not None

    def links(self, agent: AgentIdentity, packs: Sequence[str]) -> list[PackLink]:
        """Return where an agent puts packs; those that are here already are left out."""
        self._check_open(agent)
        return self._of_bucket().to_put(packs)

    def take_packed(self, agent: AgentIdentity, contents: Sequence[Packed]) -> list[str]:
        """Take in contents whose packs were put; return packs that are missing: then nothing is.

        Repeating is harmless.
        """
        self._check_open(agent)
        return self._of_bucket().add(contents)

    def locate(self, experiment: str, id: str, digest: str) -> Located:
        """Return where an artifact's content is; NotFound too when that is no longer `digest`."""
        return self._located(self._find(experiment, id, digest).digest)

    def locate_own(self, agent: AgentIdentity, digest: str) -> Located:
        """Return where a content of the agent's own experiment is; Forbidden for any other."""
        self._check_own(agent, digest)
        return self._located(digest)

    @contextmanager
    def receiving(self, agent: AgentIdentity, digest: str, size: int) -> Generator[BlobWriter]:
        """Receive a content of so many bytes in pieces; verified on leaving."""
        self._check_open(agent)
        self._check_space(size)
        with self._blobs.writing(digest) as writer:
            yield _Heard(writer, lambda: self._claims.heard(agent.attempt_id, agent.machine))

    def content(self, agent: AgentIdentity, digest: str) -> Path:
        """Return where a content of the agent's own experiment lies, for it to put back; Forbidden for any other."""
        self._check_own(agent, digest)
        return self._blobs.path(digest)

    def list(self, experiment: str, *, limit: int, offset: int) -> tuple[list[Artifact], int, int]:
        """Return a page of an experiment's artifacts by path, how many there are, and their bytes."""
        with self._database.read() as tx:
            id = tx.runs.experiment(experiment).id
            return tx.artifacts.list(id, limit=limit, offset=offset), *tx.artifacts.count(id)

    def all(self, experiment: str) -> Sequence[Artifact]:
        """Return all artifacts of an experiment, by path and node."""
        with self._database.read() as tx:
            return tx.artifacts.all(tx.runs.experiment(experiment).id)

    def all_of_run(self, run: str) -> dict[str, Sequence[Artifact]]:
        """Return the artifacts of all experiments of a run, by the experiments' names."""
        with self._database.read() as tx:
            experiments = tx.runs.experiments(tx.runs.find(run).id)
            return {experiment.name: tx.artifacts.all(experiment.id) for experiment in experiments}

    def folder(
        self, experiment: str, node: int | None, path: str, *, limit: int, offset: int
    ) -> tuple[Sequence[Folder], Sequence[Artifact], int]:
        """Return a page of what lies in a folder of a node, folders first, and how much there is in all.

        Without a node, the nodes are the folders.
        """
        above = f"{path.strip('/')}/" if path.strip("/") else ""
        with self._database.read() as tx:
            id = tx.runs.experiment(experiment).id
            if node is None:
                folders = [Folder(str(number), files, size) for number, files, size in tx.artifacts.nodes(id)]
                return folders[offset : offset + limit], [], len(folders)
            folders, names = in_folder(tx.artifacts.paths(id, node, above), above)
            shown = names[max(0, offset - len(folders)) : max(0, offset + limit - len(folders))]
            files = tx.artifacts.some(id, node, [above + name for name in shown])
        return folders[offset : offset + limit], files, len(folders) + len(names)

    def find(self, experiment: str, id: str, digest: str | None = None) -> tuple[Artifact, Path]:
        """Return an artifact and where its content lies; NotFound too when the content is no longer `digest`."""
        artifact = self._find(experiment, id, digest)
        return artifact, self._blobs.path(artifact.digest)

    def place(self, artifact: Artifact) -> Path:
        """Return where an artifact's content lies; NotFound when it was replaced meanwhile."""
        return self._blobs.path(artifact.digest)

    def source(self, artifact: Artifact) -> Path | None:
        """Return where an artifact's content lies for agents of this host; None when they fetch it by links."""
        return None if self.has_links else self._blobs.path(artifact.digest)

    def location(self, artifact: Artifact) -> str:
        """Return where an artifact's content is stored, for people to see."""
        return self._blobs.location(artifact.digest)

    def remove_contents(self, removal: RunRemoval) -> None:
        """Remove those of its contents that no artifact has any more, and cross the removal out."""
        remove_contents(self._database, self._blobs, removal, lambda tx, some: tx.artifacts.unused(some))

    def _remove(self, removal: RunRemoval | None) -> None:
        if removal is not None:
            self.remove_contents(removal)

    def forget(self, attempt_id: str) -> None:
        """Forget an attempt that is over, and remove what its agents have left half done."""
        self._claims.forget(attempt_id)
        for folder in self._staging.glob(f"{attempt_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _take_staged(self, agent: AgentIdentity, digests: Collection[str]) -> None:
        self._check_open(agent)
        missing = set(digests) - self._blobs.sizes(digests).keys()
        if missing:
            folder = self.staging_folder(agent.attempt_id, agent.machine)
            for digest in missing.intersection(os.listdir(folder)):
                with contextlib.suppress(NotFound, InvalidValue):
                    self._blobs.adopt(folder / digest, digest)

    def _find(self, experiment: str, id: str, digest: str | None) -> Artifact:
        with self._database.read() as tx:
            artifact = tx.artifacts.find(tx.runs.experiment(experiment).id, id)
        if digest not in (None, artifact.digest):
            raise NotFound(f"{artifact.path} has changed meanwhile", hint="ask for its newest version")
        return artifact

    def _located(self, digest: str) -> Located:
        links, (pieces,) = self._of_bucket().to_get([digest])
        return Located(links=tuple(links), pieces=pieces)

    def _of_bucket(self) -> BucketLinks:
        links = self._blobs.links
        if links is None:
            raise InvalidValue("this server keeps contents in a folder: there are no links to it")
        return links

    def _check_own(self, agent: AgentIdentity, digest: str) -> None:
        with self._database.read() as tx:
            attempt = open_attempt(tx, agent.attempt_id)
            if digest not in tx.artifacts.digests([attempt.experiment_id]):
                raise Forbidden("this attempt's experiment has no such content")

    def _check_open(self, agent: AgentIdentity) -> None:
        self._claims.heard(agent.attempt_id, agent.machine)
        with self._database.read() as tx:
            open_attempt(tx, agent.attempt_id)

    def _check_space(self, size: int) -> None:
        """Leave some space to whatever else uses the disk: on this host that may be the training itself."""
        disk = shutil.disk_usage(self._root)
        if disk.free - size < reserved_bytes(disk.total):
            raise Unusable(
                f"no space left for {size} bytes below {self._root}: {disk.free >> 20} MiB are free",
                hint="free space there: `grid delete` removes old runs with their artifacts",
            )


class _Heard:
    """A content on its way in; with each piece it is known that its sender lives."""

    def __init__(self, writer: BlobWriter, heard: Callable[[], None]) -> None:
        self._writer, self._heard = writer, heard

    def write(self, data: bytes) -> None:
        self._heard()
        self._writer.write(data)


def in_folder(found: Iterable[tuple[str, int]], above: str) -> tuple[Sequence[Folder], Sequence[str]]:
    """Divide paths below `above`, with their sizes, into the folders and the files that lie right in it."""
    folders: dict[str, Folder] = {}
    files: list[str] = []
    for path, size in found:
        name, inside, _ = path[len(above) :].partition("/")
        if inside:
            before = folders.get(name, Folder(name, 0, 0))
            folders[name] = Folder(name, before.files + 1, before.size + size)
        else:
            files.append(name)
    return sorted(folders.values()), sorted(files)


def _removal(tx: Transaction, replaced: Collection[str]) -> RunRemoval | None:
    """Write down contents that newer ones have replaced."""
    if not replaced:
        return None
    removal = RunRemoval(id=uuid.uuid4().hex, contents=tuple(replaced))
    tx.removals.add(removal)
    return removal


def _check(file: ArtifactFile) -> None:
    if not is_inside(file.path):
        safe_path(Path("/"), file.path)  # which says more of some
    if not is_inside(file.path) or len(file.path) > _LONGEST_PATH or file.size < 0:
        raise InvalidValue(f"{file.path[:100]!r} of {file.size} bytes cannot be an artifact")


def _keep_record_apart(tx: Transaction, experiment_id: str, paths: Set[str]) -> None:
    """Let the server's own record make way for files that a script calls like it."""
    if paths.isdisjoint(_record_names(experiment_id)):
        return  # finding the record looks at all files of the experiment
    if tx.artifacts.record_path(experiment_id) in paths:
        tx.artifacts.move_record(experiment_id, _place_of_record(tx, experiment_id, paths))


def _place_of_record(tx: Transaction, experiment_id: str, paths: Collection[str]) -> str:
    """Return a name that no file of the script has, nor one of these paths."""
    taken = {*paths, *(found.path for found in tx.artifacts.some(experiment_id, 0, _RECORDS))}
    *names, last = _record_names(experiment_id)
    return next((name for name in names if name not in taken), last)


def _record_names(experiment_id: str) -> tuple[str, ...]:
    """Return how the server's own record of an experiment may be called, the last one when all others are taken."""
    return *_RECORDS, f"{experiment_id}.json"


def _gang(tx: Transaction, attempt: Attempt) -> Gang:
    run_id = tx.runs.experiment_by_id(attempt.experiment_id).run_id
    return tx.runs.find_by_id(run_id, is_counted=False).plan.gang


def _artifact(attempt: Attempt, file: ArtifactFile, now_us: int) -> Artifact:
    return Artifact(
        experiment_id=attempt.experiment_id,
        node=file.node,
        path=file.path,
        version=1,
        attempt=attempt.number,
        digest=file.sha256,
        size=file.size,
        modified_us=file.modified_us,
        collected_us=now_us,
    )


def _record(experiment_id: str, path: str, content: bytes, now_us: int) -> Artifact:
    return Artifact(
        experiment_id=experiment_id,
        node=0,
        path=path,
        version=1,
        attempt=0,
        digest=hashlib.sha256(content).hexdigest(),
        size=len(content),
        modified_us=now_us,
        collected_us=now_us,
    )
