"""From which checkpoint an experiment goes on: the newest complete and readable one of all its nodes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from opengrid.core import checkpoint_file
from opengrid.core.errors import NotFound
from opengrid.core.pickle_scan import Extent, extents_in, words_in
from opengrid.core.protocol import Restore, RestoreFile
from opengrid.core.records.artifacts import Artifact
from opengrid.core.records.attempts import Attempt
from opengrid.core.records.experiments import Event
from opengrid.planning.checkpoints import Candidate, Chosen, find_candidates, missing_pieces
from opengrid.services.artifacts import Artifacts
from opengrid.store.database import Database

#: So many candidates are looked into: some scripts save predictions under the names of checkpoints.
_LOOKED_INTO = 500

#: Larger checkpoints are not read through: their ranks would wait for it.
_MOST_READ = 1 << 30

#: So many of the files that are gone are told by name.
_NAMED = 5

#: Words in the pickle of a file that holds more than weights: from it, a training can go on.
_TRAINING_STATE = frozenset({"optimizer_state_dict", "optimizer", "param_groups"})
_LIGHTNING, _LIGHTNINGS_STATE = "pytorch-lightning_version", "optimizer_states"

#: Files of a folder whose words tell whether Lightning wrote it.
_TELLING = re.compile(r"(^|/)(meta|mp_rank_\d+_model_states)\.pt$")


class Checkpoints:
    """Finds what ranks go on from."""

    def __init__(self, database: Database, artifacts: Artifacts, *, now_us: Callable[[], int]) -> None:
        self._database, self._artifacts, self._now_us = database, artifacts, now_us
        self._undamaged: set[str] = set()  #: digests of contents that were read through before

    def restore(self, attempt: Attempt) -> Restore:
        """Return what the attempt's current generation goes on from; write down what was not taken, and why."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            gang = tx.runs.find_by_id(experiment.run_id).plan.gang
            found = [artifact for artifact in tx.artifacts.all(experiment.id) if not artifact.is_record]
        chosen = self._choose(find_candidates(found, gang.world_size))
        for candidate, problem in chosen.skipped:
            self._note(attempt, f"checkpoint {candidate.path} is not used: {problem}")
        taken = chosen.candidate
        files = [self._file(file, None) for file in taken.files] if taken is not None else []
        words = {file.path: file for file in _tags(taken)} if taken is not None else {}
        files = [*(file for file in files if file.path not in words), *words.values()]
        if attempt.generation == 1:  # of a new attempt, whose folders are new
            put = {file.path for file in files}
            files += self._others(attempt, [artifact for artifact in found if artifact.path not in put])
        return Restore(
            checkpoint=taken.path if taken is not None else None,
            is_lightning=chosen.is_lightning,
            files=tuple(files),
            aside=tuple(candidate.path for candidate, _ in chosen.skipped),
        )

    def _others(self, attempt: Attempt, artifacts: list[Artifact]) -> list[RestoreFile]:
        """Return what each node gets back beside the checkpoint; write down what the server has lost."""
        files: list[RestoreFile] = []
        gone: list[str] = []
        for artifact in artifacts:
            try:
                files.append(self._file(artifact, artifact.node))
            except NotFound:
                gone.append(artifact.path)
        if gone:
            more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
            self._note(attempt, f"not put back, for the content is gone: {', '.join(gone[:_NAMED])}{more}")
        return files

    def _choose(self, candidates: list[Candidate]) -> Chosen:
        """Return the newest that holds a training's state; weights alone only where there is nothing else."""
        skipped: list[tuple[Candidate, str]] = []
        weights: list[Candidate] = []
        for candidate in filter(self._is_checkpoint, candidates[:_LOOKED_INTO]):
            words, problem = self._look_into(candidate)
            is_state = candidate.is_folder or _hold_state(words)
            if problem is None and not is_state:
                weights.append(candidate)
                continue
            problem = problem or self._damage(candidate)
            if problem is None:
                # Lightning refuses to go on from a file of its own that holds weights alone.
                return Chosen(candidate=candidate, is_lightning=_LIGHTNING in words, skipped=tuple(skipped))
            skipped.append((candidate, problem))
        for candidate in weights:
            problem = self._damage(candidate)
            if problem is None:
                return Chosen(candidate=candidate, skipped=tuple(skipped))
            skipped.append((candidate, problem))
        return Chosen(skipped=tuple(skipped))

    def _is_checkpoint(self, candidate: Candidate) -> bool:
        """Return False for a file that torch did not write, where the name tells nothing."""
        if candidate.is_folder or not checkpoint_file.may_be_anything(candidate.path):
            return True
        try:
            return checkpoint_file.is_of_torch(self._artifacts.place(candidate.files[0]))
        except (OSError, NotFound):
            return False

    def _look_into(self, candidate: Candidate) -> tuple[frozenset[str], str | None]:
        """Return the words of a checkpoint's file, or of the telling ones of a folder, and what is wrong with it."""
        words: frozenset[str] = frozenset()
        if candidate.problem is not None:
            return words, candidate.problem
        try:
            for file, path in self._places(candidate):
                problem = _torn(path, file)
                if problem is not None:
                    return words, f"{file.path} is torn: {problem}"
                if not candidate.is_folder or _TELLING.search(file.path):
                    words |= checkpoint_file.words_of(path)
                problem = _missing_shards(path, file, candidate)
                if problem is not None:
                    return words, problem
            return words, self._missing_records(candidate)
        except (OSError, NotFound, ValueError) as error:
            return words, f"it cannot be read: {error}"

    def _missing_records(self, candidate: Candidate) -> str | None:
        """Return what of the pieces that an index of torch.distributed.checkpoint names is not there."""
        for folder in (candidate, *candidate.inner):
            if folder.index is None:
                continue
            index = self._artifacts.place(folder.index).read_bytes()
            named = {word for word in words_in(index) if word.endswith(".distcp")}
            missing = missing_pieces(folder, named)
            if missing:
                return f"{len(missing)} of its pieces are missing, such as {missing[0]}"
            sizes = {file.path: file.size for file in folder.files}
            for piece, extents in extents_in(index).items():
                end, size = max(map(sum, extents)), sizes.get(f"{folder.path}/{piece}", 0)
                if size < end:
                    return f"{piece} is torn: {end - size} bytes are missing"
        return None

    def _damage(self, candidate: Candidate) -> str | None:
        """Return which file's content is not what was written, after reading all of it."""
        if sum(file.size for file in candidate.files) > _MOST_READ:
            return None
        try:
            records = self._records(candidate)
            for file, path in self._places(candidate):
                known = records.get(file.path)
                if file.digest in self._undamaged or not (known or checkpoint_file.is_candidate(file.path)):
                    continue
                problem = checkpoint_file.damaged(path, known)
                if problem is not None:
                    return f"{file.path}: {problem}"
                self._undamaged.add(file.digest)
        except (OSError, NotFound, ValueError) as error:
            return f"it cannot be read: {error}"
        return None

    def _records(self, candidate: Candidate) -> dict[str, list[Extent]]:
        """Return where records lie in the pieces that an index of torch.distributed.checkpoint names."""
        found: dict[str, list[Extent]] = {}
        for folder in (candidate, *candidate.inner):
            if folder.index is not None:
                extents = extents_in(self._artifacts.place(folder.index).read_bytes())
                found |= {f"{folder.path}/{piece}": records for piece, records in extents.items()}
        return found

    def _places(self, candidate: Candidate) -> Iterator[tuple[Artifact, Path]]:
        return ((file, self._artifacts.place(file)) for file in candidate.files)

    def _file(self, artifact: Artifact, node: int | None) -> RestoreFile:
        return RestoreFile(
            node=node,
            path=artifact.path,
            size=artifact.size,
            sha256=artifact.digest,
            modified_us=artifact.modified_us,
            source=None if (place := self._artifacts.source(artifact)) is None else str(place),
        )

    def _note(self, attempt: Attempt, text: str) -> None:
        event = Event(
            at_us=self._now_us(),
            experiment_id=attempt.experiment_id,
            attempt=attempt.number,
            generation=attempt.generation,
            reason=text,
        )
        with self._database.transaction() as tx:
            tx.runs.note(event)


