"""run.json: what an experiment was made of, among its artifacts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.grid import Grid, set_secret
from tests.support.repositories import commit

SECRET = "hunter2-hunter2"


def test_run_json_has_command_plan_commit_patch_interpreter_and_packages_and_no_secret(
    grid: Grid, folder: Path
) -> None:
    first = commit(folder, {"train.py": "print('old')"})
    (folder / "train.py").write_text(f"# {SECRET}\nprint('new')")
    (folder / "requirements.txt").write_text("--extra-index-url https://me:letmein@packages.example/simple\ntorch\n")
    assert set_secret(grid, "KEY", SECRET).returncode == 0
    options = ("--framework", "torch", "--env", "TOKEN=letmein", "--secret", "KEY", "--seed", "3")

    done = grid.finish(*options, "train.py", "--lr", "[0.1, 0.2]", cwd=folder)
    name = done["experiment"]
    grid.ok("artifacts", "-m", r"run\.json", "--download_dir", str(folder / "out"), done["run"], cwd=folder)

    text = (folder / "out" / done["run"] / name / "run.json").read_text()
    record = json.loads(text)
    assert record["source"]["commit"] == first
    assert "+print('new')" in record["patch"]
    assert len(record["source"]["bundle"]) == len(record["source"]["patch"]) == 64
    assert record["arguments"] == ["--lr", "0.1"]
    assert record["command"].startswith("grid ")
    assert record["plan"]["world_size"] == 1
    assert record["python"] == done["plan"]["python"]
    assert any(package.startswith("torch==") for package in record["packages"])
    assert (record["seed"], record["variables"], record["secrets"]) == (3, ["TOKEN"], ["KEY"])
    assert SECRET not in text
    assert "letmein" not in text
