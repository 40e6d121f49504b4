"""SQLite's write-ahead log: folded into the file beside what writes."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from tests.support.grid import eventually
from tests.support.records import T0

from opengrid.core.records.datastores import DatastoreFile
from opengrid.store.database import Database

MIB = 1 << 20


def fill(database: Database, round: int) -> None:
    """Write some 5 MiB."""
    files = [DatastoreFile(position=i, path=f"{i:01000}", size=i, digest=f"{i:064x}") for i in range(5000)]
    with database.transaction() as tx:
        tx.data.save_files("data", 1, round, files)


def test_what_was_written_comes_into_the_file_while_the_server_runs(tmp_path: Path) -> None:
    path, log = tmp_path / "grid.db", tmp_path / "grid.db-wal"
    database = Database.open(f"sqlite:///{path}")
    with database.transaction() as tx:
        tx.data.next_version("data", "ada", "/d", T0, upload="u")
    for round in range(1, 4):
        fill(database, round)

    texts = count()

    def begins_anew() -> bool:
        with database.transaction() as tx:
            tx.data.tell("data", 1, f"a little more: {next(texts)}")
        return path.stat().st_size > 10 * MIB > log.stat().st_size

    eventually(begins_anew)
    database.close()
    assert not log.exists()


def test_what_is_written_while_the_server_closes_is_written(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    with database.transaction() as tx:
        tx.data.next_version("data", "ada", "/d", T0, upload="u")
    database.close()
    for round in range(1, 4):  # so much that it would be folded
        fill(database, round)
    with database.read() as tx:
        assert tx.data.count_files("data", 1)[0] == 5000
    database.close()
