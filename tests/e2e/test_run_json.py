"""run.json: what an experiment was made of, among its artifacts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.grid import Grid, set_secret
from tests.support.repositories import commit

SECRET = "hunter2-hunter2"

#: Of the difference, since they hold the secret, or who signs in.
LEFT_OUT = ("keys.py", "requirements.txt")


def git(*arguments: str, stdin: str = "") -> None:
    subprocess.run(["git", *arguments], input=stdin, text=True, check=True, timeout=60)


def test_run_json_has_command_plan_commit_patch_interpreter_and_packages_and_no_secret(
    grid: Grid, folder: Path
) -> None:
    first = commit(folder, {"train.py": "print('old')", "keys.py": ""})
    (folder / "train.py").write_text("print('new')")
    (folder / "keys.py").write_text(f"KEY = '{SECRET}'")
    (folder / "requirements.txt").write_text("--extra-index-url https://me:letmein@packages.example/simple\ntorch\n")
    assert set_secret(grid, "KEY", SECRET).returncode == 0
    options = ("--framework", "torch", "--env", "TOKEN=letmein", "--secret", "KEY", "--seed", "3")

    done = grid.finish(*options, "train.py", "--lr", "[0.1, 0.2]", cwd=folder)
    name = done["experiment"]
    grid.ok("artifacts", "-m", r"run\.json", "--download_dir", str(folder / "out"), done["run"], cwd=folder)

    text = (folder / "out" / done["run"] / name / "run.json").read_text()
    record = json.loads(text)
    assert record["source"]["commit"] == first
    named, patch = record["patch"].split("diff --git", 1)
    assert named.splitlines() == [f'only in the bundle: "{left}" (holds a secret)' for left in LEFT_OUT]
    git("clone", "-q", str(folder), str(folder / "clone"))
    git("-C", str(folder / "clone"), "apply", "-", stdin=record["patch"])
    assert (folder / "clone" / "train.py").read_text() == "print('new')"
    assert "keys.py" not in patch
    assert "https://****@packages.example/simple" in json.dumps(record["dependencies"])
    # Whoever knows the digest of a tree can start a run of it, and that has a secret in it.
    assert (record["source"]["bundle"], len(record["source"]["patch"])) == (None, 64)
    assert record["arguments"] == ["--lr", "0.1"]
    assert record["command"].startswith("grid ")
    assert record["plan"]["world_size"] == 1
    assert record["python"] == done["plan"]["python"]
    assert any(package.startswith("torch==") for package in record["packages"])
    assert (record["seed"], record["variables"], record["secrets"]) == (3, ["TOKEN"], ["KEY"])
    assert SECRET not in text
    assert "letmein" not in text
