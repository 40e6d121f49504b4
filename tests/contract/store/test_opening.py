"""Opening a store: created, migrated after a copy, refused untouched, held by one server."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.support.postgres import PostgresServer
from tests.support.records import T0, make_artifact, make_experiments, make_run

from opengrid.core.errors import Conflict, InvalidValue, Unusable
from opengrid.store.database import Database
from opengrid.store.schema import CURRENT, Schema
from opengrid.store.tables import metadata

_SECOND = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "9002", "{before}"

def upgrade():
    op.add_column("runs", sa.Column("colour", sa.Text()))
    {then}
"""


@pytest.fixture
def newer(tmp_path: Path) -> Callable[..., Schema]:
    """Makes the schema of a next version of OpenGrid, which adds a column."""

    def make(then: str = "pass") -> Schema:
        folder = tmp_path / f"migrations-{len(list(tmp_path.glob('migrations-*')))}"
        shutil.copytree(CURRENT.folder, folder)
        (folder / "versions" / "v9002_colour.py").write_text(_SECOND.format(before=CURRENT.head, then=then))
        return Schema(folder)

    return make


def filled(url: str) -> None:
    database, run = Database.open(url), make_run()
    with database.transaction() as tx:
        tx.runs.create(run, make_experiments(run, 2), T0)
        tx.accounts.ensure_user("ada", "aa", T0)
    database.close()


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files but the lock, which is no part of the data, and SQLite's shared memory, which is a cache."""
    return {
        p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.suffix != ".lock" and "-shm" not in p.name
    }


def refused(url: str, schema: Schema = CURRENT) -> Unusable:
    with pytest.raises(Unusable) as error:
        Database.open(url, schema)
    assert error.value.exit_code == 2
    assert error.value.hint
    return error.value


def refused_untouched(path: Path, schema: Schema = CURRENT) -> Unusable:
    before = contents(path.parent)
    error = refused(f"sqlite:///{path}", schema)
    assert contents(path.parent) == before
    assert str(path) in error.message
    return error


def python(*lines: str) -> subprocess.Popen[str]:
    """Start a process that executes some lines; it can wait for a line on stdin."""
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Creating and migrating


def test_a_database_is_created_and_found_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'grid.db'}"
    filled(url)
    database = Database.open(url)
    with database.read() as tx:
        assert len(tx.runs.experiments("r-brave-otter")) == 2
    database.close()


def test_a_postgresql_database_is_created_and_found_again(postgres: PostgresServer, empty_postgres: str) -> None:
    filled(postgres.url(empty_postgres))
    database = Database.open(postgres.url(empty_postgres).replace("postgresql+psycopg", "postgresql"))
    with database.read() as tx:
        assert len(tx.runs.experiments("r-brave-otter")) == 2
    database.close()


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    with database.transaction() as tx:
        tx.accounts.ensure_user("ada", "aa", T0)
        modes = {p.name: p.stat().st_mode & 0o077 for p in tmp_path.iterdir()}
    database.close()
    assert set(modes.values()) == {0}
    assert "grid.db-wal" in modes


@pytest.mark.parametrize("folder", ["a b", "50%", "what?", "#1", "ünï", "q'uote"])
def test_a_path_may_hold_anything(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "grid.db"
    path.parent.mkdir()
    filled(f"sqlite:///{path}")
    assert path.stat().st_size > 0
    Database.open(f"sqlite:///{path}").close()


def test_an_up_to_date_database_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'grid.db'}"
    for _ in range(2):  # created, then opened
        process = python(
            "import sys", "from opengrid.store.database import Database", f"Database.open({url!r}).close()",
            "print([m for m in sys.modules if m.startswith(('alembic', 'psycopg', 'mako'))])",
        )  # fmt: skip
        assert process.communicate(timeout=60) == ("[]\n", "")


def test_the_migrations_lead_to_the_tables(tmp_path: Path, postgres: PostgresServer, empty_postgres: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'grid.db'}", postgres.url(empty_postgres)):
        engine = create_engine(url)
        with engine.begin() as connection:
            CURRENT.upgrade(connection)
            options = {"compare_type": True, "compare_server_default": True}
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        engine.dispose()


