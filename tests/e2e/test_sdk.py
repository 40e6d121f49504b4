"""The Python SDK with a real server and real ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import opengrid
from tests.support.grid import PATIENCE_S, Grid

SCRIPT = """
import os, sys
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], sys.argv[1:], flush=True)
open("out.txt", "w").write(sys.argv[-1])
"""


def test_a_sweep_from_python(grid: Grid, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid.ok("status")
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text(SCRIPT)
    with opengrid.Grid(home=grid.home) as server:
        asked = {"gpus": 2, "instance_type": "1_t4_16gb", "simulate": True, "framework": "torch"}
        plan = server.plan("train.py", {"lr": [0.1, 0.2]}, **asked)
        assert (plan.experiments, plan.machines, plan.world_size, plan.python) == (2, 2, 2, sys.executable)
        run = server.run("train.py", {"lr": [0.1, 0.2]}, **asked)
        lines = list(run.logs(follow=True))
        assert {line.partition("rank ")[2][:1] for line in lines if " of 2 " in line} == {"0", "1"}
        assert run.wait(PATIENCE_S).status == "succeeded"
        assert [experiment.params for experiment in run.experiments] == [{"lr": 0.1}, {"lr": 0.2}]
        contents = {(a.experiment[-1], a.path): a.read() for a in run.artifacts if a.node == 0 and a.path != "run.json"}
        assert contents == {("0", "out.txt"): b"0.1", ("1", "out.txt"): b"0.2"}
        again = server.clone(run, {"lr": 0.3})
        assert again.wait(PATIENCE_S).experiments[0].params == {"lr": 0.3}
        assert [each.name for each in server.runs(limit=2)] == [again.name, run.name]
