"""Unmodified scripts go on where they were, on several machines, whatever was killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import PATIENCE_S, Grid, eventually
from tests.support.ranks import find_agents, find_ranks, kill
from tests.support.terminal import Terminal

#: Two machines with two ranks each.
MACHINES = ("--gpus", "4", "--instance_type", "2_m60_8gb")

RANKS = range(4)
LAST_STEP = 12

#: What the torch scripts begin with. Their result depends on every step before, and on what every rank adds to it.
BEGIN = """
import os, signal, sys, time
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
is_first = os.environ["GRID_GENERATION"] == os.environ["GRID_ATTEMPT"] == "1"
checkpoint = os.environ.get("GRID_RESUME_FROM")

def train(x, step):
    part = torch.tensor([rank + step / 7], dtype=torch.float64)
    dist.all_reduce(part)
    return x * 0.9 + part

def hold(name):
    open(f"{name}-held-{rank}", "w").close()
    while not os.path.exists(name):
        time.sleep(0.01)
"""


def undisturbed() -> float:
    """Return what the scripts end with when nothing happens to them."""
    x = 0.0
    for step in range(1, LAST_STEP + 1):
        x = x * 0.9 + sum(rank + step / 7 for rank in RANKS)
    return x


def until_held(grid: Grid, name: str, hold: str = "go") -> list[Path]:
    """Wait until all ranks wait for a file; return where to make it, for the ranks of each node."""
    work = Path(grid.running(name)["work_dir"])
    found = eventually(lambda: len(files := list(work.rglob(f"{hold}-held-*"))) == len(RANKS) and files)
    return sorted({file.with_name(hold) for file in found})


def let_go(starts: list[Path]) -> None:
    for start in starts:
        start.touch()


def told(log: bytes, word: str) -> dict[int, str]:
    """Return what each rank wrote last after a word; of all ranks, or it is wrong."""
    found = {int(rank): text for rank, text in re.findall(rf"\[rank (\d)\] {word} (.*)", log.decode())}
    assert sorted(found) == list(RANKS), log.decode()
    return found


def told_alike(log: bytes, word: str) -> str:
    """Return what all ranks wrote alike after a word."""
    (text,) = set(told(log, word).values())
    return text


def assert_exact(log: bytes) -> None:
    assert float(told_alike(log, "end")) == pytest.approx(undisturbed(), rel=1e-12)


def assert_succeeded(experiment: dict[str, Any], *, attempts: int = 1, generations: int = 1) -> None:
    assert experiment["state"] == "succeeded", experiment
    assert (experiment["attempts"], experiment["generations"]) == (attempts, generations), experiment


def reasons(experiment: dict[str, Any]) -> list[str]:
    return [event["reason"] for event in experiment["events"]]


#: A file of its own, written by rank 0 alone and never torn.
OWN_FILE = (
    BEGIN
    + """
state = {"step": 0, "x": torch.zeros(1, dtype=torch.float64)}
if os.path.exists("state.pt"):
    state = torch.load("state.pt")
print("start", state["step"], flush=True)
print("from", os.path.relpath(checkpoint) if checkpoint else None, flush=True)
for step in range(state["step"] + 1, 13):
    if is_first and step == 8:
        for line in range(1000):
            print("line", line)
        print("written", flush=True)
        hold("go")
    if not is_first and step == 9:
        hold("again")
    state = {"step": step, "x": train(state["x"], step)}
    if rank == 0:
        torch.save(state, "state.tmp")
        os.replace("state.tmp", "state.pt")
