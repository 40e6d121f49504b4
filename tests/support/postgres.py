"""A PostgreSQL server of Debian's binaries, for one test session: a unix socket in a short folder, no durability."""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.conftest import missing

_PATIENCE_S = 60.0


class PostgresServer:
    """A running server; makes databases and says their URLs."""

    def __init__(self, sockets: Path, user: str, process: subprocess.Popen[bytes]) -> None:
        self.sockets, self.user, self.process = sockets, user, process
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """Return what Database.open takes."""
        return f"postgresql+psycopg://{self.user}@/{database}?host={self.sockets}"

    def create(self, template: str = "template0") -> str:
        """Make a database, a copy of another one; return its name."""
        name = f"t{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, whoever still uses it."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute one statement outside any transaction."""
        with psycopg.connect(
            host=str(self.sockets), user=self.user, dbname=database, autocommit=True, connect_timeout=10
        ) as connection:
            cursor = connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server and stop it at the end; skips where there are no binaries."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name.split(".")[0]))
    folders = [f for f in folders if (f / "initdb").exists()]
    if not folders:
        missing("postgresql", "there is no /usr/lib/postgresql/*/bin (apt install postgresql)")
    binaries, user = folders[-1], "postgres" if os.geteuid() == 0 else getpass.getuser()
    # Short: the path of a unix socket has at most 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="og-pg-", dir="/tmp"))
    process = None
    try:
        if os.geteuid() == 0:
            shutil.chown(root, user, user)
        data = root / "data"
        _run_as(
            user, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(root),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                _as(user, str(binaries / "postgres"), "-D", str(data), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=root,
            )
        server = PostgresServer(root, user, process)
        _wait(server, root / "log")
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # "fast": connections are cut
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(root, ignore_errors=True)


def _as(user: str, *command: str) -> list[str]:
    """Return a command that runs as `user` (PostgreSQL refuses root) and ends with us, even if we are killed."""
    drop = ["--reuid", user, "--regid", user, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *drop, "--pdeathsig", "INT", *command]


def _run_as(user: str, *command: str) -> None:
    done = subprocess.run(_as(user, *command), capture_output=True, text=True, cwd="/", timeout=_PATIENCE_S)
    assert done.returncode == 0, done.stderr


def _wait(server: PostgresServer, log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            server.execute("SELECT 1")
        except psycopg.OperationalError:
            assert server.process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        else:
            return
