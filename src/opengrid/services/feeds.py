"""What viewers of the page are told of: each feed looks at one subject and says what has changed since it last looked.

One look serves all viewers. Between looks it remembers versions, never documents.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Protocol

from opengrid.core.errors import NotFound
from opengrid.core.names import split_experiment_name
from opengrid.services.documents.changes import Gone, Hint, RunChange, RunsChange
from opengrid.services.logs import LogChoice, Logs
from opengrid.services.samples import Samples
from opengrid.services.views import experiment_view, run_view
from opengrid.store.database import Database, Transaction

Change = RunsChange | RunChange | Hint | Gone

#: More changed rows than these are not sent: whoever shows them asks for the page that is shown.
_MOST_ROWS = 200

#: What wakes whoever watches runs and experiments.
CHANGES = "changes"

#: What wakes whoever watches how machines are used.
SAMPLES = "samples"


class Feed(Protocol):
    """One subject. Used by one thread at a time."""

    pause_s: float  #: at least between two looks

    @property
    def keys(self) -> tuple[str, ...]:
        """Wake-ups after which a look is worth it."""
        ...

    def look(self) -> Change | None:
        """Return what has changed since the last look; None when nothing has, and at the first one. Blocks."""
        ...

    def close(self) -> None:
        """End: nobody watches any more."""
        ...


class RunsFeed:
    """All runs: rows that are new or have changed, and how many there are."""

    pause_s = 0.5
    keys = (CHANGES,)

    def __init__(self, database: Database, topic: str) -> None:
        self._database, self._topic = database, topic
        self._seen: dict[str, tuple[object, ...]] | None = None
        self._total = 0

    def look(self) -> RunsChange | None:
        """See the active runs, and those that were active before."""
        with self._database.read() as tx:
            now, total = tx.runs.pulse(), tx.runs.count()
            before, self._seen = self._seen, now
            last_total, self._total = self._total, total
            if before is None or (before == now and last_total == total):
                return None
            changed = {id for id in before.keys() | now.keys() if before.get(id) != now.get(id)}
            refetch = len(changed) > _MOST_ROWS
            found = [] if refetch else tx.runs.some(changed)
        return RunsChange(topic=self._topic, runs=[run_view(run) for run in found], total=total, refetch=refetch)

    def close(self) -> None:
        """Nothing is held."""


class RunFeed:
    """The experiments of a run."""

    pause_s = 0.5
    keys = (CHANGES,)

    def __init__(self, database: Database, topic: str, name: str, *, now_us: Callable[[], int]) -> None:
        self._database, self._topic, self._name, self._now_us = database, topic, name, now_us
        self._seen: dict[str, tuple[object, ...]] | None = None
        self._gone = False

    def look(self) -> RunChange | Gone | None:
        """See which rows differ."""
        with self._database.read() as tx:
            try:
                run = tx.runs.find(self._name)
            except NotFound:
                was_gone, self._gone = self._gone, True
                return None if was_gone else Gone(topic=self._topic)
            now = tx.runs.experiments_pulse(run.id)
            before, self._seen = self._seen, now
            if before is None or before == now:
                return None
            changed = [id for id, version in now.items() if before.get(id) != version]
            refetch = len(changed) > _MOST_ROWS
            found = [] if refetch else tx.runs.some_experiments(changed)
        rows = [experiment_view(run, experiment, now_us=self._now_us()) for experiment in found]
        return RunChange(topic=self._topic, experiments=rows, total=len(now), refetch=refetch)

    def close(self) -> None:
        """Nothing is held."""


class HintFeed:
    """Anything with a version, of which it is enough to know that it has changed; None: it does not exist."""

    def __init__(
        self, database: Database, topic: str, version: Callable[[Transaction], str | None], *keys: str, pause_s: float
    ) -> None:
        self._database, self._topic, self._version = database, topic, version
        self.keys, self.pause_s = keys, pause_s
        self._is_first = True
        self._seen: str | None = None

    def look(self) -> Hint | Gone | None:
        """Compare versions."""
        with self._database.read() as tx:
            version = self._version(tx)
        is_news = not self._is_first and version != self._seen
        self._is_first, self._seen = False, version
        if version is None:
            return Gone(topic=self._topic) if is_news else None
        return Hint(topic=self._topic, version=version) if is_news else None

    def close(self) -> None:
        """Nothing is held."""


class LogsFeed:
    """An experiment's logs: that they have grown. While it is watched, agents send at short intervals."""

    pause_s = 0.25

    def __init__(self, logs: Logs, topic: str, name: str, followed: Callable[[str], None]) -> None:
        self._logs, self._topic, self._name, self._followed = logs, topic, name, followed
        self._seen: str | None = None
        self._attempt_id: str | None = None
        self._following = contextlib.ExitStack()
        self._is_following = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Uploads to the newest attempt, and the attempts that follow it."""
        return (CHANGES, f"logs:{self._attempt_id}")

    def look(self) -> Hint | Gone | None:
        """See how many bytes there are."""
        try:
            source = self._logs.source(self._name, LogChoice())
        except NotFound:
            return None
        if not self._is_following:
            self._following.enter_context(self._logs.following(source.experiment_id))
            self._is_following = True
        if source.attempt_id is not None and source.attempt_id != self._attempt_id:
            self._attempt_id = source.attempt_id
            self._followed(source.attempt_id)  # its agents learn that somebody follows
        size = sum(stream.size() for stream in source.streams)
        version = f"{source.attempt_id}:{size}:{'final' if source.is_final else 'open'}"
        before, self._seen = self._seen, version
        return None if before in (None, version) else Hint(topic=self._topic, version=version)

    def close(self) -> None:
        """Let agents send at their usual intervals again."""
        self._following.close()


def experiment_version(name: str) -> Callable[[Transaction], str | None]:
    """Return what tells the version of everything about an experiment but its logs, scalars and files."""

    def version(tx: Transaction) -> str | None:
        try:
            seen = tx.runs.experiment_pulse(tx.runs.experiment(name).id)
        except NotFound:
            return None
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]

    return version


def artifacts_version(name: str) -> Callable[[Transaction], str | None]:
    """Return what tells the version of an experiment's files."""

    def version(tx: Transaction) -> str | None:
        try:
            return tx.artifacts.version(tx.runs.experiment(name).id)
        except NotFound:
            return None

    return version


def scalars_version(name: str) -> Callable[[Transaction], str | None]:
    """Return what tells the version of a run's or an experiment's scalars."""

    def version(tx: Transaction) -> str | None:
        try:
            if split_experiment_name(name) is None:
                return tx.scalars.version(run_id=tx.runs.find(name).id)
            return tx.scalars.version(experiment_id=tx.runs.experiment(name).id)
        except NotFound:
            return None

    return version


def samples_version(samples: Samples, name: str) -> Callable[[Transaction], str | None]:
    """Return what tells the version of what was measured of an experiment."""

    def version(tx: Transaction) -> str | None:
        try:
            return samples.version(tx, name)
        except NotFound:
            return None

    return version


def machines_version(tx: Transaction) -> str:
    """Return what tells the version of who has which machines, and of the queue."""
    held = [(attempt.id, attempt.state) for attempt in tx.attempts.active()]
    return hashlib.sha256(repr((held, tx.runs.queue_length())).encode()).hexdigest()[:16]
