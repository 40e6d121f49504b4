"""Nothing is left behind: by stop, by kill -9 of agent or launcher, by failures."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos import titled
from tests.support.grid import Grid, eventually
from tests.support.processes import is_alive

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *a: print("got SIGTERM", flush=True))
hide = "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.setsid(); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", hide])
open(f"pids.{os.environ['RANK']}", "w").write(f"{os.getpid()} {child.pid}")
print("ready", flush=True)
while True: time.sleep(0.1)
"""


def start_stubborn(grid: Grid, folder: Path) -> tuple[dict[str, Any], list[int]]:
    """Run two ranks on two machines that ignore SIGTERM and have children in sessions of their own."""
    (folder / "stubborn.py").write_text(STUBBORN)
    eventually(lambda: not agents(grid))  # those of tests before this one may be on their way out
    machines = ["--gpus", "2", "--instance_type", "1_t4_16gb", "--framework", "torch"]
    name = grid.submit(*machines, "--grace", "1", "--max_restarts", "0", "stubborn.py", cwd=folder)
    grid.running(name)
    eventually(lambda: grid.log(name).count(b"ready") == 2)
    experiment = grid.experiment(name)
    files = list(Path(experiment["work_dir"]).rglob("pids.*"))
    assert len(files) == 2
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert all(is_alive(pid) for pid in pids)
    return experiment, pids


def agents(grid: Grid) -> list[int]:
    """Return the pids of all agents."""
    return list(titled("grid agent ", grid.home))


def test_stop_sends_sigterm_to_all_ranks_and_kills_those_that_ignore_it_with_their_children(
    grid: Grid, folder: Path
) -> None:
    experiment, pids = start_stubborn(grid, folder)
    name = experiment["experiment"]
    grid.ok("stop", "experiment", name)
    ended = grid.ended(name)
    assert ended["state"] == "stopped", ended
    assert grid.log(name).count(b"got SIGTERM") == 2
    assert not [pid for pid in pids if is_alive(pid)]
    eventually(lambda: not agents(grid))


@pytest.mark.parametrize("victim", ["agent", "launcher", "both"])
def test_kill_9_of_agent_or_launcher_leaves_no_process_and_ends_the_experiment(
    grid: Grid, folder: Path, victim: str
) -> None:
    experiment, pids = start_stubborn(grid, folder)
    found = agents(grid)
    assert len(found) == 2
    launchers = {parent_of(pid) for pid in pids[::2]}
    chosen = {"agent": found[:1], "launcher": list(launchers)[:1], "both": [*found, *launchers]}[victim]
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):  # a launcher ends with its agent
            os.kill(pid, signal.SIGKILL)
    ended = grid.ended(experiment["experiment"])
    assert ended["state"] == "failed", ended
    eventually(lambda: not [pid for pid in pids if is_alive(pid)])
    eventually(lambda: not agents(grid))


def test_a_machine_that_does_not_listen_holds_up_a_stop_until_it_is_forced(grid: Grid, folder: Path) -> None:
    experiment, pids = start_stubborn(grid, folder)
    name, hung = experiment["experiment"], agents(grid)
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    grid.ok("stop", name)
    assert grid.experiment(name)["state"] == "running"
    assert all(is_alive(pid) for pid in pids)
    grid.ok("stop", "--force", name)
    assert grid.ended(name)["state"] == "stopped"
    eventually(lambda: not [pid for pid in (*hung, *pids) if is_alive(pid)])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_queued_experiment_is_stopped_at_once_and_one_that_has_ended_is_left_alone(grid: Grid, folder: Path) -> None:
    (folder / "quick.py").write_text("print(1)")
    ended = grid.finish("--instance_type", "2_cpu_4gb", "quick.py", cwd=folder)
    answer = grid.json("stop", "experiment", ended["experiment"])
    assert answer["already"] == [ended["experiment"]]
    assert grid.experiment(ended["experiment"])["state"] == "succeeded"


def test_delete_removes_what_has_ended_and_refuses_what_runs(grid: Grid, folder: Path) -> None:
    (folder / "wait.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(600)")
    name = grid.submit("--instance_type", "2_cpu_4gb", "wait.py", cwd=folder)
    experiment = grid.running(name)
    run = experiment["run"]
    refused = grid.call("delete", "run", run, "--yes")
    assert refused.code == 2, refused
    assert "stop" in refused.err
    grid.ok("stop", "run", run)
    work = Path(grid.ended(name)["work_dir"])
    assert work.exists()
    grid.ok("delete", "run", run, "--yes")
    assert not work.exists()
    assert grid.call("status", name).code == 2
