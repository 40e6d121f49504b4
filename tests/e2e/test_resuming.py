"""Scripts that nobody changed go on where they were: plain torch, sharded checkpoints, Lightning, torn files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos import titled
from tests.support.grid import Grid, eventually

MACHINES = ("--gpus", "4", "--instance_type", "2_m60_8gb")
TORCH = ("--framework", "torch")

#: Mixes what all ranks give into a total; a step done twice or left out changes all that follows. Ends at `end`.
COUNTING = """
import os, sys, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, end = dist.get_rank(), sys.argv[1]
{load}
print(f"begins at {step}", flush=True)
while True:
    given = torch.tensor([(rank + 1) * step, rank == 0 and os.path.exists(end)])
    dist.all_reduce(given)
    if given[1]:
        break
    total = (total * 31 + int(given[0])) % 1000003
    step += 1
    if step % 10 == 0:
        print(f"step {step}", flush=True)
        {save}
    time.sleep(0.01)
print(f"result {step} {total}", flush=True)
"""

OWN_FILE = {
    "{load}": """step = total = 0
if os.path.exists("state.pt"):
    saved = torch.load("state.pt")
    step, total = saved["step"], saved["optimizer"]""",
    "{save}": """if rank == 0:
            torch.save({"step": step, "optimizer": total}, "part")
            os.replace("part", "state.pt")""",
}

SHARDED = {
    "{load}": """import torch.distributed.checkpoint as dcp
state = {"step": torch.zeros(1, dtype=torch.long), "total": torch.zeros(1, dtype=torch.long),
         f"shard{rank}": torch.full((1000,), float(rank))}
if "GRID_RESUME_FROM" in os.environ:
    here = sorted(os.listdir(os.environ["GRID_RESUME_FROM"]))
    print(f"pieces {here}", flush=True)
    dcp.load(state, checkpoint_id=os.environ["GRID_RESUME_FROM"])
step, total = int(state["step"]), int(state["total"])""",
    "{save}": """state["step"][0], state["total"][0] = step, total
        dcp.save(state, checkpoint_id=f"sharded/{step:06}")""",
}


def script(parts: dict[str, str]) -> str:
    text = COUNTING
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def expected(steps: int, ranks: int = 4) -> int:
    total = 0
    for step in range(steps):
        total = (total * 31 + sum((rank + 1) * step for rank in range(ranks))) % 1000003
    return total


def begun(grid: Grid, name: str, generation: int) -> list[int]:
    """Wait until all four ranks of a generation have said where they begin; return that."""

    return told(grid, name, rb"begins at (\d+)", "--generation", str(generation), "--attempt", "1")


def told(grid: Grid, name: str, words: bytes, *options: str) -> list[int]:
    """Wait until all four ranks have told a step in these words; return the steps."""

    def look() -> Any:
        found = re.findall(words, grid.log(name, *options))
        return len(found) == 4 and [int(step) for step in found]

    return eventually(look)


def ended_by(grid: Grid, name: str, end: Path) -> dict[str, Any]:
    """Let the training end, and return how it did."""
    end.touch()
    ended = grid.ended(name)
    assert ended["state"] == "succeeded", ended
    return ended


def finish(grid: Grid, name: str, end: Path) -> dict[str, Any]:
    """Let the training end; check that every step was done once."""
    ended = ended_by(grid, name, end)
    results = set(re.findall(rb"result (\d+) (\d+)", grid.log(name)))
    assert len(results) == 1
    ((steps, total),) = results
    assert int(total) == expected(int(steps))
    return ended


def saved(folder: Path, pattern: str) -> None:
    eventually(lambda: list(folder.rglob(pattern)))


@pytest.mark.parametrize("parts", [OWN_FILE, SHARDED], ids=["own file", "sharded"])
def test_every_step_counts_once_over_the_death_of_a_rank_and_of_a_machine(
    grid: Grid, folder: Path, parts: dict[str, str]
) -> None:
    (folder / "count.py").write_text(script(parts))
    name = grid.submit(*MACHINES, *TORCH, "count.py", str(folder / "end"), cwd=folder)
    grid.running(name)
    assert begun(grid, name, 1) == [0] * 4
    work = Path(grid.experiment(name)["work_dir"])
    saved(work, ".metadata" if parts is SHARDED else "state.pt")
    grid.ok("rehearse", name, "kill-rank", "3")
    (first,) = set(begun(grid, name, 2))
    assert first > 0
    grid.ok("rehearse", name, "kill-machine", "0")
    (second,) = set(begun(grid, name, 3))
    assert second >= first
    ended = finish(grid, name, folder / "end")
    assert (ended["attempts"], ended["generations"]) == (1, 3)
    assert [bool(start["resumed_from"]) for start in ended["starts"]] == [False, True, True]
    if parts is SHARDED:
        log = grid.log(name, "--generation", "2").decode()
        pieces = set(re.findall(r"pieces (.*)", log))
        assert pieces == {"['.metadata', '__0_0.distcp', '__1_0.distcp', '__2_0.distcp', '__3_0.distcp']"}


def counting_without_server(grid: Grid, folder: Path) -> tuple[str, Path]:
    """Start a training, and kill the server once it has saved; return its experiment's name and what it saves."""
    (folder / "count.py").write_text(script(OWN_FILE))
    name = grid.submit(*MACHINES, *TORCH, "count.py", str(folder / "end"), cwd=folder)
    grid.running(name)
    assert begun(grid, name, 1) == [0] * 4
    state = Path(grid.experiment(name)["work_dir"]) / "node0" / "state.pt"
    saved(state.parent, "state.pt")
    grid.kill_server()
    return name, state