def _made_before(migration: str, folder: Path) -> Path:
    """Return a database with the schema that was there before a migration."""
    path, before = folder / "grid.db", folder / "migrations"
    shutil.copytree(CURRENT.folder, before)
    for one in (before / "versions").glob("v*.py"):
        if one.name >= migration:
            one.unlink()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        Schema(before).upgrade(connection)
    engine.dispose()
    return path


def test_a_database_of_the_first_schema_is_migrated_with_what_it_holds(tmp_path: Path) -> None:
    path, run = _made_before("v0002", tmp_path), make_run()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO users VALUES ('ada', 'aa', 1)")
        connection.commit()
    database = Database.open(f"sqlite:///{path}")
    with database.transaction() as tx:
        assert tx.accounts.user_of_token("aa") == "ada"
        tx.runs.create(run, make_experiments(run), T0)
        tx.artifacts.save([make_artifact(make_experiments(run)[0].id, "model.ckpt")])
        assert tx.artifacts.count(make_experiments(run)[0].id)[0] == 1
    database.close()
    assert (tmp_path / f"grid.db.before-{CURRENT.head}").exists()


def test_attempts_of_the_schema_before_have_had_their_machines_as_far_as_that_is_known(tmp_path: Path) -> None:
    path = _made_before("v0014", tmp_path)
    run = make_run()
    [experiment] = make_experiments(run)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")  # the experiment is stored below
        for number, ended, states in ((1, T0 + 30, ("lost", "released")), (2, None, ("present", "waiting"))):
            values = (number, experiment.id, number, "running", 1, 1, "running", "", "", 0, T0, ended)
            names = "id, experiment_id, number, state, version, generation, phase, reason, token_hash"
            places = ", ".join("?" * len(values))
            connection.execute(
                f"INSERT INTO attempts ({names}, token_expires_us, created_us, ended_us) VALUES ({places})",
                values,
            )
            for index, state in enumerate(states):
                machine = (str(number), index, state, "[]")
                connection.execute(
                    'INSERT INTO attempt_machines (attempt_id, "index", state, devices, facts_seen, prepared, started,'
                    " ended) VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
                    machine,
                )
        connection.commit()
    database = Database.open(f"sqlite:///{path}")
    with database.transaction() as tx:
        tx.runs.create(run, [experiment], T0)
        assert tx.runs.held_us(run.id, T0 + 100) == 2 * 30 + 100
    database.close()


def test_versions_that_failed_before_they_could_be_gone_on_with_still_cannot(tmp_path: Path) -> None:
    path = _made_before("v0017", tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO datastores (name, newest) VALUES ('data', 2)")
        for version, state in ((1, "failed"), (2, "processing")):
            values = ("data", version, "ada", state, "http://host/a.zip", 0, 0, T0, "", "copied", f"upload{version}", 1)
            names = "name, version, user, state, source, files, size, created_us, reason, kind, upload, round"
            places = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO datastore_versions ({names}) VALUES ({places})", values)
        connection.commit()
    database = Database.open(f"sqlite:///{path}")
    with database.read() as tx:
        failed, going = tx.data.find("data", 1), tx.data.find("data", 2)
    database.close()
    assert (failed.may_go_on, failed.upload, going.upload) == (False, None, "upload2")


def _parts(sql: str) -> list[str]:
    """Return what a CREATE lists, without the spaces in which ALTER TABLE and CREATE TABLE differ."""
    head, _, body = " ".join(sql.split()).partition("(")
    return [head.strip(), *sorted(part.strip() for part in re.split(r",(?![^()]*\))", body.rpartition(")")[0]))]


def test_a_created_database_equals_a_migrated_one(
    tmp_path: Path, postgres: PostgresServer, empty_postgres: str, postgres_url: str
) -> None:
    migrated, created = tmp_path / "migrated.db", tmp_path / "created.db"
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.begin() as connection:
        CURRENT.upgrade(connection)
    engine.dispose()
    Database.open(f"sqlite:///{created}").close()

    def sqlite_schema(path: Path) -> dict[str, list[str]]:
        """Return the parts of every table and index; columns and constraints may come in any order."""
        with contextlib.closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            return {name: _parts(sql) for name, sql in rows}

    assert sqlite_schema(created) == sqlite_schema(migrated)

    engine = create_engine(postgres.url(empty_postgres))
    with engine.begin() as connection:
        CURRENT.upgrade(connection)
    engine.dispose()
    columns = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    keys = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid <> 0 ORDER BY 1, 2"
    )
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    name = postgres_url.split("/")[3].split("?", maxsplit=1)[0]
    for query in (columns, keys, indexes):
        assert postgres.execute(query, name) == postgres.execute(query, empty_postgres)


