"""Actions around an experiment, variables of files, and secrets, all the way to ranks on two nodes."""

from __future__ import annotations

from pathlib import Path

from tests.support.grid import Grid, eventually, set_secret
from tests.support.processes import contents_below, files_below

SECRET = "hunter2-hunter2-hunter2"

SCRIPT = """
import os, sys
print("rank", os.environ["RANK"], os.environ["FROM_FILE"], open("made").read().strip(), flush=True)
print("token", len(os.environ["TOKEN"]), os.environ["TOKEN"], flush=True)
sys.stdout.write(os.environ["TOKEN"][:9]); sys.stdout.flush()
sys.stdout.write(os.environ["TOKEN"][9:] + "\\n"); sys.stdout.flush()
if len(sys.argv) > 1:
    raise ValueError("bad token " + os.environ["TOKEN"])
"""

CONFIG = """
compute:
  train:
    framework: torch
    actions:
      on_experiment_start: ["echo started $GRID_EXPERIMENT_NAME > made", "cat made"]
      on_experiment_end: "echo over > ended.txt; echo the end of $GRID_EXPERIMENT_NAME"
"""


def test_actions_variables_and_secrets_reach_all_nodes_and_no_secret_is_shown(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text(SCRIPT)
    (folder / "c.yml").write_text(CONFIG)
    (folder / "vars").write_text("export FROM_FILE='it is'  # a comment\n")
    assert set_secret(grid, "TOKEN", SECRET).returncode == 0
    options = ("--config", "c.yml", "--env_file", "vars", "--secret", "TOKEN", "--gpus", "2")

    done = grid.finish(*options, "--instance_type", "1_t4_16gb", "train.py", cwd=folder)
    failed = grid.finish(*options, "--instance_type", "1_t4_16gb", "train.py", "x", cwd=folder)

    name = done["experiment"]
    log = grid.log(name).decode()
    assert done["state"] == "succeeded", log
    assert log.count(f"started {name}") >= 2, log
    assert log.count(f"the end of {name}") == 2, log
    assert "rank 1 it is started" in log
    assert f"token {len(SECRET)} {'*' * len(SECRET)}" in log
    files = [row["path"] for row in grid.json("artifacts", "--list", name)["artifacts"]]
    assert files.count("ended.txt") == 2, files
    assert failed["state"] == "failed"
    assert "bad token ****" in failed["root_cause"]["exception"]
    for shown in (log, grid.log(failed["experiment"]).decode(), grid.ok("status", name), grid.ok("secret", "list")):
        assert SECRET not in shown
    for command in (("status", failed["experiment"]), ("secret", "list"), ("why", failed["experiment"])):
        assert SECRET not in str(grid.json(*command))
    assert not [path for path, content in contents_below(grid.home).items() if SECRET.encode() in content]


def test_an_action_that_fails_fails_the_experiment_and_says_which(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("print('never')")
    (folder / "c.yml").write_text(
        "compute: {train: {framework: torch, actions: {on_experiment_start: ['echo on the way; exit 3']}}}"
    )

    done = grid.finish("--config", "c.yml", "train.py", cwd=folder)

    assert done["state"] == "failed"
    assert "action 'echo on the way; exit 3' on node 0 ended with 3" in done["reason"]
    log = grid.log(done["experiment"]).decode()
    assert "on the way" in log
    assert "never" not in log


def test_an_action_that_hangs_can_be_stopped(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("print('never')")
    (folder / "c.yml").write_text(
        "compute: {train: {framework: torch, actions: {on_experiment_start: 'touch begun; sleep 600'}}}"
    )
    name = grid.submit("--config", "c.yml", "train.py", cwd=folder)
    eventually(lambda: any(file.name == "begun" for file in files_below(grid.home / "work")))

    grid.ok("stop", "experiment", name)

    assert grid.ended(name)["state"] == "stopped"


def test_bad_secrets_and_files_start_nothing(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("")
    (folder / "vars").write_text("A=1\nhunter2\n")
    refused = grid.call("run", "--secret", "ABSENT", "train.py", cwd=folder)
    assert (refused.code, "you have no secret ABSENT" in refused.err) == (2, True), refused
    refused = grid.call("run", "--env_file", "vars", "train.py", cwd=folder)
    assert (refused.code, "vars, line 2" in refused.err, "hunter2" in refused.err) == (2, True, False), refused
    assert set_secret(grid, "A B", SECRET).returncode == 2
    short = set_secret(grid, "SHORT", "abc")
    assert (short.returncode, "could not be hidden in logs" in short.stderr) == (2, True), short
    no_text = set_secret(grid, "BINARY", "\udcff" * 8)  # bytes that are no UTF-8
    assert (no_text.returncode, "is no text in UTF-8" in no_text.stderr) == (2, True), no_text
    gone = grid.call("secret", "delete", "ABSENT")
    assert (gone.code, "you have no secret ABSENT" in gone.err) == (2, True), gone
