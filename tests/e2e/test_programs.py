"""Whatever can be typed after `grid run` runs as it would under torchrun or by itself."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tests.support.grid import Grid

ALL_REDUCE = """
import sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(1) * dist.get_rank()
dist.all_reduce(x)
# One write: ranks that a torchrun of the script's own starts share one unbuffered stdout.
sys.stdout.write(f"rank {dist.get_rank()} of {dist.get_world_size()} sum {int(x)}\\n")
dist.destroy_process_group()
"""


def lines(log: bytes) -> list[str]:
    return log.decode().splitlines()


def test_a_torch_script_meets_over_two_simulated_machines(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text(ALL_REDUCE)
    experiment = grid.finish("--instance_type", "4_v100_16gb", "--gpus", "8", "train.py", cwd=folder)
    assert experiment["state"] == "succeeded", experiment
    assert (experiment["machines"], experiment["nodes"], experiment["world_size"]) == (2, 2, 8)
    assert experiment["simulated"] is True
    assert experiment["exit_code"] == 0
    log = lines(grid.log(experiment["experiment"]))
    assert sorted(log) == sorted(f"[rank {r}] rank {r} of 8 sum 28" for r in range(8))


def test_five_gpus_on_machines_of_four_become_five_nodes_on_two_machines(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text(ALL_REDUCE)
    experiment = grid.finish("--gpus", "5", "--instance_type", "4_v100_32gb", "train.py", cwd=folder)
    assert experiment["state"] == "succeeded", experiment
    assert (experiment["machines"], experiment["nodes"], experiment["world_size"]) == (2, 5, 5)


def test_every_node_of_a_simulated_machine_works_in_a_folder_of_its_own(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("import os\nopen('mine', 'x').write(os.environ['GROUP_RANK'])\nprint(os.getcwd())")
    experiment = grid.finish(
        "--gpus", "2", "--instance_type", "1_t4_16gb", "--framework", "torch", "train.py", cwd=folder
    )
    assert experiment["state"] == "succeeded", experiment
    places = {line.split("] ")[1] for line in lines(grid.log(experiment["experiment"]))}
    assert len(places) == 2


def test_a_script_that_never_touches_torch_runs_and_the_copies_that_never_met_are_told(
    grid: Grid, folder: Path
) -> None:
    (folder / "plain.py").write_text("import sys\nprint('torch' in globals(), sys.argv[1:])")
    one = grid.finish("--instance_type", "2_cpu_4gb", "plain.py", "--note", "a b", cwd=folder)
    assert one["state"] == "succeeded", one
    assert lines(grid.log(one["experiment"])) == ["[rank 0] False ['--note', 'a b']"]
    four = grid.finish("--gpus", "4", "--instance_type", "4_v100_16gb", "plain.py", cwd=folder)
    assert four["state"] == "succeeded"
    assert "your 4 ranks never met: 4 separate copies ran" in four["reason"]


def test_a_module_runs_with_its_package(grid: Grid, folder: Path) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("WORD = 'inside'")
    (folder / "pkg" / "mod.py").write_text("import sys\nfrom . import WORD\nprint(WORD, __spec__.name, sys.argv[1:])")
    experiment = grid.finish("--instance_type", "2_cpu_4gb", "-m", "pkg.mod", "-x", "1", cwd=folder)
    assert experiment["state"] == "succeeded", experiment
    assert lines(grid.log(experiment["experiment"])) == ["[rank 0] inside pkg.mod ['-x', '1']"]


def test_a_shell_script_that_calls_torchrun_itself_gets_one_process_per_node(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text(ALL_REDUCE)
    script = folder / "train.sh"
    script.write_text(
        "#!/bin/bash\nset -e\n"
        f"exec {sys.executable} -m torch.distributed.run --nnodes $GRID_NODES --node_rank $GROUP_RANK "
        "--nproc_per_node 2 --master_addr $MASTER_ADDR --master_port $MASTER_PORT train.py\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    experiment = grid.finish("--gpus", "4", "--instance_type", "2_m60_8gb", "./train.sh", cwd=folder)
    assert experiment["state"] == "succeeded", (experiment, grid.log(experiment["experiment"]))
    assert experiment["world_size"] == 2
    log = [line for line in lines(grid.log(experiment["experiment"])) if "sum" in line]
    assert sorted(line.split("] ", 1)[1] for line in log) == [f"rank {r} of 4 sum 6" for r in range(4)]


def test_another_executable_runs_as_often_as_asked(grid: Grid, folder: Path) -> None:
    experiment = grid.finish(
        "--instance_type", "2_cpu_4gb", "--processes_per_node", "3", "echo", "$HOME is", "not expanded", cwd=folder
    )
    assert experiment["state"] == "succeeded", experiment
    assert sorted(lines(grid.log(experiment["experiment"]))) == [f"[rank {r}] $HOME is not expanded" for r in range(3)]


def test_env_reaches_the_ranks_and_nothing_of_the_servers_environment_does(grid: Grid, folder: Path) -> None:
    (folder / "env.py").write_text(
        "import os\nprint(os.environ['COLOUR'], 'SECRET_OF_SHELL' in os.environ, os.environ['HOME'])"
    )
    experiment = grid.finish(
        "--instance_type", "2_cpu_4gb", "--env", "COLOUR=dark red", "env.py", cwd=folder, SECRET_OF_SHELL="x"
    )
    assert experiment["state"] == "succeeded", experiment
    assert lines(grid.log(experiment["experiment"])) == [f"[rank 0] dark red False {os.environ['HOME']}"]


def test_a_variable_that_libraries_read_while_loading_starts_ordinary_processes_and_says_so(
    grid: Grid, folder: Path
) -> None:
    (folder / "train.py").write_text(ALL_REDUCE + "import os; print(os.environ['KMP_AFFINITY'])")
    experiment = grid.finish(
        "--gpus", "2", "--instance_type", "4_v100_16gb", "--env", "KMP_AFFINITY=none", "train.py", cwd=folder
    )
    assert experiment["state"] == "succeeded", experiment
    reasons = " ".join(event["reason"] for event in experiment["events"])
    assert "KMP_AFFINITY" in reasons


def test_the_tree_runs_as_it_is_on_disk_and_committed_runs_the_commit_alone(grid: Grid, folder: Path) -> None:
    def git(*arguments: str) -> None:
        import subprocess

        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    (folder / "sub").mkdir()
    (folder / "sub" / "train.py").write_text("print('old')")
    (folder / ".gitignore").write_text("ignored\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    (folder / "sub" / "train.py").write_text(
        "import os, new\nprint(new.WORD, os.path.basename(os.getcwd()), os.path.exists('../ignored'))"
    )
    (folder / "sub" / "new.py").write_text("WORD = 'new'")
    (folder / "ignored").write_text("x")
    dirty = grid.finish("--instance_type", "2_cpu_4gb", "train.py", cwd=folder / "sub")
    assert lines(grid.log(dirty["experiment"])) == ["[rank 0] new sub False"]
    assert "changed file" in dirty["plan"]["source"]
    clean = grid.finish("--instance_type", "2_cpu_4gb", "--committed", "train.py", cwd=folder / "sub")
    assert lines(grid.log(clean["experiment"])) == ["[rank 0] old"]


@pytest.mark.parametrize("framework", ["tensorflow", "julia:1.6"])
def test_other_frameworks_on_more_than_one_node_are_refused_before_anything_starts(
    grid: Grid, folder: Path, framework: str
) -> None:
    (folder / "train.py").write_text("print(1)")
    done = grid.call(
        "run", "--framework", framework, "--gpus", "8", "--instance_type", "4_v100_16gb", "train.py", cwd=folder
    )
    assert done.code == 2, done
    assert "node" in done.err
    assert framework.split(":", maxsplit=1)[0] in done.err
