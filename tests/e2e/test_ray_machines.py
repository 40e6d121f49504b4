"""A Ray cluster of several machines (network namespaces with addresses and disks of their own), and their deaths."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid, eventually, is_alive
from tests.support.ray_cluster import Machines, machines

pytestmark = [pytest.mark.full, pytest.mark.timeout(500)]

#: Goes on from its own file, which OpenGrid puts back.
COUNT = """
import os, sys, time, datetime, torch, torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=600))
rank, first = dist.get_rank(), 0
if os.path.exists("count.pt"):
    first = torch.load("count.pt")["step"] + 1
    print("goes on at", first, flush=True)
for step in range(first, int(sys.argv[1])):
    total = torch.ones(1)
    dist.all_reduce(total)
    if rank == 0 and step % 40 == 0:
        torch.save({"step": step}, "count.pt.part")
        os.replace("count.pt.part", "count.pt")
    time.sleep(0.1)
print("counted to", sys.argv[1], "as one of", int(total.item()), "in", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
"""

_LONG_S = 240.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    """A head without resources, and three machines with 4 GPUs, of which the kernel knows nothing."""
    with tempfile.TemporaryDirectory(prefix="og-ray-", dir="/tmp") as folder, machines(Path(folder), 4) as made:
        made.start_head()
        for index in (1, 2, 3):
            made.start_node(index, cpus=8, gpus=4)
        yield made


@pytest.fixture(scope="module")
def lab(new_grid: Callable[[], Grid], cluster: Machines) -> Grid:
    """A server that the machines reach, with the cluster `lab`."""
    grid = new_grid()
    with socket.socket() as probe:
        probe.bind((cluster.here, 0))
        port = probe.getsockname()[1]
    grid.ok("server", "start", "--listen", f"{cluster.here}:{port}", "--insecure")
    (grid.cwd / "count.py").write_text(COUNT)
    (grid.cwd / "token").write_text(cluster.ray.token)
    grid.ok("clusters", "add", "lab", "--address", cluster.ray.address, "--token-file", "token")
    return grid


def submit(lab: Grid, *, gpus: int, steps: int) -> str:
    size = ("--framework", "torch", "--instance_type", "4_v100_16gb", "--gpus", str(gpus))
    return lab.submit("--cluster", "lab", *size, "--processes_per_node", "1", "count.py", str(steps))


def addresses(lab: Grid, experiment: str) -> list[str]:
    shown = lab.json("clusters", "show", "lab")["machines"]
    return [machine["address"] for machine in shown if experiment in machine["experiments"]]


def saved(lab: Grid, experiment: str) -> bool:
    return "count.pt" in lab.call("artifacts", experiment, "--download_dir", "seen").out or any(
        (lab.cwd / "seen").rglob("count.pt")
    )


def ended(lab: Grid, name: str) -> dict[str, Any]:
    return eventually(
        lambda: (e := lab.experiment(name))["state"] in ("succeeded", "failed", "stopped") and e, timeout_s=_LONG_S
    )


def test_every_machine_answers_and_reaches_the_server(lab: Grid, cluster: Machines) -> None:
    checked = lab.json("clusters", "check", "lab")["machines"]
    assert {machine["address"] for machine in checked} == {cluster.address(i) for i in (1, 2, 3)}
    assert {machine["hostname"] for machine in checked} == {cluster.name(i) for i in (1, 2, 3)}
    assert not [machine for machine in checked if machine.get("problem")]


def test_eight_gpus_are_two_machines_with_four_and_gangs_never_share_one(lab: Grid) -> None:
    names = [submit(lab, gpus=8, steps=20), *(submit(lab, gpus=4, steps=20) for _ in range(4))]
    first = lab.running(names[0])
    assert (first["machines"], first["nodes"], first["gpus_per_node"], first["simulated"]) == (2, 2, 4, False)
    spans = []
    for name in names:
        experiment = ended(lab, name)
        assert experiment["state"] == "succeeded", experiment
        spans.append((experiment["started_at"], experiment["ended_at"], experiment["gpus"]))
        log = lab.log(name).decode()
        assert f"as one of {experiment['machines']} in " in log
    for at, _, _ in spans:
        assert sum(gpus for begin, end, gpus in spans if begin <= at < end) <= 12
    assert [span[0] for span in spans] == sorted(span[0] for span in spans)  # oldest first


def test_a_machine_that_is_cut_off_is_replaced_and_the_training_goes_on(lab: Grid, cluster: Machines) -> None:
    name = submit(lab, gpus=8, steps=800)
    lab.running(name)
    eventually(lambda: saved(lab, name))
    (victim,) = [i for i in (1, 2, 3) if cluster.address(i) == addresses(lab, name)[1]]
    before = [pid for pid in cluster.pids(victim) if b"count.py" in _command(pid)]
    cluster.cut(victim)
    experiment = ended(lab, name)
    assert (experiment["state"], experiment["attempts"], experiment["generations"]) == ("succeeded", 1, 2), experiment
    assert "goes on at" in lab.log(name).decode()
    assert [pid for pid in before if is_alive(pid)]  # nobody could tell the old ranks
    cluster.mend(victim)
    eventually(lambda: not [pid for pid in before if is_alive(pid)], timeout_s=_LONG_S)
    cluster.kill(victim)  # Ray's part of it has ended itself, too


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
