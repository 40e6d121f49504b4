"""A Ray cluster that has no machines until a gang needs them: Ray's own fake provider starts and ends real raylets."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid, eventually
from tests.support.ray_cluster import Machines, machines

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]

V100 = {"CPU": 8, "GPU": 4, "accelerator_type:V100": 1}
UNNAMED = {"CPU": 16, "GPU": 8, "on_demand": 1}  # as of somebody who does not know that models can be named
SHOW = "import os\nprint('on', os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
_LONG_S = 180.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    with tempfile.TemporaryDirectory(prefix="og-ray-", dir="/tmp") as folder, machines(Path(folder), 1) as made:
        on_demand, spot = {**V100, "on_demand": 1}, {**V100, "spot": 1}
        made.start_scaling_head({"4_v100_16gb": on_demand, "4_v100_16gb_spot": spot, "8_t4_16gb": UNNAMED}, most=2)
        yield made


@pytest.fixture(scope="module")
def cloud(new_grid: Callable[[], Grid], cluster: Machines) -> Grid:
    grid = new_grid()
    with socket.socket() as probe:
        probe.bind((cluster.here, 0))
        port = probe.getsockname()[1]
    grid.ok("server", "start", "--listen", f"{cluster.here}:{port}", "--insecure")
    (grid.cwd / "show.py").write_text(SHOW)
    (grid.cwd / "token").write_text(cluster.ray.token)
    types = "4_v100_16gb:2,4_v100_16gb_spot:2,8_t4_16gb:1"
    options = ("--address", cluster.ray.address, "--token-file", "token", "--types", types)
    assert grid.json("clusters", "add", "cloud", *options)["machine_count"] == 0
    return grid


def count(cloud: Grid) -> int:
    return len(cloud.json("clusters", "show", "cloud")["machines"])


def run(cloud: Grid, *options: str, kind: str = "4_v100_16gb") -> tuple[dict[str, Any], set[str]]:
    """Run on 8 GPUs; return the experiment, and the reasons why it waited."""
    size = ("--framework", "torch", "--instance_type", kind, "--gpus", "8", "--processes_per_node", "1")
    name, reasons = cloud.submit("--cluster", "cloud", *size, *options, "show.py"), set[str]()

    def look() -> Any:
        experiment = cloud.experiment(name)
        reasons.add(experiment["reason"])
        return experiment["state"] in ("succeeded", "failed") and experiment

    return eventually(look, timeout_s=_LONG_S), reasons


def test_machines_are_started_for_a_gang_and_given_back_when_they_are_idle(cloud: Grid) -> None:
    experiment, reasons = run(cloud)
    assert (experiment["state"], experiment["machines"], experiment["attempts"]) == ("succeeded", 2, 1), experiment
    assert any(
        reason.startswith("cloud: waits for 2 machines with 4 GPUs (V100) and 8 CPUs") and "of 4_v100_16gb" in reason
        for reason in reasons
    ), reasons
    assert cloud.log(experiment["experiment"]).decode().count("on ") == 2
    eventually(lambda: not count(cloud), timeout_s=_LONG_S)


def test_spot_machines_are_started_for_those_who_ask_for_them(cloud: Grid) -> None:
    experiment, reasons = run(cloud, "--use_spot")  # there was no machine: only a spot type has what it asks for
    assert experiment["state"] == "succeeded", experiment
    assert any("of 4_v100_16gb_spot" in reason for reason in reasons), reasons


def test_machines_whose_type_does_not_name_a_model_are_started_for_those_who_ask_for_it(cloud: Grid) -> None:
    experiment, reasons = run(cloud, kind="8_t4_16gb")
    assert (experiment["state"], experiment["machines"]) == ("succeeded", 1), experiment
    assert any("waits for a machine with 8 GPUs and 16 CPUs" in reason for reason in reasons), reasons


def test_what_the_cluster_can_never_start_is_refused_at_once(cloud: Grid) -> None:
    done = cloud.call("run", "--cluster", "cloud", "--instance_type", "4_v100_16gb", "--gpus", "24", "show.py")
    assert done.code == 2
    assert "needs 6 machines with 4 GPUs" in done.err
    assert "fits" in done.err