def test_a_rank_that_dies_while_the_server_is_away_is_recovered_when_it_is_back(new_grid: Any, folder: Path) -> None:
    grid = new_grid()
    name, state = counting_without_server(grid, folder)
    written = state.stat().st_mtime_ns
    eventually(lambda: state.stat().st_mtime_ns > written)  # it goes on without a server
    (rank,) = titled(f"grid {name} rank 2/")
    os.kill(rank, signal.SIGKILL)
    (again,) = set(begun(grid, name, 2))  # this command starts the server
    assert again > 0
    finish(grid, name, folder / "end")


@pytest.mark.full  # as long as such absences are
@pytest.mark.timeout(400)
def test_a_server_that_is_off_for_minutes_costs_no_step_and_no_line(new_grid: Any, folder: Path) -> None:
    grid = new_grid()
    name, state = counting_without_server(grid, folder)
    killed_at = time.time()
    eventually(lambda: state.stat().st_mtime > killed_at + 150, timeout_s=300)
    ended = finish(grid, name, folder / "end")  # this command starts the server
    assert (ended["attempts"], ended["generations"]) == (1, 1)
    lines = re.findall(r"^\[rank (\d)\] step (\d+)$", grid.log(name).decode(), re.MULTILINE)
    last = max(int(step) for _, step in lines)
    for rank in range(4):
        assert [int(step) for of, step in lines if int(of) == rank] == list(range(10, last + 1, 10))


#: Damages its newest checkpoint as a crash in the middle of writing would, then dies of a signal; once.
TORN = """
import os, signal, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, step = dist.get_rank(), 0
if os.path.exists("last.pt"):
    step = torch.load("last.pt")["optimizer"]
print(f"begins at {step}", flush=True)
dist.barrier()  # before a rank writes what another one still looks for
if step == 0:
    if rank == 0:
        torch.save({"optimizer": 7}, "old.pt")
        os.utime("old.pt", (1, 1))
        torch.save({"optimizer": 42, "weights": torch.zeros(1000)}, "last.pt")
        while not os.path.exists("collected"):
            pass
        content = open("last.pt", "rb").read()
        open("last.pt", "wb").write(content[: len(content) // 2])
        torch.save({"optimizer": 43}, "new.pt")
        os.truncate("new.pt", 500)
    dist.barrier()
    os.kill(os.getpid(), signal.SIGKILL)
dist.barrier()
dist.destroy_process_group()
"""


def test_torn_checkpoints_are_put_aside_and_the_whole_one_before_them_is_put_back(grid: Grid, folder: Path) -> None:
    (folder / "torn.py").write_text(TORN)
    name = grid.submit(*MACHINES, *TORCH, "torn.py", cwd=folder)
    grid.running(name)
    work = Path(grid.experiment(name)["work_dir"])
    eventually(lambda: any(row["path"] == "last.pt" for row in grid.json("artifacts", name, "--list")["artifacts"]))
    (work / "node0" / "collected").touch()
    ended = grid.ended(name)
    assert ended["state"] == "succeeded", ended
    assert begun(grid, name, 2) == [42] * 4
    assert [start["resumed_from"] for start in ended["starts"]] == [None, "last.pt"]
    assert any("new.pt is torn" in event["reason"] for event in ended["events"])
    assert (work / "node0" / "new.pt.incomplete").exists()