def test_the_names_of_the_files_are_alembics_revisions(newer: Callable[..., Schema]) -> None:
    for schema in (CURRENT, newer()):
        revisions = [s.revision for s in ScriptDirectory(str(schema.folder)).walk_revisions()]
        assert schema.revisions == tuple(reversed(revisions))


def test_before_a_migration_the_file_is_copied(tmp_path: Path, newer: Callable[..., Schema]) -> None:
    path = tmp_path / "grid.db"
    filled(f"sqlite:///{path}")
    Database.open(f"sqlite:///{path}").close()
    assert {p.name for p in tmp_path.iterdir()} == {"grid.db", "grid.db.lock"}, "no copy while none is due"
    with sqlite3.connect(path) as connection:  # not yet in the file, only in the write-ahead log
        connection.execute("UPDATE users SET name = 'eve'")
        connection.commit()
        schema = newer()
        database = Database.open(f"sqlite:///{path}", schema)
    with database.read() as tx:
        assert len(tx.runs.experiments("r-brave-otter")) == 2
        assert tx.accounts.user_of_token("aa") == "eve"
    database.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9002",)]
        connection.execute("SELECT colour FROM runs")
    copy = tmp_path / "grid.db.before-9002"
    assert copy.stat().st_mode & 0o777 == 0o600
    shutil.copy(copy, tmp_path / "old.db")
    database = Database.open(f"sqlite:///{tmp_path / 'old.db'}")
    with database.read() as tx:
        assert tx.accounts.user_of_token("aa") == "eve"
    database.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, newer: Callable[..., Schema]) -> None:
    url = f"sqlite:///{tmp_path / 'grid.db'}"
    filled(url)
    broken = newer("""op.execute("UPDATE runs SET name = 'lost'"); raise RuntimeError("half way")""")
    with pytest.raises(RuntimeError, match="half way"):
        Database.open(url, broken)
    database = Database.open(url)
    with database.read() as tx:
        assert [run.name for run in tx.runs.list()] == ["brave-otter"]
    database.close()
    Database.open(url, newer()).close()


def test_postgresql_is_migrated_whole_or_not_at_all(
    postgres: PostgresServer, postgres_url: str, newer: Callable[..., Schema]
) -> None:
    filled(postgres_url)
    with pytest.raises(RuntimeError, match="half way"):
        Database.open(postgres_url, newer('raise RuntimeError("half way")'))
    Database.open(postgres_url).close()
    Database.open(postgres_url, newer()).close()
    assert "newer OpenGrid" in refused(postgres_url).message


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nobody_migrates_under_a_running_server(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, newer: Callable[..., Schema]
) -> None:
    url = f"sqlite:///{tmp_path / 'grid.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    server = Database.open(url)
    with server.hold(), pytest.raises(Conflict, match=str(os.getpid())):
        Database.open(url, newer())
    server.close()
    Database.open(url, newer()).close()


