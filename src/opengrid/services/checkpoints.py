"""From which checkpoint an experiment goes on: the newest complete and readable one of all its nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opengrid.core import checkpoint_file
from opengrid.core.errors import NotFound
from opengrid.core.protocol import Restore, RestoreFile
from opengrid.core.records import Artifact, Attempt, Event
from opengrid.planning.checkpoints import Candidate, Chosen, find_candidates, missing_pieces
from opengrid.services.artifacts import Artifacts
from opengrid.store.database import Database

#: So many candidates are looked into; older ones are of no use when none of these can be read.
_LOOKED_INTO = 50

#: Words in the pickle of a file that holds more than weights: from it, a training can go on.
_TRAINING_STATE = frozenset({"optimizer_states", "optimizer_state_dict", "optimizer", "param_groups"})
_LIGHTNING = "pytorch-lightning_version"


class Checkpoints:
    """Finds what ranks go on from."""

    def __init__(self, database: Database, artifacts: Artifacts, *, now_us: Callable[[], int]) -> None:
        self._database, self._artifacts, self._now_us = database, artifacts, now_us

    def restore(self, attempt: Attempt) -> Restore:
        """Return what the attempt's current generation goes on from; write down what was not taken, and why."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            gang = tx.runs.find_by_id(experiment.run_id).plan.gang
            found = tx.artifacts.all(experiment.id)
        chosen = self._choose(find_candidates(found, gang.world_size))
        for candidate, problem in chosen.skipped:
            self._note(attempt, f"checkpoint {candidate.path} is not used: {problem}")
        taken = chosen.candidate
        files = [self._file(file, None) for file in (*taken.files, *taken.extra)] if taken is not None else []
        if attempt.generation == 1:  # of a new attempt, whose folders are new
            put = {file.path for file in files}
            files += [self._file(artifact, artifact.node) for artifact in found if artifact.path not in put]
        return Restore(
            checkpoint=taken.path if taken is not None else None,
            is_lightning=chosen.is_lightning,
            files=tuple(files),
            aside=tuple(candidate.path for candidate, _ in chosen.skipped if candidate.is_folder),
        )

    def _choose(self, candidates: list[Candidate]) -> Chosen:
        skipped: list[tuple[Candidate, str]] = []
        readable: list[tuple[Candidate, frozenset[str]]] = []
        for candidate in candidates[:_LOOKED_INTO]:
            words, problem = self._look_into(candidate)
            if problem is not None:
                skipped.append((candidate, problem))
                continue
            readable.append((candidate, words))
            if candidate.is_folder or words & _TRAINING_STATE:
                break
        if not readable:
            return Chosen(skipped=tuple(skipped))
        # The newest that holds a training's state; weights alone only where there is nothing else.
        candidate, words = next(((c, w) for c, w in readable if c.is_folder or w & _TRAINING_STATE), readable[0])
        return Chosen(candidate=candidate, is_lightning=_LIGHTNING in words, skipped=tuple(skipped))

    def _look_into(self, candidate: Candidate) -> tuple[frozenset[str], str | None]:
        """Return the words of a checkpoint's index, or of its file, and what is wrong with it."""
        if candidate.problem is not None:
            return frozenset(), candidate.problem
        words: frozenset[str] = frozenset()
        try:
            for file in candidate.files:
                path = self._artifacts.place(file)
                problem = checkpoint_file.torn(path, file.path) if checkpoint_file.is_candidate(file.path) else None
                if problem is not None:
                    return words, f"{file.path} is torn: {problem}"
                words |= _words(path, file, candidate)
        except (OSError, NotFound, ValueError) as error:
            return words, f"it cannot be read: {error}"
        missing = missing_pieces(candidate, words) if candidate.index is not None else []
        if missing:
            return words, f"{len(missing)} of its pieces are missing, such as {missing[0]}"
        return words, None

    def _file(self, artifact: Artifact, node: int | None) -> RestoreFile:
        return RestoreFile(
            node=node,
            path=artifact.path,
            size=artifact.size,
            sha256=artifact.digest,
            modified_us=artifact.modified_us,
            source=str(self._artifacts.place(artifact)),
        )

    def _note(self, attempt: Attempt, text: str) -> None:
        event = Event(
            at_us=self._now_us(),
            experiment_id=attempt.experiment_id,
            attempt=attempt.number,
            generation=attempt.generation,
            kind="note",
            before=None,
            after=None,
            reason=text,
        )
        with self._database.transaction() as tx:
            tx.runs.note(event)


def _words(path: Path, file: Artifact, candidate: Candidate) -> frozenset[str]:
    if file == candidate.index:
        return checkpoint_file.words_in(path.read_bytes())
    if not candidate.is_folder or file.path.endswith("/meta.pt"):
        return checkpoint_file.words_of(path) or frozenset()
    return frozenset()
