"""Databases for contract tests: a fresh one per test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support.postgres import PostgresServer, running_postgres

from opengrid.store.database import Database


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server per session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A database with the newest schema, for copying."""
    name = postgres.create()
    Database.open(postgres.url(name)).close()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the newest schema, for copying."""
    path = tmp_path_factory.mktemp("template") / "grid.db"
    Database.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A database of this test's own, with the newest schema."""
    name = postgres.create(postgres_template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def empty_postgres(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database with nothing in it."""
    name = postgres.create()
    yield name
    postgres.drop(name)


@pytest.fixture(scope="session")
def shared_postgres(postgres: PostgresServer, postgres_template: str) -> str:
    """A database that all tests share that leave its schema alone: making one for each would take 0.2 s."""
    return postgres.create(postgres_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database with the newest schema."""
    if request.param == "postgresql":
        server, name = request.getfixturevalue("postgres"), request.getfixturevalue("shared_postgres")
        server.execute("DELETE FROM runs; DELETE FROM datastores; DELETE FROM users", name)
        return server.url(name)
    path = tmp_path / "grid.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """An open store."""
    opened = Database.open(store_url)
    yield opened
    opened.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, half of which is the file `ballast`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if mounted.returncode != 0:
        missing("tmpfs", f"only root may mount one here: {mounted.stderr.strip()}")
    try:
        (folder / "ballast").write_bytes(b"x" * (1 << 20))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)
