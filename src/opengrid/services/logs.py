"""An experiment's logs: which attempt, which streams, and who follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from opengrid.core.errors import NotFound
from opengrid.services.log_files import LogFiles, LogStream
from opengrid.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChoice:
    """What part of an experiment's logs somebody wants; None = the newest attempt, all generations, all ranks."""

    attempt: int | None = None
    generation: int | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """Where the chosen logs are now."""

    experiment_id: str
    attempt_id: str | None  #: None while the experiment has had no attempt
    is_final: bool  #: nothing will be added
    streams: tuple[LogStream, ...]
    attempt: int | None = None  #: number of the one that is read
    attempts: tuple[int, ...] = ()  #: numbers of all


class Logs:
    """Finds logs and knows who follows which experiment: agents of followed ones send at shorter intervals."""

    def __init__(self, database: Database, files: LogFiles) -> None:
        self._database, self._files = database, files
        self._followers: Counter[str] = Counter()

    def source(self, experiment_name: str, choice: LogChoice) -> LogSource:
        """Return what there is to read now; NotFound for an experiment, attempt or rank that does not exist."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment(experiment_name)
            world_size = tx.runs.find_by_id(experiment.run_id).plan.gang.world_size
            attempts = tx.attempts.of_experiment(experiment.id)
        numbers = tuple(attempt.number for attempt in attempts)
        if choice.rank is not None and not 0 <= choice.rank < world_size:
            raise NotFound(f"{experiment_name} has no rank {choice.rank}", hint=f"its ranks are 0 to {world_size - 1}")
        if choice.attempt is not None:
            attempts = [a for a in attempts if a.number == choice.attempt]
            if not attempts:
                raise NotFound(f"{experiment_name} has no attempt {choice.attempt}")
        if not attempts:
            return LogSource(
                experiment_id=experiment.id, attempt_id=None, is_final=experiment.state.is_terminal, streams=()
            )
        attempt = max(attempts, key=lambda a: a.number)
        # Another attempt may follow one that was lost or taken away; whoever chose an attempt does not wait for it.
        is_final = choice.attempt is not None and attempt.state.is_terminal
        return LogSource(
            experiment_id=experiment.id,
            attempt_id=attempt.id,
            is_final=is_final or experiment.state.is_terminal,
            streams=tuple(self._files.streams(attempt.id, choice.generation, choice.rank)),
            attempt=attempt.number,
            attempts=numbers,
        )

    @contextmanager
    def following(self, experiment_id: str) -> Generator[None]:
        """Count a follower of an experiment while inside."""
        self._followers[experiment_id] += 1
        try:
            yield
        finally:
            self._followers[experiment_id] -= 1

    def is_followed(self, experiment_id: str) -> bool:
        """Whether somebody follows an experiment's logs at this moment."""
        return self._followers[experiment_id] > 0
