"""The store: opens a database, hands out transactions, makes sure that one server uses it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from opengrid.core.errors import InvalidValue
from opengrid.store.accounts import Accounts
from opengrid.store.artifacts import Artifacts
from opengrid.store.attempts import Attempts
from opengrid.store.clusters import Clusters
from opengrid.store.data import Data
from opengrid.store.experiment_table import ExperimentTable
from opengrid.store.postgres import PostgresDatabase
from opengrid.store.problems import explained
from opengrid.store.removals import Removals
from opengrid.store.runs import Runs
from opengrid.store.scalars import Scalars
from opengrid.store.schema import CURRENT, Schema
from opengrid.store.secrets import Secrets
from opengrid.store.sessions import Sessions
from opengrid.store.sqlite import SqliteFile

_SQLITE = "sqlite:///"


class Transaction:
    """The store's records as one transaction sees and changes them. Belongs to the thread that opened it."""

    def __init__(self, connection: Connection) -> None:
        self.runs = Runs(connection)
        self.attempts = Attempts(connection)
        self.clusters = Clusters(connection)
        self.data = Data(connection)
        self.artifacts = Artifacts(connection)
        self.removals = Removals(connection)
        self.scalars = Scalars(connection)
        self.accounts = Accounts(connection)
        self.secrets = Secrets(connection)
        self.sessions = Sessions(connection)
        self._connection = connection

    def experiment_table(self, run_id: str, *, now_us: int) -> ExperimentTable:
        """Return a run's experiments as a table; `now_us` is the end of those that have not ended."""
        return ExperimentTable(self._connection, run_id, now_us=now_us)


class Database:
    """A store. Any thread may open transactions.

    One transaction writes at a time, on both databases, so what it reads stays true until it commits. What was
    committed survives the death of the process.
    """

    def __init__(self, backend: SqliteFile | PostgresDatabase) -> None:
        self._backend = backend

    @classmethod
    def open(cls, url: str, schema: Schema = CURRENT) -> Database:
        """Open `sqlite:///<path>` or `postgresql://…`, created or migrated when that is due.

        A copy of an SQLite file is kept beside it before it is migrated. Unusable, having touched nothing, for a
        corrupt database, one of a newer OpenGrid or of another program, and one that cannot be written.
        """
        backend = _backend(url)
        try:
            backend.prepare(schema)
        except BaseException:
            backend.close()
            raise
        return cls(backend)

    @contextlib.contextmanager
    def transaction(self, *, frees_space: bool = False) -> Generator[Transaction]:
        """Read and write; commits at the end of the block, rolls back on an exception. Waits for other writers.

        Keep it short, and open no other one inside: that would wait for this one. One that frees space, or leads to
        that, finds some on a full disk, too, as long as there is any reserve.
        """
        if frees_space and self._backend.reserve is not None:
            self._backend.reserve.spend()
        with explained(self._backend.where), self._backend.writer.begin() as connection:
            yield Transaction(connection)

    @contextlib.contextmanager
    def read(self) -> Generator[Transaction]:
        """Read one snapshot; writing fails. Waits for nobody."""
        with explained(self._backend.where), self._backend.reader.begin() as connection:
            yield Transaction(connection)

    def hold(self) -> contextlib.AbstractContextManager[None]:
        """Be the one active server of this store while the block lasts; Conflict names another holder.

        Ends with the process too, however it dies.
        """
        return self._backend.hold()

    def renew_reserve(self) -> None:
        """Reserve space for transactions that free some, where there is plenty."""
        if self._backend.reserve is not None:
            self._backend.reserve.renew()

    def close(self) -> None:
        """Close all connections."""
        self._backend.close()


def _backend(url: str) -> SqliteFile | PostgresDatabase:
    if url.startswith(_SQLITE):
        return SqliteFile(Path(url[len(_SQLITE) :]).absolute())  # by hand: a path may hold `?` and `%`
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise InvalidValue(
            "the database's URL is neither SQLite's nor PostgreSQL's",
            hint="sqlite:////folder/grid.db or postgresql://user:password@host/database",
        )
    return PostgresDatabase(parsed)
