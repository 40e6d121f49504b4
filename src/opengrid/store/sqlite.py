"""The store in one SQLite file: how it is examined, opened, copied before a migration, and held by one server."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from opengrid.core.errors import Conflict, Unusable
from opengrid.core.locks import try_lock
from opengrid.store.problems import explained
from opengrid.store.reserve import Reserve
from opengrid.store.schema import Schema

_MAGIC = b"SQLite format 3\0"
#: Files up to this size are checked whole when opened (some 20 ms); larger ones only before they are migrated.
_CHECKED_BYTES = 8 << 20
#: How long a writer of another process is waited for.
_BUSY_S = 10.0
#: How long opening waits while another process migrates.
_MIGRATION_S = 3.0

#: As PostgreSQL's json: infinity and NaN are refused.
dump_json = partial(json.dumps, allow_nan=False, separators=(",", ":"))


class SqliteFile:
    """A store's file. Reading connections and the one that writes are apart: readers never wait."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.reserve = Reserve(path)
        self._path = path
        # One connection writes, so that threads queue in the pool: SQLite itself polls, up to 100 ms late.
        self.writer = _engine(path, begin="BEGIN IMMEDIATE", setup=_set_up_writer, pool_size=1, max_overflow=0)
        self.reader = _engine(path, begin="BEGIN", setup=_set_up_reader, pool_size=8, max_overflow=56)
        self._log = _WriteAheadLog(path)
        event.listen(self.writer, "commit", self._log.fold_when_large)

    def prepare(self, schema: Schema) -> None:
        """Create or migrate the file where that is due; Unusable, having touched nothing, where it cannot be used."""
        self.reserve.spend()  # SQLite makes files of its own beside the database
        if not schema.is_due(self._examine(), self.where):
            return
        with hold_file(self._path, wait_s=_MIGRATION_S):
            revision = self._examine()  # again: whoever had the lock may have migrated
            if not schema.is_due(revision, self.where):
                return
            if revision is None:
                self._path.touch(mode=0o600)  # environments of runs may hold secrets
            else:
                with self._read_only() as connection:
                    self._quick_check(connection)
                copy = self._path.with_name(f"{self._path.name}.before-{schema.head}")
                _copy(self._path, copy)
            with explained(self.where), self.writer.begin() as connection:
                (schema.create if revision is None else schema.upgrade)(connection)

    @contextlib.contextmanager
    def hold(self) -> Generator[None]:
        """Be the only server here until the block ends or the process dies; Conflict names another holder."""
        with hold_file(self._path, wait_s=0):
            yield

    def close(self) -> None:
        """Close all connections; the writer last, so that it can fold the write-ahead log into the file."""
        self._log.close()
        self.reader.dispose()
        self.writer.dispose()

    def _examine(self) -> str | None:
        """Return the file's revision, None while there is nothing in it. Writes nothing."""
        try:
            with self._path.open("rb") as file:
                start, size = file.read(len(_MAGIC)), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            start, size = b"", 0
        except OSError as error:
            raise Unusable(
                f"cannot read the database {self._path}: {error.strerror}", hint="is it a file that you may read?"
            ) from error
        self._check_writable(size)
        if size == 0:
            return None
        if start != _MAGIC:
            raise self._corrupt("it does not begin like one of SQLite's")
        with self._read_only() as connection:
            if size <= _CHECKED_BYTES:
                self._quick_check(connection)
            return self._revision(connection)

    def _check_writable(self, size: int) -> None:
        folder = self._path.parent
        if not folder.is_dir():
            raise Unusable(f"the database {self._path} has no folder", hint=f"make {folder} first")
        # SQLite makes files beside the database, so the folder counts too.
        for place in [folder, *([self._path] if size else [])]:
            if not os.access(place, os.W_OK):
                raise Unusable(
                    f"the database {self._path} cannot be used: {place} cannot be written",
                    hint="is its disk mounted read-only, or does another user own it?",
                )

    def _revision(self, connection: sqlite3.Connection) -> str | None:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" in tables:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if row is not None:
                return str(row[0])
        if tables:
            raise Unusable(
                f"{self._path} is a database of another program (it has the table {min(tables)})",
                hint="nothing was changed; choose another GRID_STATE",
            )
        return None

    @contextlib.contextmanager
    def _read_only(self) -> Generator[sqlite3.Connection]:
        try:
            with contextlib.closing(_connect_read_only(self._path)) as connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise self._corrupt(str(error)) from error

    def _quick_check(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self._corrupt(found.replace("\n", " "))

    def _corrupt(self, detail: str) -> Unusable:
        copies = sorted(self._path.parent.glob(f"{self._path.name}.before-*"))
        restore = f", or put the copy {copies[-1]} in its place" if copies else ""
        return Unusable(
            f"the database {self._path} is corrupt: {detail}",
            hint=f"nothing was changed; move it and its -wal file away to start with an empty one{restore}",
        )


class _WriteAheadLog:
    """What was written lately, beside the file: folded into it by a thread, as that waits for the disk."""

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, f"{path}-wal"
        self._thread, self._is_folding = ThreadPoolExecutor(1, "write-ahead-log"), threading.Lock()

    def fold_when_large(self, _: Connection) -> None:
        """Begin to fold it when that is due, and return at once."""
        try:
            is_due = os.stat(self._log).st_size >= _LOG_BYTES
        except OSError:
            return
        if is_due and self._is_folding.acquire(blocking=False):
            try:
                self._thread.submit(self._fold)
            except RuntimeError:  # closed: what still commits does not need it
                self._is_folding.release()

    def close(self) -> None:
        """Let folding come to its end."""
        self._thread.shutdown()

    def _fold(self) -> None:
        try:
            with contextlib.closing(sqlite3.connect(self._path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # which nobody waits for
        except sqlite3.Error:
            pass  # a full disk, say: the log still grows, and the one that writes meets it and says so
        finally:
            self._is_folding.release()


@contextlib.contextmanager
def hold_file(path: Path, *, wait_s: float) -> Generator[None]:
    """Hold the lock beside a database file; Conflict names the holder when it is not free in time.

    The lock is the kernel's: it ends with the process, however that ends. Its file stays: removing it would let two in.
    """
    lock, until = path.with_name(f"{path.name}.lock"), time.monotonic() + wait_s
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unusable(f"cannot write {lock}: {error.strerror}", hint="may you write in that folder?") from error
    with os.fdopen(descriptor, "r+") as file:
        while not try_lock(descriptor):
            if time.monotonic() >= until:
                holder = file.read().strip() or "another process"
                raise Conflict(f"the database {path} is in use by {holder}", hint="one server at a time can use it")
            time.sleep(0.05)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # a full disk: the lock holds, it only has no name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode(), 0)
        yield


def _engine(path: Path, *, begin: str, setup: str, pool_size: int, max_overflow: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # The driver must begin nothing by itself: it would begin reading, and what reads cannot start to write.
        connect_args={"isolation_level": None, "timeout": _BUSY_S, "check_same_thread": False},
        json_serializer=dump_json,
        pool_size=pool_size,
        max_overflow=max_overflow,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:  # pyright: ignore[reportUnusedFunction]
        cursor = connection.cursor()
        for statement in setup.split(";"):
            cursor.execute(statement)
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql(begin)

    return engine


#: The write-ahead log is folded into the file when it has so many bytes; the connection that writes does it only when
#: nobody else did, and at so many pages of 4 KiB. SQLite's own way, the writer and every 1,000 pages, makes 10,000 rows
#: that an index scatters wait for the disk dozens of times.
_LOG_BYTES, _LOG_PAGES = 8 << 20, 16_000

#: What each connection keeps of the file in memory, in KiB. An index over digests of some versions has more than 2 MiB.
_CACHE_KIB = 16 << 10

#: With NORMAL, a commit survives the death of the process; a power cut may lose the last moments, never corrupt.
_set_up_writer = (
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; "
    f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}; PRAGMA journal_size_limit = 0; PRAGMA cache_size = -{_CACHE_KIB}"
)
_set_up_reader = "PRAGMA query_only = ON"


def _connect_read_only(path: Path) -> sqlite3.Connection:
    # While anybody has the database open there is a write-ahead log, and it must be read too. Without one, the file is
    # all there is, and SQLite is told so: otherwise it would leave an empty log even beside a file that we refuse.
    whole = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{whole}", uri=True, timeout=_BUSY_S)


def _copy(path: Path, to: Path) -> None:
    """Copy a database, what is still in its write-ahead log included, whole or not at all."""
    partial_copy = to.with_name(f"{to.name}.partial")
    try:
        partial_copy.unlink(missing_ok=True)
        partial_copy.touch(mode=0o600)
        with (
            contextlib.closing(_connect_read_only(path)) as source,
            contextlib.closing(sqlite3.connect(partial_copy)) as copy,
        ):
            source.backup(copy)
        with partial_copy.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial_copy, to)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            partial_copy.unlink(missing_ok=True)
        raise Unusable(
            f"cannot copy the database {path} to {to} before its migration: {error}",
            hint="nothing was changed; free some space there and start again",
        ) from error
