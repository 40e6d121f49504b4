"""A host with GPUs, as a fake NVML library shows them: its own stand in, and never its CPUs unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.grid import Grid, eventually
from tests.support.nvml import build_fake_nvml, write_gpus

SHOW = "import os, time\nprint(os.environ['RANK'], os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"


@pytest.fixture
def gpus(tmp_path: Path) -> list[str]:
    """UUIDs of four GPUs that nobody else on this computer knows."""
    return write_gpus(tmp_path, [("NVIDIA H100 80GB HBM3", 81_559, 0)] * 4, use=61, used_mib=2048)


@pytest.fixture
def gpu_box(new_grid: Callable[[], Grid], tmp_path: Path, gpus: list[str]) -> Grid:
    """A home whose server sees them."""
    library = build_fake_nvml(tmp_path)
    grid = new_grid()
    grid.environment["GRID_NVML_LIBRARY"] = str(library)
    grid.environment.pop("CUDA_VISIBLE_DEVICES", None)
    return grid


def test_own_gpus_stand_in_with_the_topology_of_the_type(gpu_box: Grid, gpus: list[str], folder: Path) -> None:
    (folder / "show.py").write_text(SHOW)
    arguments = ["--instance_type", "2_m60_8gb", "--gpus", "4", "--framework", "torch", "show.py"]
    plan = gpu_box.json("run", "--dry_run", *arguments, cwd=folder)["plan"]
    assert plan["simulated"] is False
    assert "H100" in plan["devices"]
    experiment = gpu_box.finish(*arguments, cwd=folder)
    assert experiment["state"] == "succeeded", experiment
    assert (experiment["nodes"], experiment["simulated"]) == (2, False)
    first, second = ",".join(gpus[:2]), ",".join(gpus[2:])
    lines = sorted(gpu_box.log(experiment["experiment"]).decode().splitlines())
    assert lines == [f"[rank {r}] {r} {first if r < 2 else second}" for r in range(4)]


def test_too_few_gpus_are_refused_with_what_would_fit_and_never_trained_on_cpus(gpu_box: Grid, folder: Path) -> None:
    (folder / "show.py").write_text(SHOW)
    arguments = ["--instance_type", "4_v100_16gb", "--gpus", "8", "show.py"]
    done = gpu_box.call("run", *arguments, cwd=folder)
    assert done.code == 2, done
    assert "--simulate" in done.err
    assert "4" in done.err
    assert gpu_box.json("history")["runs"] == []
    simulated = gpu_box.finish("--simulate", *arguments, cwd=folder)
    assert (simulated["state"], simulated["simulated"], simulated["world_size"]) == ("succeeded", True, 8)


def test_cuda_visible_devices_of_the_calling_shell_is_respected(gpu_box: Grid, gpus: list[str], folder: Path) -> None:
    (folder / "show.py").write_text(SHOW)
    arguments = ["--gpus", "1", "--instance_type", "1_t4_16gb", "--framework", "torch", "show.py"]
    experiment = gpu_box.finish(*arguments, cwd=folder, CUDA_VISIBLE_DEVICES="3")
    assert gpu_box.log(experiment["experiment"]).decode() == f"[rank 0] 0 {gpus[3]}\n"


def test_an_experiment_waits_for_gpus_and_starts_when_they_are_free(gpu_box: Grid, folder: Path) -> None:
    (folder / "hold.py").write_text(SHOW + "while not os.path.exists(os.environ['GO']): time.sleep(0.05)\n")
    go = folder / "go"
    arguments = ["--gpus", "3", "--instance_type", "4_v100_16gb", "--env", f"GO={go}", "hold.py"]
    first = gpu_box.submit(*arguments, cwd=folder)
    gpu_box.running(first)
    used = eventually(
        lambda: {row["name"]: row["value"] for row in gpu_box.json("metrics", first, "--system")["series"]}
    )
    assert {name: value for name, value in used.items() if name.startswith("gpu/")} == {
        f"gpu/{gpu}/{name}": value for gpu in range(3) for name, value in (("use", 61), ("memory", 2048 << 20))
    }
    assert {"rank/2/cpu", "rank/2/memory", "machine/0/cpu", "machine/0/sent"} < used.keys()
    second = gpu_box.submit(*arguments, cwd=folder)
    waiting = eventually(lambda: (e := gpu_box.experiment(second))["reason"] and e)
    assert waiting["state"] == "queued"
    assert first in waiting["reason"]
    assert "waits for" in gpu_box.ok("status", waiting["run"])
    go.touch()
    assert gpu_box.ended(first)["state"] == "succeeded"
    assert gpu_box.ended(second)["state"] == "succeeded"
