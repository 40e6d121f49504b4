"""Faults on request: `grid rehearse` brings them about, and the experiment recovers; `grid resume` goes on by hand."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid, eventually

#: Counts steps in step on all ranks, from its own file or from what it is told; waits in the end to be released.
COUNTING = """
import os, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
step = torch.load("state.pt")["optimizer"] if os.path.exists("state.pt") else 0
print(f"rank {dist.get_rank()} starts at {step}", flush=True)
while True:
    dist.all_reduce(torch.ones(1))
    step += 1
    if dist.get_rank() == 0:
        torch.save({"optimizer": step}, "part")
        os.replace("part", "state.pt")
    time.sleep(0.02)
"""

MACHINES = ("--gpus", "2", "--instance_type", "1_t4_16gb", "--framework", "torch", "--grace", "1")


def start(grid: Grid, folder: Path, *options: str) -> str:
    (folder / "count.py").write_text(COUNTING)
    name = grid.submit(*MACHINES, *options, "count.py", cwd=folder)
    _counted(grid, name)
    return name


def _counted(grid: Grid, name: str) -> dict[str, Any]:
    """Wait until the newest generation has counted on."""

    def look() -> Any:
        experiment = grid.experiment(name)
        assert experiment["state"] not in ("failed", "succeeded"), experiment
        state = Path(experiment["work_dir"] or "/nowhere") / "node0" / "state.pt"
        started = experiment["starts"] and experiment["starts"][-1]["started_at"]
        return started and state.exists() and experiment

    return eventually(look)


def restarted(grid: Grid, name: str, attempt: int, generation: int) -> dict[str, Any]:
    """Wait for a start of all ranks; it went on from a checkpoint."""

    def look() -> Any:
        newest = grid.experiment(name)["starts"][-1]
        return (newest["attempt"], newest["generation"]) == (attempt, generation) and newest["started_at"] and newest

    newest = eventually(look)
    assert newest["resumed_from"] == "state.pt"
    return newest


def test_every_fault_is_recorded_and_recovered_from(grid: Grid, folder: Path) -> None:
    name = start(grid, folder, "--max_restarts", "9")
    for fault, said, (attempt, generation) in (
        (("kill-rank", "0"), "rank 0 is killed", (1, 2)),
        (("kill-machine", "1"), "machine 1 dies", (1, 3)),
        (("preempt", "0"), "machine 0 is told", (2, 1)),
        (("kill-rank",), "rank 1 is killed", (2, 2)),
    ):
        assert said in grid.ok("rehearse", name, *fault)
        restarted(grid, name, attempt, generation)
    events = [event["reason"] for event in grid.experiment(name)["events"] if event["kind"] == "rehearsal"]
    assert len(events) == 4
    assert all(text.startswith("rehearsal: ") for text in events)
    newest = ("--attempt", "2", "--generation", "2")
    first, second = eventually(lambda: len(s := re.findall(rb"starts at (\d+)", grid.log(name, *newest))) == 2 and s)
    assert int(first) == int(second) > 0
    grid.ok("stop", name)
    assert grid.ended(name)["state"] == "stopped"


def test_a_killed_server_leaves_the_training_alone(new_grid: Any, folder: Path) -> None:
    grid = new_grid()
    name = start(grid, folder)
    before = grid.server["pid"]
    assert "the server is killed" in grid.ok("rehearse", name, "kill-server")
    eventually(lambda: grid.experiment(name) and grid.server["pid"] != before)
    experiment = grid.experiment(name)
    assert experiment["generations"] == 1
    killed, back = [event["reason"] for event in experiment["events"] if event["kind"] == "rehearsal"]
    assert killed.startswith("rehearsal: the server is killed")
    assert back.startswith("rehearsal: the server is back after ")
    grid.ok("rehearse", name, "kill-rank", "1")
    restarted(grid, name, 1, 2)
    grid.ok("stop", name)
    grid.ended(name)


def test_a_hanging_rank_shows_in_the_stacks_and_is_ended_by_stop(grid: Grid, folder: Path) -> None:
    name = start(grid, folder)
    grid.ok("rehearse", name, "hang-rank", "1")

    def hangs() -> bool:
        silent = grid.json("stacks", name)["silent"]
        return [one["rank"] for one in silent] == [1]

    eventually(hangs)
    grid.ok("stop", name)
    assert grid.ended(name)["state"] == "stopped"


def test_what_was_stopped_goes_on_where_it_was(grid: Grid, folder: Path) -> None:
    name = start(grid, folder)
    grid.ok("stop", name)
    grid.ended(name)
    assert grid.json("resume", name) == {"resumed": [name], "left": []}
    restarted(grid, name, 2, 1)
    run = grid.experiment(name)["run"]
    assert grid.json("resume", run, "--failed") == {"resumed": [], "left": [name]}
    refused = grid.call("resume", name)
    assert (refused.code, "running" in refused.err) == (2, True), refused
    grid.ok("stop", name)
    grid.ended(name)


def test_faults_of_what_is_not_there_are_refused(grid: Grid, folder: Path) -> None:
    name = start(grid, folder)
    for arguments, said in (
        (("kill-rank", "2"), "no rank 2: 0 to 1"),
        (("kill-machine", "-1"), "no machine -1"),
        (("burn",), "kill-rank"),
    ):
        refused = grid.call("rehearse", name, "--", *arguments)
        assert (refused.code, said in refused.err) == (2, True), refused
    grid.ok("stop", name)
    grid.ended(name)
    refused = grid.call("rehearse", name, "kill-rank")
    assert (refused.code, "only a running experiment" in refused.err) == (2, True), refused


@pytest.mark.parametrize("auto_resume", [False, True])
def test_after_a_restart_of_the_computer_auto_resume_goes_on_and_others_fail_with_that_reason(
    new_grid: Any, folder: Path, auto_resume: bool
) -> None:
    grid = new_grid()
    name = start(grid, folder, *(["--auto_resume"] if auto_resume else []))
    grid.kill_server()
    locks = list((grid.home / "agents").glob("*.lock"))
    assert len(locks) == 2
    for lock in locks:
        agent = json.loads(lock.read_text())
        os.kill(agent["pid"], signal.SIGKILL)
        # All that a restart leaves of an agent: a lock file of another boot.
        lock.write_text(json.dumps({**agent, "boot_id": "of-the-boot-before"}))
    if auto_resume:
        restarted(grid, name, 2, 1)
        grid.ok("stop", name)
        grid.ended(name)
    else:
        ended = grid.ended(name)
        assert ended["state"] == "failed"
        assert "this computer was restarted while it ran" in ended["reason"]
