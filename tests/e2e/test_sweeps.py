"""A sweep from the command line to its experiments' own arguments and results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.grid import Grid

SCRIPT = "import json, sys\nprint(json.dumps(sys.argv[1:]))\nsys.exit(3 if sys.argv[-1] == '2' else 0)"


def test_a_sweep_of_twelve_runs_each_point_with_its_own_arguments(grid: Grid, folder: Path) -> None:
    (folder / "sweep.sh").write_text('#!/bin/sh\nexec python3 -c "' + SCRIPT.replace('"', '\\"') + '" "$@"\n')
    (folder / "sweep.sh").chmod(0o755)
    options = ("--instance_type", "2_cpu_4gb", "--parallel", "4")
    arguments = ("--model", "['a b', \"it's\"]", "--lr=[1e-3,0.1]", "--n", "range(3)")
    plan = grid.json("run", "--dry_run", *options, "sweep.sh", *arguments, cwd=folder)
    assert plan["plan"]["experiments"] == 12
    created = grid.json("run", "--detach", *options, "sweep.sh", *arguments, cwd=folder)
    run = created["run"]
    assert created["experiments"] == [f"{run}-exp{i}" for i in range(12)]
    experiments = [grid.ended(name) for name in created["experiments"]]
    points = [(m, lr, n) for m in ("a b", "it's") for lr in ("1e-3", "0.1") for n in range(3)]
    for experiment, (model, lr, n) in zip(experiments, points, strict=True):
        assert experiment["params"] == {"model": model, "lr": float(lr), "n": n}
        assert experiment["state"] == ("failed" if n == 2 else "succeeded")
        log = grid.log(experiment["experiment"], "--rank", "0")
        assert json.loads(log.decode().splitlines()[0]) == ["--model", model, f"--lr={lr}", "--n", str(n)]


def test_a_sweep_that_is_too_large_or_malformed_starts_nothing(grid: Grid, folder: Path) -> None:
    (folder / "t.py").write_text("")
    for argument, words in (("range(10**12)", "1,000,000,000,000"), ("['a' 'b']", "comma")):
        refused = grid.call("run", "--instance_type", "2_cpu_4gb", "t.py", "--x", argument, cwd=folder)
        assert refused.code == 2, refused
        assert words in refused.err


def test_what_runs_over_its_max_time_is_stopped_and_says_so(grid: Grid, folder: Path) -> None:
    (folder / "t.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    ended = grid.finish("--instance_type", "2_cpu_4gb", "--max_time", "2s", "t.py", cwd=folder)
    assert ended["state"] == "stopped"
    assert ended["reason"] == "its --max_time of 0:00:02 is over"


@pytest.mark.parametrize("length", ["90", "h", "", "-1h", "1m2h", "0s"])
def test_a_max_time_needs_its_units(grid: Grid, folder: Path, length: str) -> None:
    (folder / "t.py").write_text("")
    refused = grid.call("run", "--instance_type", "2_cpu_4gb", "--max_time", length, "t.py", cwd=folder)
    assert refused.code == 2, refused
    assert "--max_time" in refused.err
    assert "Traceback" not in refused.err