def _hold_state(words: frozenset[str]) -> bool:
    # Lightning speaks of an optimizer in a file of weights alone, too.
    return _LIGHTNINGS_STATE in words if _LIGHTNING in words else bool(words & _TRAINING_STATE)


def _tags(candidate: Candidate) -> Iterator[RestoreFile]:
    """Yield the files that tell DeepSpeed which folder is the newest: this one, whatever they said before."""
    for folder in (candidate, *candidate.inner):
        if folder.latest is not None:
            yield RestoreFile(
                node=None,
                path=folder.latest.path,
                size=len(folder.tag.encode()),
                sha256=hashlib.sha256(folder.tag.encode()).hexdigest(),
                modified_us=folder.latest.modified_us,
                text=folder.tag,
            )


def _torn(path: Path, file: Artifact) -> str | None:
    if checkpoint_file.is_candidate(file.path):
        return checkpoint_file.torn(path, file.path)
    if file.path.endswith("/trainer_state.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            return f"it is no JSON ({error})"
    return None


def _missing_shards(path: Path, file: Artifact, candidate: Candidate) -> str | None:
    """Return which files are missing of a model that Transformers has cut into several."""
    if not file.path.endswith((".safetensors.index.json", ".bin.index.json")):
        return None
    try:
        document = cast("dict[str, dict[str, str]]", json.loads(path.read_bytes()))
        missing = missing_pieces(candidate, document["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{file.path} is torn: it is no index ({error!r})"
    return f"{len(missing)} of its pieces are missing, such as {missing[0]}" if missing else None