#: Fits until the file of its first argument is there, then once more.
LIGHTNING = """
import os, sys, time, torch, lightning.pytorch as pl
from torch.utils.data import DataLoader, TensorDataset

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        time.sleep(0.02)
        return self.layer(batch[0]).pow(2).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
    def on_train_start(self):
        print(f"{self.stage} begins at {self.trainer.global_step}", flush=True)
    def on_train_epoch_end(self):
        ends = os.path.exists(sys.argv[1])
        self.trainer.should_stop = self.trainer.strategy.reduce_boolean_decision(ends, all=False)

def fit(stage, epochs, **more):
    model = Model()
    model.stage = stage
    trainer = pl.Trainer(max_epochs=epochs, enable_progress_bar=False, logger=False, enable_model_summary=False)
    trainer.fit(model, DataLoader(TensorDataset(torch.zeros(64, 4)), batch_size=2), **more)

own = {"ckpt_path": "mine.ckpt"} if len(sys.argv) > 2 and os.path.exists("mine.ckpt") else {}
fit("first", -1, **own)
fit("second", 1)
"""


def fitting(grid: Grid, folder: Path, script: str, *arguments: str) -> str:
    """Start a script that fits; return the experiment's name when all ranks do."""
    (folder / "fit.py").write_text(script)
    name = grid.submit(*MACHINES, "fit.py", str(folder / "end"), *arguments, cwd=folder)
    grid.running(name)
    fits(grid, name)
    return name


def fits(grid: Grid, name: str, *options: str) -> list[int]:
    """Wait until all four ranks have said at which step their first fit begins; return that."""
    return told(grid, name, rb"first begins at (\d+)", *options)


def test_lightning_goes_on_by_itself_and_only_its_first_fit(grid: Grid, folder: Path) -> None:
    name = fitting(grid, folder, LIGHTNING)
    saved(Path(grid.experiment(name)["work_dir"]), "*.ckpt")
    grid.ok("rehearse", name, "kill-rank", "1")
    (first,) = set(fits(grid, name, "--generation", "2"))
    assert first > 0
    ended = ended_by(grid, name, folder / "end")
    log = grid.log(name, "--generation", "2").decode()
    assert re.findall(r"second begins at (\d+)", log) == ["0"] * 4
    killed, again = ended["starts"]
    assert again["first_step"] == first
    assert again["lost_steps"] == killed["last_step"] - first >= 0
    assert again["lost_s"] > 0


def test_a_lightning_script_that_passes_its_own_checkpoint_keeps_it(grid: Grid, folder: Path) -> None:
    save = 'self.trainer.save_checkpoint("mine.ckpt")'  # at the start, so that every other checkpoint is newer
    name = fitting(grid, folder, LIGHTNING.replace("        print(f", f"        {save}\n        print(f"), "own")
    work = Path(grid.experiment(name)["work_dir"])
    saved(work, "epoch=*.ckpt")
    shutil.copy2(work / "node0" / "mine.ckpt", work / "node1" / "mine.ckpt")  # with its time: it stays the oldest
    grid.ok("rehearse", name, "kill-rank", "2")
    assert fits(grid, name, "--generation", "2") == [0] * 4  # where its own checkpoint was made
    ended = ended_by(grid, name, folder / "end")
    assert ended["starts"][1]["resumed_from"].startswith("checkpoints/epoch=")


def test_a_preempted_lightning_training_saves_and_goes_on_at_that_step_in_another_attempt(
    grid: Grid, folder: Path
) -> None:
    name = fitting(grid, folder, LIGHTNING)
    grid.ok("rehearse", name, "preempt")
    eventually(lambda: grid.experiment(name)["attempts"] == 2)
    begins = set(fits(grid, name, "--attempt", "2"))
    ended = ended_by(grid, name, folder / "end")
    assert ended["attempts"] == 2, ended
    preempted, again = ended["starts"]
    assert again["resumed_from"] == "sigterm.ckpt"
    assert begins == {preempted["last_step"]}
    states = [(e["from"], e["to"]) for e in ended["events"] if e["kind"] in ("attempt", "state")]
    assert ("ending", "preempted") in states
    assert ("running", "queued") in states
