"""`grid stacks`: where the ranks of a running experiment are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid, eventually

TRAIN = """\
import torch, torch.distributed as dist

from lib import loader


def main():
    dist.init_process_group("gloo")
    if dist.get_rank() == 3:
        loader.load()
    dist.all_reduce(torch.ones(1))


main()
"""
LOADER = """\
import time


def load():
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def stuck(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An experiment of 2 × 2 ranks: rank 3 sleeps in a function of its own, the others wait for it in all_reduce."""
    folder = tmp_path_factory.mktemp("stuck")
    (folder / "lib").mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "lib" / "loader.py").write_text(LOADER)
    name = grid.submit("--gpus", "4", "--instance_type", "2_m60_8gb", "--framework", "torch", "train.py", cwd=folder)
    grid.running(name)
    yield name
    grid.ok("stop", "experiment", name)


def tops(document: dict[str, Any]) -> list[tuple[list[int], str]]:
    return [(group["ranks"], group["top"].split(" (")[0]) for group in document["groups"]]


def settled(grid: Grid, name: str) -> dict[str, Any]:
    """Wait until all ranks are where they stay; return their stacks."""

    def look() -> Any:
        document = grid.json("stacks", name)
        return tops(document) == [([0, 1, 2], "all_reduce"), ([3], "load")] and document

    return eventually(look)


def test_the_rank_that_others_wait_for_is_seen_at_a_glance(grid: Grid, stuck: str) -> None:
    document = settled(grid, stuck)
    assert (document["experiment"], document["silent"]) == (stuck, [])
    reducing, loading = document["groups"]
    assert reducing["top"].startswith("all_reduce (torch/distributed/distributed_c10d.py:")
    assert reducing["top"].endswith("called from train.py:10 in main")
    assert loading["top"] == "load (lib/loader.py:5)"
    assert loading["frames"] == [
        {"file": "train.py", "line": 13, "function": "<module>"},
        {"file": "train.py", "line": 9, "function": "main"},
        {"file": "lib/loader.py", "line": 5, "function": "load"},
    ]
    shown = grid.ok("stacks", stuck)
    assert "3 ranks (0-2) in all_reduce (torch/distributed/distributed_c10d.py:" in shown
    assert "\nrank 3 in load (lib/loader.py:5)\n" in shown
    assert shown.endswith(
        'rank 3 (most recent call last):\n  File "train.py", line 13, in <module>\n'
        '  File "train.py", line 9, in main\n  File "lib/loader.py", line 5, in load\n'
    )


def test_two_who_ask_at_the_same_time_both_get_all_ranks(grid: Grid, stuck: str) -> None:
    settled(grid, stuck)
    asking = [grid.start("stacks", stuck) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in asking]
    assert all(b"3 ranks (0-2) in all_reduce" in out and b"rank 3 in load" in out for out, _ in answers), answers


def test_a_server_that_comes_back_can_be_asked_again(grid: Grid, stuck: str) -> None:
    settled(grid, stuck)
    grid.kill_server()
    settled(grid, stuck)
    assert grid.experiment(stuck)["state"] == "running"


def test_a_shell_script_is_left_alone_and_named(grid: Grid, folder: Path) -> None:
    (folder / "train.sh").write_text("echo here\nexec sleep 600\n")
    name = grid.submit("--instance_type", "2_cpu_4gb", "train.sh", cwd=folder)
    grid.running(name)
    eventually(lambda: b"here" in grid.log(name))
    done = grid.call("stacks", name)
    assert (done.code, done.out) == (1, "rank 0 without a stack: it is no Python program\n")
    assert grid.experiment(name)["state"] == "running"
    grid.ok("stop", "experiment", name)


def test_an_experiment_that_does_not_run_has_no_stacks(grid: Grid, folder: Path) -> None:
    (folder / "short.py").write_text("pass")
    name = grid.finish("--instance_type", "2_cpu_4gb", "short.py", cwd=folder)["experiment"]
    done = grid.call("stacks", name)
    assert done.code == 2
    assert f"{name} is succeeded: only a running experiment has stacks" in done.err
