"""Runs that bring their packages: a folder of wheels stands for the index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.grid import Grid
from tests.support.repositories import commit
from tests.support.wheels import index_variables, make_wheel

SCRIPT = "import subprocess, sys, torch, ogalpha\nprint('has', ogalpha.VERSION, torch.__version__)\n"
CHILD = "subprocess.run([sys.executable, '-c', 'import ogalpha; print(\"child\", ogalpha.VERSION)'], check=True)\n"


@pytest.fixture(scope="module")
def grid(new_grid: Callable[[], Grid], tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """A home whose server finds packages in a folder."""
    grid, wheels = new_grid(), tmp_path_factory.mktemp("wheels")
    make_wheel(wheels, "ogalpha", "1.0", needs=["torch"])
    grid.environment |= index_variables(wheels)
    return grid


def test_missing_packages_are_installed_once_and_found_by_forked_ranks_and_their_children(
    grid: Grid, folder: Path
) -> None:
    commit(
        folder,
        {
            "study/train.py": SCRIPT + CHILD + "import ogown\nprint('own', ogown.__file__)\n",
            "src/ogown/__init__.py": "",
            "pyproject.toml": "[project]\nname = 'ogown'\ndependencies = ['ogalpha']\n",
            "requirements.txt": "torch\n-e .\n",
        },
    )

    plan = grid.json("run", "--dry_run", "study/train.py", cwd=folder)["plan"]
    done = grid.finish("study/train.py", "--lr", "[1, 2]", cwd=folder)
    again = grid.finish("study/train.py", cwd=folder)

    assert plan["packages"] == "requirements.txt: 2 requirements; imported from src/"
    assert done["state"] == "succeeded", grid.log(done["experiment"]).decode()
    log = grid.log(done["experiment"]).decode()
    assert "has 1.0 2." in log
    assert "child 1.0" in log
    assert f"own {done['work_dir']}/src/ogown/__init__.py" in log, log
    states = [event["to"] for event in done["events"] if event["kind"] == "state"]
    assert states == ["queued", "building", "queued", "pending", "running", "succeeded"]
    assert any("by fork of the template" in event["reason"] for event in done["events"])
    assert "building" not in [event["to"] for event in again["events"]]
    build_log = grid.ok("logs", "--show-build-logs", done["experiment"])
    assert build_log.count("+ ogalpha==1.0") == 2, build_log


def test_a_build_that_fails_fails_the_experiment_with_the_resolver_s_words(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("")
    (folder / "deps.txt").write_text("ogalpha>=7\n")

    done = grid.finish("--dependency_file", "deps.txt", "train.py", cwd=folder)
    why = grid.ok("why", done["experiment"])
    grid.ok("artifacts", done["experiment"], "--download_dir", str(folder), cwd=folder)

    record = json.loads((folder / done["experiment"] / "run.json").read_text())
    assert record["dependencies"]["requirements"] == ["ogalpha>=7"]
    assert any(package.startswith("torch==") for package in record["packages"])
    assert done["state"] == "failed"
    assert "only ogalpha<7 is available" in done["reason"] or "ogalpha>=7" in done["reason"]
    assert "ogalpha>=7" in why
    assert f"the rest: grid logs {done['experiment']} --show-build-logs" in why


def test_files_that_cannot_be_used_start_nothing(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text("")
    for name, text, said in (
        ("requirements.txt", "numpy=1\n", "requirements.txt, line 1"),
        ("environment.yml", "dependencies: [cudatoolkit]\n", "`cudatoolkit` (line 1)"),
        ("environment.yml", "dependencies: [python=3.8]\n", "wants Python ==3.8.*"),
    ):
        (folder / name).write_text(text)
        refused = grid.call("run", "train.py", cwd=folder)
        assert (refused.code, said in refused.err) == (2, True), refused
        (folder / name).unlink()
    for option, said in (("--dockerfile", "images are not built here"), ("--dependency_file", "no such file")):
        refused = grid.call("run", option, "x", "train.py", cwd=folder)
        assert (refused.code, said in refused.err) == (2, True), refused
