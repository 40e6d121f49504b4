"""Unmodified scripts go on where they were, on several machines, whatever was killed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid, eventually
from tests.support.ranks import find_ranks, kill

#: Two machines with two ranks each.
MACHINES = ("--gpus", "4", "--instance_type", "2_m60_8gb")

LAST_STEP = 12

#: What the scripts below compute at a step: it depends on every step before, on every rank, and on their number.
ARITHMETIC = """
import os, signal, time
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
is_first = os.environ["GRID_GENERATION"] == os.environ["GRID_ATTEMPT"] == "1"

def train(x, step):
    part = torch.tensor([rank + step / 7], dtype=torch.float64)
    dist.all_reduce(part)
    return x * 0.9 + part

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


def undisturbed() -> float:
    """Return what the scripts end with when nothing happens to them."""
    x = 0.0
    for step in range(1, LAST_STEP + 1):
        x = x * 0.9 + sum(rank + step / 7 for rank in range(4))
    return x


def results(log: bytes, word: str) -> dict[int, str]:
    """Return what each rank wrote after a word, the last time that it did."""
    return {int(rank): text for rank, text in re.findall(rf"\[rank (\d)\] {word} (.*)", log.decode())}


def assert_exact(log: bytes) -> None:
    """All ranks ended with the undisturbed result."""
    ends = results(log, "end")
    assert sorted(ends) == [0, 1, 2, 3]
    assert len(set(ends.values())) == 1
    assert float(ends[0]) == pytest.approx(undisturbed(), rel=1e-12)


def reasons(experiment: dict[str, Any]) -> str:
    return "\n".join(event["reason"] for event in experiment["events"])


OWN_STATE = (
    ARITHMETIC
    + """
state = {"step": 0, "x": torch.zeros(1, dtype=torch.float64)}
if os.path.exists("state.pt"):
    state = torch.load("state.pt")
print("start", state["step"], os.environ.get("GRID_RESUME_FROM"), flush=True)
for step in range(state["step"] + 1, 13):
    if is_first and step == 8:
        print("held", flush=True)
        wait_for("go")
    state = {"step": step, "x": train(state["x"], step)}
    print("step", step, flush=True)
    if rank == 0:
        torch.save(state, "state.tmp")
        os.replace("state.tmp", "state.pt")
print("end", repr(state["x"].item()), flush=True)
"""
)


def held(grid: Grid, name: str) -> None:
    """Wait until all ranks wait."""
    eventually(lambda: grid.log(name).count(b"] held\n") == 4)


def test_a_torch_script_goes_on_from_its_own_file_on_every_machine_after_a_rank_was_killed(
    grid: Grid, folder: Path
) -> None:
    (folder / "own.py").write_text(OWN_STATE)
    name = grid.submit(*MACHINES, "own.py", cwd=folder)
    held(grid, name)
    kill(find_ranks(name)[3])
    ended = grid.ended(name)
    assert (ended["state"], ended["attempts"], ended["generations"]) == ("succeeded", 1, 2), ended
    log = grid.log(name, "--generation", "2")
    starts = results(log, "start")
    assert sorted(starts) == [0, 1, 2, 3]
    for start in starts.values():
        step, _, checkpoint = start.partition(" ")
        assert (step, Path(checkpoint).name) == ("7", "state.pt")
    assert_exact(log)
