"""The command lines that Grid's users know, verbatim, typed in examples/."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.grid import Grid

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 400.0

LINES = {
    4: "run --instance_type 4_v100_16gb --framework lightning --gpus 4  torch_elastic_vae.py --gpus 4  --data_path grid:stl10:1 --num_nodes 1",  # noqa: E501
    8: "run --instance_type 4_v100_16gb --framework lightning --gpus 8  torch_elastic_vae.py --gpus 8  --data_path grid:stl10:1 --num_nodes 2",  # noqa: E501
    16: "run --instance_type 4_v100_16gb --framework lightning --gpus 16 torch_elastic_vae.py --gpus 16 --data_path grid:stl10:1 --num_nodes 4",  # noqa: E501
    32: "run --instance_type 4_v100_16gb --framework lightning --gpus 32 torch_elastic_vae.py --gpus 32 --data_path grid:stl10:1 --num_nodes 8",  # noqa: E501
}


@pytest.fixture(scope="module")
def with_data(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of examples/, and the datastore stl10."""
    pytest.importorskip("lightning")
    folder = tmp_path_factory.mktemp("examples")
    for script in EXAMPLES.glob("*.py"):
        shutil.copy(script, folder)
    subprocess.run([sys.executable, "make_stl10.py"], cwd=folder, check=True, timeout=120)
    made = grid.json("datastore", "create", "stl10", "--name", "stl10", cwd=folder)
    assert (made["name"], made["version"], made["state"]) == ("stl10", 1, "succeeded")
    shutil.rmtree(folder / "stl10")
    return folder


@pytest.mark.parametrize(
    "gpus", [4, 8, pytest.param(16, marks=pytest.mark.full), pytest.param(32, marks=pytest.mark.full)]
)
@pytest.mark.timeout(PATIENCE_S + 60)
def test_the_seeds_line_trains_one_model_over_all_ranks(grid: Grid, with_data: Path, gpus: int) -> None:
    arguments = shlex.split(LINES[gpus])
    done = grid.call(*arguments[:1], "--wait", *arguments[1:], cwd=with_data, timeout_s=PATIENCE_S)
    assert done.code == 0, done
    assert "simulated" in done.out + done.err
    newest = grid.json("history")["runs"][0]["run"]
    experiment = grid.experiment(f"{newest}-exp0")
    machines = gpus // 4
    assert experiment["state"] == "succeeded"
    shape = (experiment["gpus"], experiment["machines"], experiment["nodes"], experiment["world_size"])
    assert shape == (gpus, machines, machines, gpus)
    assert experiment["simulated"] is True
    assert experiment["params"] == {"gpus": gpus, "data_path": "grid:stl10:1", "num_nodes": machines}
    log = grid.log(experiment["experiment"], "--rank", "0").decode()
    losses = [float(line.split("loss")[1].split()[0]) for line in log.splitlines() if "loss" in line]
    assert len(losses) >= 5
    assert losses[-1] < 0.9 * losses[0]
    made = {path.name for path in Path(experiment["work_dir"]).rglob("*") if path.is_file()}
    assert any(name.endswith(".ckpt") for name in made), made
    assert any(name.startswith("events.out.tfevents") for name in made), made
    assert "config.json" in made


def test_a_dry_run_prints_the_plan_and_starts_nothing(grid: Grid, with_data: Path) -> None:
    before = len(grid.json("history")["runs"])
    arguments = shlex.split(LINES[32])
    answer = json.loads(grid.ok(*arguments[:1], "--dry_run", "-o", "json", *arguments[1:], cwd=with_data))
    assert answer["run"] is None
    assert answer["experiments"] == []
    plan = answer["plan"]
    assert (plan["machines"], plan["nodes"], plan["gpus_per_node"], plan["world_size"]) == (8, 8, 4, 32)
    assert plan["price_per_hour"] == pytest.approx(8 * 12.85)
    shown = grid.ok(*arguments[:1], "--dry_run", *arguments[1:], cwd=with_data)
    assert "8 nodes" in shown
    assert "simulated" in shown
    assert len(grid.json("history")["runs"]) == before
