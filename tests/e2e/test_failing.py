"""A failed experiment says why on one screen."""

from __future__ import annotations

from pathlib import Path

from tests.support.grid import Grid

BROKEN = """
import torch, torch.distributed as dist

def lower(lr):
    raise ValueError(f"bad lr {lr}")

dist.init_process_group("gloo")
if dist.get_rank() == 2:
    lower(0.1)
dist.all_reduce(torch.ones(1))
"""


def test_the_first_failing_rank_is_shown_with_its_traceback_and_where_the_rest_is(grid: Grid, folder: Path) -> None:
    (folder / "broken.py").write_text(BROKEN)
    done = grid.call("run", "--wait", "--instance_type", "4_v100_16gb", "--gpus", "4", "broken.py", cwd=folder)
    assert done.code == 1, done
    shown = done.out + done.err
    assert "rank 2" in shown
    assert "ValueError: bad lr 0.1" in shown
    assert 'raise ValueError(f"bad lr {lr}")' in shown
    assert "broken.py" in shown
    assert "grid logs" in shown
    assert "opengrid/node" not in shown  # none of our frames
    newest = grid.json("history")["runs"][0]["run"]
    experiment = grid.experiment(f"{newest}-exp0")
    assert (experiment["state"], experiment["exit_code"]) == ("failed", 1)
    cause = experiment["root_cause"]
    assert (cause["rank"], cause["exception"]) == (2, "ValueError: bad lr 0.1")
    assert set(cause["victims"]) <= {0, 1, 3}
    screen = grid.ok("status", experiment["experiment"])
    assert "ValueError: bad lr 0.1" in screen
    assert len(screen.splitlines()) <= 50


def test_exit_codes_and_signals_are_told(grid: Grid, folder: Path) -> None:
    (folder / "seven.py").write_text("import sys; sys.exit(7)")
    (folder / "killed.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    seven = grid.finish("--instance_type", "2_cpu_4gb", "seven.py", cwd=folder)
    assert (seven["state"], seven["exit_code"]) == ("failed", 7)
    killed = grid.finish("--instance_type", "2_cpu_4gb", "killed.py", cwd=folder)
    assert killed["state"] == "failed"
    assert "SIGKILL" in killed["reason"]


def test_a_script_with_a_syntax_error_names_the_line(grid: Grid, folder: Path) -> None:
    (folder / "wrong.py").write_text("print('fine')\nif True print('not')\n")
    experiment = grid.finish("--instance_type", "2_cpu_4gb", "wrong.py", cwd=folder)
    assert experiment["state"] == "failed"
    assert "SyntaxError" in experiment["reason"]
    assert b"wrong.py" in grid.log(experiment["experiment"])


def test_a_shell_script_fails_with_its_own_code(grid: Grid, folder: Path) -> None:
    (folder / "train.sh").write_text("echo before\nno-such-program-here\n")
    experiment = grid.finish("--instance_type", "2_cpu_4gb", "train.sh", cwd=folder)
    assert (experiment["state"], experiment["exit_code"]) == ("failed", 127)
    assert b"before" in grid.log(experiment["experiment"])
