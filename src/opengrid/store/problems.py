"""What a database's errors mean for people: full disks, read-only files, corruption, a server that is away."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator

from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from opengrid.core.errors import GridError, InvalidValue, Unusable

#: Words in SQLite's messages (Python 3.10 has no error codes), what to say, and what to do next.
_SQLITE = (
    ("database or disk is full", "its disk is full", "nothing was half written: free some space there and try again"),
    ("disk i/o error", "its disk answers with an I/O error", "is the disk full or failing? see `df` and `dmesg`"),
    ("readonly database", "it cannot be written", "is its disk mounted read-only, or does another user own it?"),
    ("unable to open", "it cannot be opened", "does its folder exist, and may you write there?"),
    ("malformed", "it is corrupt", "stop the server, move it away together with its -wal file, and restore a copy"),
    ("not a database", "it is no SQLite database", "move it away, or choose another GRID_STATE"),
    ("is locked", "another process has kept it locked for too long", "try again; `fuser` on it names the process"),
)

#: PostgreSQL's error codes, as above.
_POSTGRES = {
    "53100": ("its disk is full", "nothing was half written: free some space on its machine and try again"),
    "25006": ("it cannot be written", "is it a standby? point the server at the primary"),
    "55P03": ("another process has kept it locked for too long", "see pg_stat_activity for who"),
}


@contextlib.contextmanager
def explained(where: str) -> Generator[None]:
    """Turn the database errors that can be foreseen into GridErrors that name the database; others pass."""
    try:
        yield
    except (DBAPIError, StatementError, PoolTimeout, sqlite3.Error, ValueError) as error:
        known = explain(error, where)
        if known is None:
            raise
        raise known from error


def explain(error: Exception, where: str) -> GridError | None:
    """Return the error for people, None for what is a fault of ours."""
    if isinstance(error, PoolTimeout):
        return GridError(f"{where} is busy: no connection was free in time", hint="try again")
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(str(cause), where)
    if isinstance(error, DBAPIError):
        return _explain_postgres(error, where)
    if isinstance(cause, ValueError) and "JSON compliant" in str(cause):
        return InvalidValue("a number that is infinite or not a number cannot be stored")
    return None


def _explain_sqlite(message: str, where: str) -> Unusable | None:
    for words, what, hint in _SQLITE:
        if words in message.lower():
            return Unusable(f"the database {where} cannot be used: {what} ({message})", hint=hint)
    return None


def _explain_postgres(error: DBAPIError, where: str) -> Unusable | None:
    message = str(error.orig).strip()
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES:
        what, hint = _POSTGRES[state]
        return Unusable(f"the database {where} cannot be used: {what} ({message})", hint=hint)
    # Without a code the connection itself failed; class 08 and 57P are the server saying so.
    if error.connection_invalidated or (state is None and type(error).__name__ == "OperationalError"):
        return Unusable(
            f"the database {where} does not answer: {message}", hint="is PostgreSQL running, and is the URL right?"
        )
    return None