print("end", repr(state["x"].item()), flush=True)
"""
)


def test_a_torch_script_goes_on_from_its_own_file_on_every_machine_after_a_rank_was_killed(
    grid: Grid, folder: Path
) -> None:
    (folder / "own.py").write_text(OWN_FILE)
    name = grid.submit(*MACHINES, "own.py", cwd=folder)
    until_held(grid, name)
    agents = find_agents(grid, name)
    kill(find_ranks(name)[3])
    starts = until_held(grid, name, "again")
    assert find_agents(grid, name) == agents
    let_go(starts)
    assert_succeeded(grid.ended(name), generations=2)
    log = grid.log(name, "--generation", "2")
    assert (told_alike(log, "start"), told_alike(log, "from")) == ("7", "state.pt")
    assert_exact(log)


def test_a_killed_agent_is_replaced_alone_and_what_its_ranks_had_written_is_kept(grid: Grid, folder: Path) -> None:
    (folder / "own.py").write_text(OWN_FILE)
    name = grid.submit(*MACHINES, "own.py", cwd=folder)
    until_held(grid, name)
    before = find_agents(grid, name)
    kill(before[0])
    starts = until_held(grid, name, "again")
    after = find_agents(grid, name)
    assert (after.keys(), after[1]) == (before.keys(), before[1])
    let_go(starts)
    ended = grid.ended(name)
    assert_succeeded(ended, generations=2)
    assert "the agent of machine 0 died" in " ".join(reasons(ended))
    log = grid.log(name, "--generation", "2")
    assert (told_alike(log, "start"), told_alike(log, "from")) == ("7", "state.pt")
    assert_exact(log)
    lines = [b"line %d" % line for line in range(1000)]
    for rank in RANKS:
        first = grid.log(name, "--generation", "1", "--rank", str(rank)).splitlines()
        assert first == [b"start 0", b"from None", *lines, b"written"]
        second = grid.log(name, "--generation", "2", "--rank", str(rank)).splitlines()
        assert grid.log(name, "--rank", str(rank)).splitlines() == [*first, *second]


#: Sharded: each rank writes its own piece into a folder for each step, below its own node's folder.
SHARDED = (
    BEGIN
    + """
import torch.distributed.checkpoint as dcp

state = {"step": torch.zeros(1), f"x{rank}": torch.zeros(1, dtype=torch.float64)}
if checkpoint:
    print("pieces", *sorted(os.listdir(checkpoint)), flush=True)
    dcp.load(state, checkpoint_id=os.path.relpath(checkpoint))
print("start", int(state["step"]), flush=True)
print("from", os.path.relpath(checkpoint) if checkpoint else None, flush=True)
for step in range(int(state["step"]) + 1, 13):
    if is_first and step == 8:
        hold("go")
    state = {"step": torch.tensor([float(step)]), f"x{rank}": train(state[f"x{rank}"], step)}
    if step % 3 == 0:
        dcp.save(state, checkpoint_id=f"checkpoints/{step}")
print("end", repr(state[f"x{rank}"].item()), flush=True)
"""
)


def test_a_checkpoint_whose_pieces_lie_on_different_machines_is_whole_on_every_one(grid: Grid, folder: Path) -> None:
    (folder / "sharded.py").write_text(SHARDED)
    name = grid.submit(*MACHINES, "sharded.py", cwd=folder)
    until_held(grid, name)
    kill(find_ranks(name)[0])
    assert_succeeded(grid.ended(name), generations=2)
    log = grid.log(name, "--generation", "2")
    assert (told_alike(log, "start"), told_alike(log, "from")) == ("6", "checkpoints/6")
    assert told_alike(log, "pieces").split() == [".metadata", *(f"__{rank}_0.distcp" for rank in RANKS)]
    assert_exact(log)


#: One file for each step, of which the script takes the newest. Rank 0 is killed while it writes the eighth.
TORN = (
    BEGIN
    + """
from pathlib import Path

state = {"step": 0, "x": torch.zeros(1, dtype=torch.float64)}
if found := sorted(Path(".").glob("step-*.pt")):
    state = torch.load(found[-1])
