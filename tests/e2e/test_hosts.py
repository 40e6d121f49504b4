"""`grid clusters add --hosts`: machines with sshd and Python become a cluster, and are left as they were."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificate import certificate
from tests.support.grid import Grid, eventually
from tests.support.ray_cluster import need_ray
from tests.support.sshd import Boxes, boxes
from tests.support.wheels import make_wheel

pytestmark = [pytest.mark.full, pytest.mark.timeout(500)]

MEET = """
import os, time, ogalpha, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
print("one of", int(total.item()), "with", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
"""

#: Starting Ray on three loaded network namespaces takes a while.
_LONG_S = 300.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Boxes]:
    """box1 and box2 have sshd and 4 GPUs; box3 has no sshd."""
    need_ray()
    with tempfile.TemporaryDirectory(prefix="og-boxes-", dir="/var/tmp") as folder, boxes(Path(folder), 3) as made:
        yield made


@pytest.fixture(scope="module")
def lab(new_grid: Callable[[], Grid], cluster: Boxes) -> Grid:
    """A server that the machines reach over TLS, whose user has the key for them."""
    grid = new_grid()
    grid.environment["PATH"] = f"{cluster.bin}:{grid.environment['PATH']}"
    here = cluster.machines.here
    with socket.socket() as probe:
        probe.bind((here, 0))
        port = probe.getsockname()[1]
    cert, key = certificate(cluster.folder)
    grid.ok("server", "start", "--listen", f"{here}:{port}", "--tls-cert", cert, "--tls-key", key)
    (grid.cwd / "meet.py").write_text(MEET)
    return grid


def add(lab: Grid, cluster: Boxes, hosts: str) -> tuple[str, ...]:
    wheel = make_wheel(cluster.folder, "ogalpha", "1.0")  # the machines reach no index: the rest is in this Python
    return ("clusters", "add", "lab", "--hosts", hosts, "--python", sys.executable, "--install", str(wheel))


def test_a_host_whose_key_nobody_has_accepted_is_refused(lab: Grid, cluster: Boxes) -> None:
    done = lab.call(*add(lab, cluster, "box1,box2"))
    assert done.code == 2, done
    assert "box1: its host key is not known here: ED25519 SHA256:" in done.err
    assert "box2: its host key is not known here: ED25519 SHA256:" in done.err
    assert "`ssh box1` shows the key and asks" in done.err
    cluster.trust(2)


def test_one_host_that_fails_is_named_and_nothing_is_left_on_the_others(lab: Grid, cluster: Boxes) -> None:
    done = lab.call(*add(lab, cluster, "box1,box2,box3"))
    assert done.code == 2, done
    assert "box3: ssh: connect to host" in done.err
    assert "box1: " not in done.err.partition("error:")[2]
    assert not cluster.ray_pids(0)
    assert [row["cluster"] for row in lab.json("clusters")["clusters"]] == ["local"]


def test_hosts_become_a_cluster_that_trains_comes_back_and_leaves_nothing(lab: Grid, cluster: Boxes) -> None:
    added = lab.call(*add(lab, cluster, "box1,root@box2"), timeout_s=_LONG_S)
    assert added.code == 0, added
    assert "box1: making an environment with ray[default]==2.60.0" in added.err
    assert "box1: starting Ray as the head" in added.err
    assert "lab has 2 machines with 16 CPUs and 8 GPUs" in added.out

    checked = lab.json("clusters", "check", "lab")["machines"]
    assert {machine["hostname"] for machine in checked} == {cluster.machines.name(0), cluster.machines.name(1)}
    assert not [machine for machine in checked if machine.get("problem")], checked

    size = ("--cluster", "lab", "--framework", "torch", "--instance_type", "4_v100_16gb", "--gpus", "8")
    experiment = lab.finish(*size, "meet.py")
    assert (experiment["state"], experiment["nodes"], experiment["gpus_per_node"]) == ("succeeded", 2, 4), experiment
    assert experiment["simulated"] is True  # its GPUs are only counted
    assert lab.log(experiment["experiment"]).decode().count("one of 8 with 0,1,2,3") == 8

    logs = lab.json("clusters", "logs", "lab", "--limit", "5000")
    seen = {(line["host"], line["file"]) for line in logs["lines"]}
    files = ("start.log", "raylet.out")
    assert {(host, file) for host in ("box1", "root@box2") for file in files} <= seen, seen
    assert not logs["problems"]

    # The second host is restarted, as far as anybody can tell: all that runs there is gone.
    cluster.kill(1)

    def problem() -> str | None:
        (_, second) = lab.json("clusters", "show", "lab")["hosts"]
        return second["problem"]

    assert "Ray has ended" in str(eventually(problem, timeout_s=_LONG_S))
    assert "box2" in lab.ok("clusters", "show", "lab")

    # So is the first one, which has the head.
    cluster.kill(0)
    lab.ok("clusters", "start", "lab", timeout_s=_LONG_S)
    assert not [host for host in lab.json("clusters", "show", "lab")["hosts"] if host["problem"]]
    assert lab.finish(*size, "meet.py")["state"] == "succeeded"

    assert "Ray has ended on box1, root@box2" in lab.ok("clusters", "remove", "lab", timeout_s=_LONG_S)
    for index in (0, 1):
        # What looked at the host over ssh a moment ago may still be on its way out.
        eventually(lambda index=index: not cluster.ray_pids(index))
        assert not list((cluster.folder / f"home{index}").rglob("token"))
