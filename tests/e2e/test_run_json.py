"""run.json: what an experiment was made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.support.grid import Grid
from tests.support.repositories import commit


def test_run_json_has_command_plan_commit_patch_interpreter_and_packages(grid: Grid, folder: Path) -> None:
    first = commit(folder, {"train.py": "print('old')"})
    (folder / "train.py").write_text("print('new')")
    options = ("--framework", "torch", "--env", "TOKEN=hunter2hunter2", "--seed", "3")

    done = grid.finish(*options, "train.py", "--lr", "[0.1, 0.2]", cwd=folder)
    name = done["experiment"]
    saved = grid.json("artifacts", "--run_json", "--download_dir", str(folder / "out"), name, cwd=folder)["saved"]

    assert saved == [str(folder / "out" / name / "run.json")]
    text = Path(saved[0]).read_text()
    record = json.loads(text)
    assert record["source"]["commit"] == first
    assert "+print('new')" in record["patch"]
    assert record["source"]["patch"] == hashlib.sha256(record["patch"].encode()).hexdigest()
    assert len(record["source"]["bundle"]) == 64
    assert record["arguments"] == ["--lr", "0.1"]
    assert record["command"].startswith("grid ")
    assert record["plan"]["world_size"] == 1
    assert record["python"] == done["plan"]["python"]
    assert any(package.startswith("torch==") for package in record["packages"])
    assert (record["seed"], record["variables"]) == (3, ["TOKEN"])
    assert "hunter2" not in text


def test_an_experiment_that_has_not_started_has_no_run_json(grid: Grid, folder: Path) -> None:
    refused = grid.call("artifacts", "--run_json", "no-such-run-exp0", cwd=folder)

    assert (refused.code, "no-such-run-exp0" in refused.err) == (2, True), refused