def test_two_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'grid.db'}"
    lines = [
        "import sys", "from opengrid.store.database import Database",
        "print('ready', flush=True)", "sys.stdin.readline()", f"d = Database.open({url!r})",
        "with d.transaction() as tx: tx.data.next_version('a', 'u', 's', 1)", "d.close()",
    ]  # fmt: skip
    processes = [python(*lines) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [p.communicate(timeout=60)[1] for p in processes] == [""] * 4
    database = Database.open(url)
    with database.read() as tx:
        assert [v.version for v in tx.data.list()] == [4, 3, 2, 1]
    database.close()


# Refusing, untouched


def test_a_newer_schema_is_refused_untouched(tmp_path: Path, newer: Callable[..., Schema]) -> None:
    path = tmp_path / "store" / "grid.db"
    path.parent.mkdir()
    Database.open(f"sqlite:///{path}", newer()).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9002'")
        connection.commit()
        error = refused_untouched(path)
    assert "newer OpenGrid" in error.message
    assert "9002" in error.message
    assert CURRENT.head in error.message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"not a database at all", "does not begin like"),
        (lambda data: b"\0" * len(data), "does not begin like"),
        (lambda data: data[:100], "malformed|not a database"),
        (lambda data: data[: len(data) // 2], "malformed|not a database"),
        (lambda data: data[:16] + b"\xff" * 84 + data[100:], "not a database|malformed"),
        (lambda data: data[:8192] + b"\xa5" * 8192 + data[16384:], "page|malformed|btree"),
    ],
    ids=["text", "zeros", "head-only", "half", "header", "pages"],
)
def test_a_corrupt_file_is_refused_untouched(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    path = tmp_path / "grid.db"
    filled(f"sqlite:///{path}")
    path.write_bytes(damage(path.read_bytes()))
    error = refused_untouched(path)
    assert "is corrupt" in error.message
    assert pytest.raises(Unusable, match=said).matches(error)
    assert error.hint is not None
    assert "move it" in error.hint


def test_a_corrupt_file_names_the_copy_that_may_take_its_place(tmp_path: Path, newer: Callable[..., Schema]) -> None:
    path = tmp_path / "grid.db"
    filled(f"sqlite:///{path}")
    schema = newer()
    Database.open(f"sqlite:///{path}", schema).close()
    path.write_bytes(b"x" * 5000)
    error = refused_untouched(path, schema)
    assert error.hint is not None
    assert f"{path}.before-9002" in error.hint


def test_damage_found_while_running_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    filled(f"sqlite:///{path}")
    database = Database.open(f"sqlite:///{path}")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(Unusable, match=r"grid\.db.*corrupt"), database.read() as tx:
        tx.runs.list()
    database.close()


def test_another_programs_database_is_refused_untouched(
    tmp_path: Path, postgres: PostgresServer, empty_postgres: str
) -> None:
    path = tmp_path / "grid.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert "bookmarks" in refused_untouched(path).message
    postgres.execute("CREATE TABLE bookmarks (url TEXT)", empty_postgres)
    assert "bookmarks" in refused(postgres.url(empty_postgres)).message
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", empty_postgres) == [(1,)]


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "grid.db").touch()
    filled(f"sqlite:///{tmp_path / 'grid.db'}")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nosuch" in refused(f"sqlite:///{tmp_path / 'nosuch' / 'grid.db'}").message
    (tmp_path / "grid.db").mkdir()
    assert "grid.db" in refused(f"sqlite:///{tmp_path / 'grid.db'}").message


def test_a_place_that_cannot_be_written_is_named(full_disk: Path) -> None:
    path = full_disk / "grid.db"
    filled(f"sqlite:///{path}")
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True, timeout=60)
    assert f"{full_disk} cannot be written" in refused_untouched(path).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    filled(f"sqlite:///{path}")
    path.chmod(0o444)
    assert f"{path} cannot be written" in refused_untouched(path).message


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://root@localhost/grid", "sqlite:grid.db"])
def test_only_sqlite_and_postgresql_are_databases(url: str) -> None:
    with pytest.raises(InvalidValue, match="neither"):
        Database.open(url)


def test_a_postgresql_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    error = refused(f"postgresql://ada:secret@/grid?host={tmp_path}")
    assert str(tmp_path) in error.message
    assert "secret" not in error.message


# One server


