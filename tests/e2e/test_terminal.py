"""What somebody at a terminal sees: `grid run` stays until the ranks run, `--watch` draws until the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.grid import Grid
from tests.support.terminal import Terminal

#: Says that it runs, and goes on when the file named by its argument is there.
_GATED = """\
import sys, time
from pathlib import Path
print("at the gate", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
"""


@pytest.fixture
def gate(folder: Path) -> Path:
    (folder / "gated.py").write_text(_GATED)
    return folder / "gate"


def test_run_stays_until_all_ranks_of_all_experiments_run(grid: Grid, folder: Path, gate: Path) -> None:
    script = ["--name", "stays", "--parallel", "1", "gated.py", str(gate), "[1, 2]"]
    terminal = Terminal(grid, "run", *script, cwd=folder)
    terminal.see("1 running, 1 queued")
    assert terminal.is_open
    gate.touch()
    assert terminal.end() == 0, terminal.text
    assert "grid logs -f stays-exp0" in terminal.text
    assert grid.experiment("stays-exp1")["state"] in ("running", "succeeded")


def test_run_shows_why_ranks_died_before_all_ran(grid: Grid, folder: Path) -> None:
    (folder / "broken.py").write_text("raise ValueError('lr must be positive')")
    terminal = Terminal(grid, "run", "--wait", "--gpus", "2", "broken.py", cwd=folder)
    assert terminal.end() == 1
    assert "ValueError: lr must be positive" in terminal.text


def test_control_c_ends_the_waiting_and_nothing_else(grid: Grid, folder: Path, gate: Path) -> None:
    terminal = Terminal(grid, "run", "--name", "left-alone", "--wait", "gated.py", str(gate), cwd=folder)
    terminal.see("running")
    terminal.press("\x03")
    assert terminal.end() == 130
    assert "left-alone goes on" in terminal.text
    assert grid.running("left-alone-exp0")["state"] == "running"
    gate.touch()
    assert grid.ended("left-alone-exp0")["state"] == "succeeded"


@pytest.mark.parametrize(("name", "heading"), [("watched", "Command"), ("watched-too-exp0", "status  ")])
def test_a_watched_screen_is_drawn_again_until_the_end(
    grid: Grid, folder: Path, gate: Path, name: str, heading: str
) -> None:
    grid.running(grid.submit("--name", name.removesuffix("-exp0"), "gated.py", str(gate), cwd=folder))
    terminal = Terminal(grid, "status", "--watch", name, cwd=folder)
    terminal.see(heading, times=2)
    assert terminal.raw.count("\x1b[H\x1b[2J") >= 2
    gate.touch()
    assert terminal.end() == 0
    assert "succeeded" in terminal.text.rpartition(heading)[2]


def test_watching_all_active_runs_goes_on_until_control_c(grid: Grid, folder: Path, gate: Path) -> None:
    terminal = Terminal(grid, "status", "--watch", cwd=folder)
    terminal.see("active")
    grid.running(grid.submit("--name", "seen-live", "gated.py", str(gate), cwd=folder))
    terminal.see("seen-live")
    terminal.press("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.text
    gate.touch()
    assert grid.ended("seen-live-exp0")["state"] == "succeeded"


def test_how_far_an_upload_is_is_drawn_a_few_times_a_second(grid: Grid, folder: Path) -> None:
    source = folder / "many"
    source.mkdir()
    for number in range(2000):
        (source / f"f{number}").write_bytes(b"%01000d" % number)
    terminal = Terminal(grid, "datastore", "create", str(source), "--name", "many", cwd=folder)
    assert terminal.end() == 0, terminal.text
    assert "[########################] 1.9 MiB of 1.9 MiB" in terminal.text
    assert terminal.raw.count("\r\x1b[K") < 500  # over a slow ssh, one for each file would take longer than the upload
