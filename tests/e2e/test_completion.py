"""What a shell is offered, asked as a shell asks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.grid import Grid


def offered(grid: Grid, *words: str, kind: str = "plain") -> list[str]:
    """Return what is offered for the last word: words themselves, or `file` for what the shell shall look for."""
    done = grid.call(_GRID_COMPLETE="bash_complete", COMP_WORDS=" ".join(["grid", *words]), COMP_CWORD=str(len(words)))
    assert done.err == ""
    lines = [line.partition(",") for line in done.out.splitlines() if line]
    return [text for found, _, text in lines if found == kind]


def test_commands_options_types_and_faults_are_offered_without_a_server(
    environment: dict[str, str], tmp_path: Path
) -> None:
    grid = Grid(tmp_path / "home", tmp_path, environment)
    assert offered(grid, "sta") == ["status", "stacks"]
    assert offered(grid, "sync") == ["sync-env"]
    assert "--max_restarts" in offered(grid, "run", "--max")
    assert "4_v100_16gb" in offered(grid, "run", "--instance_type", "4_v")
    assert offered(grid, "rehearse", "some-exp0", "kill-") == ["kill-rank", "kill-machine", "kill-server"]
    assert offered(grid, "status", "a") == []
    assert offered(grid, "stop", "ru") == ["run"]
    assert offered(grid, "delete", "cl") == ["cluster"]
    assert offered(grid, "run", "--strategy", "ran") == ["random_search"]
    assert offered(grid, "run", "train.py", "--g") == []
    for words in (("run", "tra"), ("run", "train.py", "da"), ("run", "--config", "c"), ("datastore", "create", "d")):
        assert offered(grid, *words, kind="file") == [words[-1]]
    assert not grid.home.exists()  # nothing was started for a key press


def test_names_of_runs_and_experiments_are_offered(grid: Grid, folder: Path) -> None:
    (folder / "quick.py").write_text("pass")
    experiment = grid.finish("--instance_type", "2_cpu_4gb", "quick.py", cwd=folder)["experiment"]
    run = experiment.removesuffix("-exp0")
    assert set(offered(grid, "logs", run)) >= {run, experiment}
    assert set(offered(grid, "clone", run)) >= {run, experiment}
    assert set(offered(grid, "run", "--like", run)) >= {run, experiment}
    assert "--gpus" in offered(grid, "clone", run, "--g")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_printed_is_a_script_of_that_shell(grid: Grid, shell: str) -> None:
    script = grid.ok("completion", shell)
    assert "_GRID_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.encode(), check=True, timeout=20)


def test_another_shell_is_refused(grid: Grid) -> None:
    refused = grid.call("completion", "csh")
    assert (refused.code, "one of: bash, zsh, fish" in refused.err) == (2, True)
