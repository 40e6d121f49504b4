"""The embedded server: started by whoever needs it, one at a time, found again after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.grid import Grid, eventually
from tests.support.processes import is_alive, processes_of


def test_the_first_command_starts_a_server_and_stop_ends_it(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    assert grid.json("status")["runs"] == []
    status = grid.json("server", "status")
    assert {"pid", "url", "version", "started_at", "home"} <= status.keys()
    assert is_alive(status["pid"])
    assert oct((grid.home / "token").stat().st_mode & 0o777) == "0o600"
    grid.ok("server", "stop")
    eventually(lambda: not is_alive(status["pid"]))
    assert grid.call("server", "status").code != 0


def test_two_commands_at_once_get_one_server(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    started = [grid.start("-o", "json", "server", "start") for _ in range(3)]
    outs = [json.loads(p.communicate(timeout=60)[0]) for p in started]
    assert [p.returncode for p in started] == [0, 0, 0]
    assert len({o["pid"] for o in outs}) == 1


def test_experiments_go_on_while_the_server_is_killed_and_end_with_complete_logs(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    grid = new_grid()
    (folder / "count.py").write_text(
        "import os, time, sys\n"
        "for i in range(3000):\n    print('line', i, flush=True)\n    time.sleep(0.001)\n"
        "while not os.path.exists(os.environ['GO']): time.sleep(0.05)\n"
        "print('end')\n"
    )
    go = folder / "go"
    name = grid.submit(
        "--instance_type", "2_cpu_4gb", "--processes_per_node", "2", "--env", f"GO={go}", "count.py", cwd=folder
    )
    grid.running(name)
    first = grid.kill_server()
    go.touch()
    ended = grid.ended(name)  # the next command starts a new server
    assert ended["state"] == "succeeded", ended
    assert grid.server["pid"] != first
    for rank in (0, 1):
        log = grid.log(name, "--rank", str(rank)).decode().splitlines()
        assert log == [*(f"line {i}" for i in range(3000)), "end"]


def test_a_server_killed_again_and_again_while_a_gang_starts_still_ends_right(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    grid = new_grid()
    (folder / "hello.py").write_text("import os\nprint('hello from', os.environ['RANK'])")
    for _ in range(2):
        name = grid.submit("--gpus", "4", "--instance_type", "2_m60_8gb", "hello.py", cwd=folder)
        grid.kill_server()
        ended = grid.ended(name)
        assert ended["state"] == "succeeded", ended
        assert ended["attempts"] == 1
        assert len(grid.log(name).splitlines()) == 4


@pytest.mark.full  # as long as a home must be gone
def test_nothing_of_ours_outlives_its_home_by_a_minute(new_grid: Callable[[], Grid], folder: Path) -> None:
    grid = new_grid()
    grid.environment["GRID_CACHE"] = str(grid.home / "zipapp")  # so that the template is its own, too
    (folder / "family.py").write_text(
        "import os, time\n"
        "parent = lambda pid: open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1]\n"
        "print(os.getpid(), os.getppid(), parent(os.getppid()), flush=True)\n"
        "time.sleep(600)\n"
    )
    name = grid.submit("--instance_type", "2_cpu_4gb", "--framework", "torch", "family.py", cwd=folder)
    grid.running(name)
    family = eventually(lambda: [int(word) for word in grid.log(name).split()[-3:]])
    assert len(family) == 3, "rank, launcher and template"
    ours = {*family, int(grid.server["pid"]), *processes_of(str(grid.home))}
    assert len(ours) >= 5
    shutil.rmtree(grid.home)
    eventually(lambda: not any(is_alive(pid) for pid in ours))


def test_a_foreign_process_on_the_asked_port_is_named(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = grid.call("server", "start", "--listen", f"127.0.0.1:{port}")
    assert done.code == 2, done
    assert str(port) in done.err


def test_an_embedded_server_whose_port_was_taken_meanwhile_takes_another(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    grid.ok("server", "start")
    port = int(grid.server["url"].rpartition(":")[2])
    grid.kill_server()
    with eventually(lambda: _listening(port)):
        assert grid.json("status")["runs"] == []
        assert int(grid.server["url"].rpartition(":")[2]) != port


def _listening(port: int) -> socket.socket | None:
    # The first thread of a killed process is a zombie while the others still hold its sockets for a moment.
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def test_listening_to_other_machines_needs_tls_or_the_word(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    done = grid.call("server", "start", "--listen", "0.0.0.0:0")
    assert done.code == 2, done
    assert "--tls-cert" in done.err


def test_a_home_that_another_host_serves_is_left_alone(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    grid.ok("server", "start")
    about = grid.server
    grid.ok("server", "stop")
    eventually(lambda: not (grid.home / "server.json").exists())
    about |= {"host": "gpu-box-7", "boot_id": "another", "pid": os.getpid()}
    (grid.home / "server.json").write_text(json.dumps(about))
    done = grid.call("status")
    assert done.code == 2, done
    assert "gpu-box-7" in done.err
    (grid.home / "server.json").unlink()


def test_a_corrupt_database_is_named_and_left_untouched(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    grid.ok("server", "start")
    grid.ok("server", "stop")
    database = grid.home / "grid.db"
    for extra in grid.home.glob("grid.db-*"):
        extra.unlink()
    database.write_bytes(b"this is no database" * 1000)
    done = grid.call("status")
    assert done.code == 2, done
    assert "grid.db" in done.err
    assert database.read_bytes() == b"this is no database" * 1000


def test_a_newer_schema_is_refused_untouched(new_grid: Callable[[], Grid]) -> None:
    import sqlite3

    grid = new_grid()
    grid.ok("server", "start")
    grid.ok("server", "stop")
    database = sqlite3.connect(grid.home / "grid.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()
    before = (grid.home / "grid.db").read_bytes()
    done = grid.call("status")
    assert done.code == 2, done
    assert "newer" in done.err
    assert (grid.home / "grid.db").read_bytes() == before


def test_a_server_of_another_version_is_replaced_and_experiments_go_on(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    grid = new_grid()
    other = folder / "other"
    other.mkdir()
    # The same server under another version number: what an upgrade leaves running.
    (other / "sitecustomize.py").write_text("import opengrid\nopengrid.__version__ = '0.0.1'\n")
    grid.ok("server", "start", PYTHONPATH=str(other))
    assert grid.server["version"] == "0.0.1"
    old = grid.server["pid"]
    (folder / "wait.py").write_text(
        "import os, time\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.05)\nprint('done')"
    )
    go = folder / "go"
    name = grid.submit(
        "--instance_type", "2_cpu_4gb", "--env", f"GO={go}", "wait.py", cwd=folder, PYTHONPATH=str(other)
    )
    grid.running(name)
    done = grid.call("status")
    assert done.code == 0, done
    eventually(lambda: not is_alive(old))
    assert grid.server["version"] != "0.0.1"
    go.touch()
    assert grid.ended(name)["state"] == "succeeded"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_is_told_and_nothing_is_half_made(new_grid: Callable[[], Grid], folder: Path) -> None:
    import subprocess

    disk = folder / "disk"
    disk.mkdir()
    if (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True).returncode
        != 0
    ):
        pytest.skip("cannot mount a tmpfs here")
    grid = new_grid()
    small = Grid(disk / "home", folder, grid.environment)
    try:
        (folder / "train.py").write_text("print(1)")
        small.ok("server", "start")
        (folder / "big.bin").write_bytes(os.urandom(9 << 20))
        done = small.call("run", "--detach", "--instance_type", "2_cpu_4gb", "train.py", cwd=folder)
        assert done.code == 2, done
        assert "space" in done.err
        (folder / "big.bin").unlink()
        assert small.json("history")["runs"] == []
        assert small.json("status")["runs"] == []
    finally:
        small.call("server", "stop")
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_home_that_cannot_be_written_is_named(new_grid: Callable[[], Grid], folder: Path) -> None:
    grid = new_grid()
    blocked = folder / "file"
    blocked.write_text("")
    done = Grid(blocked / "home", folder, grid.environment).call("status")
    assert done.code == 2, done
    assert "GRID_HOME" in done.err


def test_python_that_runs_grid_is_the_default_interpreter(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("print(1)")
    plan = grid.json(
        "run", "--dry_run", "--instance_type", "2_cpu_4gb", "train.py", cwd=folder, VIRTUAL_ENV="", CONDA_PREFIX=""
    )["plan"]
    assert plan["python"] == sys.executable