print("start", state["step"], flush=True)
print("from", os.path.relpath(checkpoint) if checkpoint else None, flush=True)
for step in range(state["step"] + 1, 13):
    state = {"step": step, "x": train(state["x"], step)}
    if rank == 0:
        torch.save(state, f"step-{step:02}.pt")
        if is_first and step == 8:
            os.truncate("step-08.pt", os.path.getsize("step-08.pt") // 2)
            os.kill(os.getpid(), signal.SIGKILL)
print("end", repr(state["x"].item()), flush=True)
"""
)


def test_a_torn_newest_checkpoint_is_skipped_for_the_one_before_and_said_so(grid: Grid, folder: Path) -> None:
    (folder / "torn.py").write_text(TORN)
    ended = grid.finish(*MACHINES, "torn.py", cwd=folder)
    assert_succeeded(ended, generations=2)
    name = ended["experiment"]
    log = grid.log(name, "--generation", "2")
    assert (told_alike(log, "start"), told_alike(log, "from")) == ("7", "step-07.pt")
    assert_exact(log)
    assert b"---" not in grid.log(name)
    terminal = Terminal(grid, "logs", name, cwd=folder)
    assert terminal.end() == 0
    assert terminal.text.count("--- generation 2") == 1
    said = reasons(ended)
    assert "goes on from step-07.pt" in said
    assert any(r.startswith("checkpoint step-08.pt is not used: step-08.pt is torn") for r in said), said


#: One file that is written in place. Rank 0 is killed while it writes it for the sixth time.
IN_PLACE = (
    BEGIN
    + """
state = {"step": 0, "x": torch.zeros(1, dtype=torch.float64)}
if os.path.exists("last.pt"):
    state = torch.load("last.pt")
print("start", state["step"], flush=True)
for step in range(state["step"] + 1, 13):
    if is_first and step == 6:
        hold("go")
    state = {"step": step, "x": train(state["x"], step)}
    if rank == 0:
        torch.save(state, "last.pt")
        if is_first and step == 6:
            os.truncate("last.pt", os.path.getsize("last.pt") // 2)
            os.kill(os.getpid(), signal.SIGKILL)
print("end", repr(state["x"].item()), flush=True)
"""
)


def test_of_a_file_that_was_torn_in_place_the_whole_version_before_is_put_back(grid: Grid, folder: Path) -> None:
    (folder / "in_place.py").write_text(IN_PLACE)
    name = grid.submit(*MACHINES, "in_place.py", cwd=folder)
    starts = until_held(grid, name)
    eventually(lambda: "last.pt" in grid.ok("artifacts", "--list", name))
    let_go(starts)
    ended = grid.ended(name)
    assert_succeeded(ended, generations=2)
    log = grid.log(name, "--generation", "2")
    assert told_alike(log, "start") == "5"
    assert_exact(log)
    said = reasons(ended)
    assert "goes on from last.pt" in said
    assert any("last.pt was torn" in reason for reason in said), said


LIGHTNING = """
import os, sys, time
import torch
import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

is_first = os.environ["GRID_GENERATION"] == os.environ["GRID_ATTEMPT"] == "1"

class Told(L.Callback):
    def __init__(self, word):
        self.word = word
    def on_train_start(self, trainer, module):
        print(self.word, trainer.global_step, flush=True)
    def on_train_batch_end(self, trainer, *_):
        print("step", trainer.global_step, flush=True)

class Hold(L.Callback):
    def on_train_batch_end(self, trainer, *_):
        if is_first and trainer.global_step == 2 and OWN:
            trainer.save_checkpoint(OWN)
        if is_first and trainer.global_step == 7:
            open(f"go-held-{trainer.global_rank}", "w").close()
            while True:
                time.sleep(0.01)

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, _):
        time.sleep(PAUSE_S)
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

def trainer(word, steps, *callbacks):
    keep = ModelCheckpoint(dirpath=f"of-{word}", every_n_train_steps=5, save_top_k=-1)
    return L.Trainer(max_steps=steps, callbacks=[keep, Told(word), *callbacks], **QUIET)

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
PAUSE_S, OWN = 0, None
data = torch.utils.data.DataLoader(torch.ones(64, 4), batch_size=2)
"""

FIT_TWICE = (
    LIGHTNING
    + """
trainer("first", 9, Hold()).fit(Model(), data)
trainer("second", 2).fit(Model(), data)
"""
)

FIT_WITH_OWN_PATH = (
    LIGHTNING
    + """
OWN = sys.argv[1]
trainer("first", 9, Hold()).fit(Model(), data, ckpt_path=OWN if os.path.exists(OWN) else None)
"""
)


def test_a_lightning_script_that_just_calls_fit_goes_on_and_its_second_fit_begins_anew(
    grid: Grid, folder: Path
) -> None:
    (folder / "fit.py").write_text(FIT_TWICE)
    name = grid.submit(*MACHINES, "fit.py", cwd=folder)
    until_held(grid, name)
    kill(find_ranks(name)[3])
    assert_succeeded(grid.ended(name), generations=2)
    log = grid.log(name, "--generation", "2")
    assert (told_alike(log, "first"), told_alike(log, "second")) == ("5", "0")


def test_a_lightning_script_that_chooses_its_checkpoint_keeps_it(grid: Grid, folder: Path) -> None:
    (folder / "own_path.py").write_text(FIT_WITH_OWN_PATH)
    name = grid.submit(*MACHINES, "own_path.py", str(folder / "own.ckpt"), cwd=folder)
    until_held(grid, name)
    kill(find_ranks(name)[3])
    assert_succeeded(grid.ended(name), generations=2)
    assert told_alike(grid.log(name, "--generation", "2"), "first") == "2"


FIT_FOR_LONG = (
    LIGHTNING
    + """
PAUSE_S = 0.02

class TwoMore(L.Callback):
    def on_train_start(self, trainer, module):
        self.last = trainer.global_step + 2
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 7:
            open(f"go-held-{trainer.global_rank}", "w").close()
        if not is_first and trainer.global_step == self.last:
            trainer.should_stop = True

trainer("first", 100000, TwoMore()).fit(Model(), data)
"""
)


def test_a_machine_that_is_taken_away_has_all_ranks_saved_and_another_attempt_goes_on_at_that_step(
    grid: Grid, folder: Path
) -> None:
    (folder / "long.py").write_text(FIT_FOR_LONG)
    name = grid.submit(*MACHINES, "long.py", cwd=folder)
    until_held(grid, name)
    follower = grid.start("logs", "-f", name)
    assert follower.stdout is not None
    first_line = follower.stdout.readline()
    os.kill(find_agents(grid, name)[1], signal.SIGTERM)
    ended = grid.ended(name)
    assert_succeeded(ended, attempts=2, generations=2)
    moves = [(event["kind"], event["attempt"], event["to"]) for event in ended["events"]]
    assert ("attempt", 1, "preempted") in moves
    assert moves.index(("attempt", 1, "preempted")) < moves.index(("state", 1, "queued"))
    assert "goes on from sigterm.ckpt" in reasons(ended)
    stopped = told_alike(grid.log(name, "--attempt", "1"), "step")
    log = grid.log(name)
    assert told_alike(log, "first") == stopped
    assert told_alike(log, "step") == str(int(stopped) + 2)
    followed = first_line + follower.stdout.read()
    assert follower.wait(PATIENCE_S) == 0
    assert told_alike(followed, "first") == stopped
    assert followed.count(b"] first ") == 2 * len(RANKS)


#: Waits, goes on slowly, and waits again.
SLOW = (
    BEGIN
    + """
state = {"step": 0, "x": torch.zeros(1, dtype=torch.float64)}
if os.path.exists("state.pt"):
    state = torch.load("state.pt")
print("start", state["step"], flush=True)
for step in range(state["step"] + 1, 13):
    if is_first and step in (3, 9):
        hold(f"go{step}")
    if is_first and 3 <= step < 9:
        time.sleep(0.8)
    state = {"step": step, "x": train(state["x"], step)}
    print("step", step, flush=True)
    if rank == 0:
        torch.save(state, "state.tmp")
        os.replace("state.tmp", "state.pt")
print("end", repr(state["x"].item()), flush=True)
"""
)


def test_a_killed_server_costs_no_step_and_what_dies_while_it_is_away_goes_on_when_it_is_back(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    grid = new_grid()
    (folder / "slow.py").write_text(SLOW)
    name = grid.submit(*MACHINES, "slow.py", cwd=folder)
    starts = until_held(grid, name, "go3")
    work = Path(grid.experiment(name)["work_dir"])
    grid.kill_server()
    let_go(starts)
    eventually(lambda: len(list(work.rglob("go9-held-*"))) == len(RANKS))  # after five seconds without a server
    back = grid.running(name)
    assert (back["state"], back["attempts"], back["generations"]) == ("running", 1, 1)
    eventually(lambda: grid.log(name).count(b"] step 8\n") == len(RANKS))
    for rank in RANKS:
        steps = grid.log(name, "--rank", str(rank)).splitlines()
        assert steps == [b"start 0", *(b"step %d" % step for step in range(1, 9))]

    grid.kill_server()
    kill(find_ranks(name)[3])
    assert_succeeded(grid.ended(name), generations=2)  # to look is what starts the server
    log = grid.log(name, "--generation", "2")
    assert told_alike(log, "start") == "8"
    assert_exact(log)
