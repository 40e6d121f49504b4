"""The store in a PostgreSQL database: connections, and one server at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from opengrid.core.errors import Conflict, Unusable
from opengrid.store.problems import explained
from opengrid.store.schema import Schema
from opengrid.store.sqlite import dump_json
from opengrid.store.tables import schema_revision

#: Our advisory locks in the database: (_LOCKS, _HOLD) has the active server, (_LOCKS, _WRITE) whoever is writing.
_LOCKS, _HOLD, _WRITE = 0x6F677264, 1, 2


class PostgresDatabase:
    """A store in PostgreSQL, with SQLite's semantics: one transaction writes at a time, readers never wait.

    Only one connection writes, and it carries the lock of hold(): should it break, lock and writing end together, and
    nothing is written before the lock is back.
    """

    def __init__(self, url: URL) -> None:
        self.where = url.render_as_string(hide_password=True)
        self.reserve = None  #: its disk is not ours
        self._holding = False
        url = url.set(drivername="postgresql+psycopg")
        if "options" not in url.query:
            url = url.update_query_dict({"options": "-c lock_timeout=30s"})
        url = url.update_query_dict({"application_name": f"opengrid {os.getpid()} on {socket.gethostname()}"[:63]})
        self.writer = _engine(url, pool_size=1, max_overflow=0)
        self.reader = _engine(url, pool_size=8, max_overflow=24).execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        event.listen(self.writer, "connect", self._hold_again)
        event.listen(self.writer, "begin", _wait_for_writers)

    def prepare(self, schema: Schema) -> None:
        """Create or migrate the tables where that is due; Unusable, having touched nothing, where that cannot be."""
        with explained(self.where):
            with self.reader.connect() as connection:
                if not schema.is_due(self._revision(connection), self.where):
                    return
            with self.writer.begin() as connection:
                revision = self._revision(connection)  # again: whoever was writing may have migrated
                if not schema.is_due(revision, self.where):
                    return
                if revision is None:
                    schema.create(connection)
                elif _try_lock(connection, "xact_"):
                    schema.upgrade(connection)
                else:
                    raise self._in_use(connection)

    @contextlib.contextmanager
    def hold(self) -> Generator[None]:
        """Be the only server here until the block ends or the process dies; Conflict names another holder."""
        with explained(self.where), self.writer.begin() as connection:
            if not _try_lock(connection):
                raise self._in_use(connection)
            self._holding = True
        try:
            yield
        finally:
            self._holding = False
            # PostgreSQL notices a closed connection only after a moment, and the next server may be waiting.
            with contextlib.suppress(SQLAlchemyError), self.writer.begin() as connection:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCKS}, {_HOLD})")
            self.writer.dispose()

    def close(self) -> None:
        """Close all connections."""
        self.reader.dispose()
        self.writer.dispose()

    def _hold_again(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        """Take the lock again on a new connection, or refuse to write on it."""
        if not self._holding:
            return
        cursor = connection.cursor()
        cursor.execute(f"SELECT pg_try_advisory_lock({_LOCKS}, {_HOLD})")
        row = cursor.fetchone()
        cursor.close()
        connection.commit()
        if row is None or not row[0]:
            raise Conflict(f"the database {self.where} has been taken over by another server", hint="stop this one")

    def _revision(self, connection: Connection) -> str | None:
        tables = inspect(connection).get_table_names()
        if schema_revision.name in tables:
            revision = connection.execute(select(schema_revision.c.version_num)).scalar()
            if revision is not None:
                return str(revision)
        if tables:
            raise Unusable(
                f"the database {self.where} belongs to another program (it has the table {min(tables)})",
                hint="nothing was changed; make a database of its own: createdb opengrid",
            )
        return None

    def _in_use(self, connection: Connection) -> Conflict:
        holder = connection.execute(
            text(
                "SELECT a.application_name, a.client_addr::text FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.classid = :locks AND l.objid = :hold AND l.granted"
                " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            {"locks": _LOCKS, "hold": _HOLD},
        ).first()
        name = " from ".join(str(word) for word in holder if word) if holder else "another process"
        return Conflict(f"the database {self.where} is in use by {name}", hint="one server at a time can use it")


def _engine(url: URL, *, pool_size: int, max_overflow: int) -> Engine:
    try:
        return create_engine(
            url,
            connect_args={"connect_timeout": 10},
            json_serializer=dump_json,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_pre_ping=True,  # PostgreSQL may have been restarted
        )
    except ModuleNotFoundError as error:
        raise Unusable("PostgreSQL needs psycopg", hint="pip install 'opengrid[postgres]'") from error


def _wait_for_writers(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCKS}, {_WRITE})")


def _try_lock(connection: Connection, kind: str = "") -> bool:
    return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_{kind}lock({_LOCKS}, {_HOLD})").scalar())
