"""client.embedded and client.starting with real servers: found, started, one at a time, replaced, stopped."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.grid import eventually
from tests.support.processes import is_alive

from opengrid import __version__
from opengrid.client.api import Api
from opengrid.client.embedded import Embedded
from opengrid.client.home import About, Home, boot_id, read_about
from opengrid.client.starting import start_server, stop_server
from opengrid.core.errors import NotFound, ServerUnreachable, Unusable, UserError
from opengrid.core.locks import try_lock


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home with a short path; its server is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="og-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home = Home(root=Path(folder, "home"), state=Path(folder, "state"))
        yield home
        about = read_about(home)
        if about is not None and about.is_alive and not about.is_elsewhere:
            stop_server(home)


def quiet(_: str) -> None:
    """Tell nobody."""


def kill(home: Home) -> int:
    about = read_about(home)
    assert about is not None
    os.kill(about.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(about.pid))
    return about.pid


def test_the_first_request_starts_a_server_and_later_ones_use_it(home: Home) -> None:
    server = Embedded(home, tell=quiet)
    assert Api(server).runs()["total"] == 0
    about = read_about(home)
    assert about is not None
    assert Api(Embedded(home, tell=quiet)).server()["pid"] == about.pid
    assert (home.root / "server.json").stat().st_mode & 0o777 == 0o600
    assert not (home.root / "grid.db").exists()
    assert (home.state / "grid.db").exists()


def test_a_killed_server_is_replaced_by_the_next_request_even_on_an_open_connection(home: Home) -> None:
    api = Api(Embedded(home, tell=quiet))
    first = api.server()["pid"]
    assert kill(home) == first
    assert api.server()["pid"] != first
    kill(home)
    with pytest.raises(NotFound):  # what changes things is repeated too when it cannot have arrived
        Api(Embedded(home, tell=quiet)).stop("run", ["no-such-run"])


def test_several_commands_at_once_start_one_server(home: Home) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        abouts = list(pool.map(lambda _: start_server(home), range(4)))
    assert len({about.pid for about in abouts}) == 1


def test_a_command_that_ends_while_its_server_starts_leaves_it_to_the_next(home: Home) -> None:
    program = "import sys; from opengrid.client.starting import start_server; from opengrid.client.home import Home; "
    program += "from pathlib import Path; start_server(Home(root=Path(sys.argv[1]), state=Path(sys.argv[2])))"
    command = subprocess.Popen([sys.executable, "-c", program, str(home.root), str(home.state)])
    lock = home.state / "grid.db.lock"
    eventually(lambda: lock.exists() and lock.read_text().startswith("process "))
    server = int(lock.read_text().split()[1])
    with concurrent.futures.ThreadPoolExecutor() as pool, (home.state / "start.lock").open() as lock_of_starts:
        os.kill(server, signal.SIGSTOP)  # it has the database, and others cannot see yet that it runs
        try:
            command.kill()
            command.wait()
            is_held = read_about(home) is not None or not try_lock(lock_of_starts.fileno())
            next_one = pool.submit(start_server, home)
        finally:
            os.kill(server, signal.SIGCONT)
        assert is_held
        assert next_one.result().pid == server


def test_stop_waits_until_the_server_is_gone_and_may_be_repeated(home: Home) -> None:
    about = start_server(home)
    assert stop_server(home) == about.pid
    assert not is_alive(about.pid)
    assert read_about(home) is None
    assert stop_server(home) is None


def test_stop_after_a_kill_tidies_up(home: Home) -> None:
    start_server(home)
    kill(home)
    assert stop_server(home) is None
    assert read_about(home) is None


def test_a_server_that_cannot_start_says_why_in_its_own_words(home: Home) -> None:
    home.state.mkdir(parents=True)
    (home.state / "grid.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"grid\.db") as refusal:
        start_server(home)
    assert refusal.value.hint
    assert read_about(home) is None


def test_a_server_for_others_of_another_version_is_not_replaced_but_named(home: Home) -> None:
    about = start_server(home, arguments=["--listen", "127.0.0.1:0"])
    assert about.was_given_address
    document = json.loads(home.server_file.read_text())
    home.server_file.write_text(json.dumps({**document, "version": "0.0.1"}))
    with pytest.raises(Unusable, match=r"0\.0\.1"):
        Api(Embedded(home, tell=quiet)).server()
    assert is_alive(about.pid)


def test_a_server_of_this_user_of_another_version_is_replaced_and_that_is_told(home: Home) -> None:
    about = start_server(home)
    document = json.loads(home.server_file.read_text())
    home.server_file.write_text(json.dumps({**document, "version": "0.0.1"}))
    told: list[str] = []
    assert Api(Embedded(home, tell=told.append)).server()["pid"] != about.pid
    assert not is_alive(about.pid)
    assert "0.0.1" in told[0]


def test_another_hosts_server_within_reach_is_used_and_never_started_here(home: Home) -> None:
    home.root.mkdir(parents=True)
    (home.root / "token").write_text("secret")
    elsewhere = {"pid": 1, "version": __version__, "started_at": "", "home": "", "host": "far", "boot_id": "x"}
    # An address of this computer that is not called loopback, with nobody behind it.
    home.server_file.write_text(json.dumps({**elsewhere, "url": "http://0.0.0.0:1"}))
    with pytest.raises(ServerUnreachable):
        Api(Embedded(home, tell=quiet)).server()
    assert not home.state.exists()


def test_a_pid_that_another_program_has_by_now_is_no_server() -> None:
    started = [sys.executable, "-c", "print(flush=True); input()"]
    other = subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server = subprocess.Popen([*started, "opengrid.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for process in (other, server):
            assert process.stdout is not None
            process.stdout.readline()
        assert not _about(other.pid, boot_id()).is_alive
        assert _about(server.pid, boot_id()).is_alive
        assert not _about(server.pid, "another").is_alive
    finally:
        for process in (other, server):
            process.kill()
            process.communicate()


def _about(pid: int, boot: str) -> About:
    return About(
        pid=pid, url="http://127.0.0.1:1", version="0.1.0", started_at="", home="/home", host="here", boot_id=boot
    )