def holder_of(url: str) -> subprocess.Popen[str]:
    process = python(
        "import sys", "from opengrid.store.database import Database", f"d = Database.open({url!r})",
        "with d.hold():", "    print('held', flush=True)", "    sys.stdin.readline()", "d.close()",
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("end", ["orderly", "killed"])
def test_one_server_at_a_time_holds_a_store(store_url: str, database: Database, end: str) -> None:
    process = holder_of(store_url)
    with pytest.raises(Conflict, match=rf"in use by .*{process.pid}") as error, database.hold():
        pytest.fail("held twice")
    assert error.value.exit_code == 2
    with database.transaction() as tx:  # the lock is for servers; reading and writing are no crime
        tx.accounts.ensure_user("ada", "aa", T0)
    if end == "killed":
        process.kill()
    process.communicate("\n", timeout=60)
    _held_in_time(database)
    with database.hold():
        pass


def _held_in_time(database: Database) -> None:
    """Hold the store once PostgreSQL has noticed that its client died, which takes it a moment."""
    until = time.monotonic() + 30
    while True:
        try:
            with database.hold():
                return
        except Conflict:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def test_a_store_is_held_once_within_a_process_too(store_url: str, database: Database) -> None:
    other = Database.open(store_url)
    with database.hold(), pytest.raises(Conflict, match=str(os.getpid())), other.hold():
        pytest.fail("held twice")
    with other.hold():
        pass
    other.close()


def test_postgresqls_lock_is_taken_again_before_anything_is_written(
    postgres: PostgresServer, postgres_url: str
) -> None:
    first, second = Database.open(postgres_url), Database.open(postgres_url)
    name = postgres_url.split("/")[3].split("?", maxsplit=1)[0]
    cut = f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{name}'"
    with first.hold():
        postgres.execute(cut)
        with first.transaction() as tx:
            tx.accounts.ensure_user("ada", "aa", T0)
        with pytest.raises(Conflict), second.hold():
            pytest.fail("held twice")
        postgres.execute(cut)
        with second.hold():  # faster than the first, which must write no more
            with pytest.raises(Conflict, match="taken over"), first.transaction():
                pytest.fail("wrote without the lock")
            with first.read() as tx:
                assert tx.accounts.user_of_token("aa") == "ada"
    first.close()
    second.close()


# Dying and running full


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@pytest.mark.parametrize("round_", range(3))
def test_what_was_acknowledged_survives_kill_9(store_url: str, database: Database, round_: int) -> None:
    process = python(
        "from opengrid.store.database import Database", f"d = Database.open({store_url!r})", "n = 0",
        "while True:", "    with d.transaction() as tx: n = tx.data.next_version('a', 'u', 's', 1).version",
        "    print(n, flush=True)",
    )  # fmt: skip
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(20 + 7 * round_)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.communicate(timeout=60)
    acknowledged = int([line for line in said if line.endswith("\n")][-1])
    with database.transaction() as tx:
        there = len(tx.data.list())
        assert acknowledged <= there <= acknowledged + 1
        assert tx.data.next_version("a", "u", "s", 1).version == there + 1


def test_a_full_disk_is_named_and_loses_nothing(full_disk: Path) -> None:
    path = full_disk / "grid.db"
    database = Database.open(f"sqlite:///{path}")
    stored: list[str] = []

    def store_until_full() -> None:
        for i in range(100_000):
            run = make_run(f"run-{i}")
            run = dataclasses.replace(run, spec=dataclasses.replace(run.spec, shell={"X": "x" * 50_000}))
            with database.transaction() as tx:
                tx.runs.create(run, make_experiments(run), T0)
            stored.append(run.name)

    with pytest.raises(Unusable, match=f"{path}.*(full|I/O error)") as error:
        store_until_full()
    assert error.value.hint
    with database.read() as tx:
        assert tx.runs.count() == len(stored) > 0
    (full_disk / "ballast").unlink()
    with database.transaction() as tx:
        tx.accounts.ensure_user("ada", "aa", T0)
    database.close()
    database = Database.open(f"sqlite:///{path}")
    with database.read() as tx:
        assert tx.runs.count() == len(stored)
    database.close()


def test_a_full_disk_at_the_first_start_is_named(full_disk: Path) -> None:
    fill(full_disk / "more")
    error = refused(f"sqlite:///{full_disk / 'grid.db'}")
    assert "grid.db" in error.message
    (full_disk / "more").unlink()
    Database.open(f"sqlite:///{full_disk / 'grid.db'}").close()


def test_a_copy_that_does_not_fit_stops_the_migration(full_disk: Path, newer: Callable[..., Schema]) -> None:
    path = full_disk / "grid.db"
    filled(f"sqlite:///{path}")
    fill(full_disk / "more")
    before = {name: data for name, data in contents(full_disk).items() if name.startswith("grid.db")}
    assert "copy" in refused(f"sqlite:///{path}", newer()).message
    assert {name: data for name, data in contents(full_disk).items() if name.startswith("grid.db")} == before
    (full_disk / "more").unlink()
    Database.open(f"sqlite:///{path}").close()


def test_a_read_only_postgresql_is_named(postgres: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.split("/")[3].split("?", maxsplit=1)[0]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = Database.open(postgres_url)
    with pytest.raises(Unusable, match="cannot be written"), database.transaction() as tx:
        tx.accounts.ensure_user("ada", "aa", T0)
    database.close()
