"""Bad input: a clear message, exit code 2, nothing started, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.grid import Done, Grid


@pytest.fixture
def script(folder: Path) -> Path:
    (folder / "train.py").write_text("print(1)")
    return folder


def refused(grid: Grid, folder: Path, *arguments: str, **environment: str) -> Done:
    """Type a `grid run` that must be refused, on the console and as JSON; return the former."""
    before = len(grid.json("history")["runs"])
    done = grid.call("run", *arguments, cwd=folder, **environment)
    assert done.code == 2, done
    assert "Traceback" not in done.err
    document = json.loads(grid.call("-o", "json", "run", *arguments, cwd=folder, **environment).out)
    assert document["error"]["message"]
    assert len(grid.json("history")["runs"]) == before
    return done


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.py"], ["missing.py"]),
        (["no-such-program-here"], ["no-such-program-here"]),
        (["tain.py"], ["tain.py", "train.py"]),
        (["--instance_type", "4_v100_16g", "train.py"], ["4_v100_16g", "4_v100_16gb"]),
        (["--gpus", "-1", "train.py"], ["-1"]),
        (["--gpus", "3.5", "train.py"], ["3.5"]),
        (["--gpus", "2", "--instance_type", "2_cpu_4gb", "train.py"], ["2_cpu_4gb", "no GPU"]),
        (["--framework", "keras", "train.py"], ["keras", "lightning"]),
        (["--name", "Not A Name", "train.py"], ["Not A Name"]),
        (["--name", "mine-exp3", "train.py"], ["mine-exp3"]),
        (["--cpus", "1000", "--gpus", "1", "--instance_type", "1_t4_16gb", "train.py"], ["1000", "4"]),
        (["train.py", "--data", "grid:nosuch:1"], ["nosuch"]),
        (["train.py", "--data", "grid:"], ["grid:"]),
        (["train.py", "--data", "grid:stl10:one"], ["grid:stl10:one"]),
        (["--no_such_option", "train.py"], ["no_such_option"]),
        (["--gpus", "1000", "--instance_type", "8_a100_40gb", "train.py"], ["64"]),
        ([], ["SCRIPT"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_it_is_refused_with_words(grid: Grid, script: Path, arguments: list[str], words: list[str]) -> None:
    done = refused(grid, script, *arguments)
    for word in words:
        assert word in done.err, done


def test_a_version_that_does_not_exist_names_those_that_do(grid: Grid, script: Path) -> None:
    (script / "data").mkdir()
    (script / "data" / "a.txt").write_text("a")
    grid.ok("datastore", "create", "data", "--name", "small", cwd=script)
    done = refused(grid, script, "train.py", "--data", "grid:small:99")
    assert "99" in done.err
    assert "1" in done.err


def test_a_taken_name_is_refused(grid: Grid, script: Path) -> None:
    grid.finish("--name", "taken", "--instance_type", "2_cpu_4gb", "train.py", cwd=script)
    assert "taken" in refused(grid, script, "--name", "taken", "train.py").err


def test_an_interpreter_without_torch_is_refused_with_the_pip_line(grid: Grid, script: Path) -> None:
    bare = script / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=120)
    python = bare / "bin" / "python"
    done = refused(grid, script, "--python", str(python), "train.py")
    assert f"{python} -m pip install torch" in done.err
    other = ["--python", str(python), "--framework", "tensorflow"]
    fine = grid.finish(*other, "--instance_type", "2_cpu_4gb", "train.py", cwd=script)
    assert fine["state"] == "succeeded", fine


def test_an_interpreter_that_is_none_is_refused(grid: Grid, script: Path) -> None:
    assert "/bin/false" in refused(grid, script, "--python", "/bin/false", "train.py").err


def test_an_empty_datastore_is_refused(grid: Grid, folder: Path) -> None:
    (folder / "empty").mkdir()
    done = grid.call("datastore", "create", "empty", cwd=folder)
    assert done.code == 2, done
    assert "empty" in done.err


def test_what_follows_the_script_is_the_scripts(grid: Grid, folder: Path) -> None:
    (folder / "args.py").write_text("import sys; print(sys.argv[1:])")
    given = ["--help", "-o", "json", "--gpus", "7", "--", "--wait", "", "a b", "$HOME", "--x=[wip"]
    experiment = grid.finish("--instance_type", "2_cpu_4gb", "args.py", *given, cwd=folder)
    assert grid.log(experiment["experiment"], "--rank", "0").decode() == f"{given}\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_named(grid: Grid, folder: Path) -> None:
    folder.chmod(0o500)
    done = Grid(folder / "home", folder, grid.environment).call("status")
    assert done.code == 2
    assert "GRID_HOME" in done.err
