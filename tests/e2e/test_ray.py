"""`grid … --cluster`: a real Ray of two nodes on this computer, through the command line."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.grid import Grid, eventually
from tests.support.processes import files_below
from tests.support.ray_cluster import RayCluster

MEET = """
import os, sys, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
for step in range(int(sys.argv[1])):
    total = torch.ones(1)
    dist.all_reduce(total)
    print("step", step, "of", total.item(), os.environ["GRID_CLUSTER_ID"], os.environ["HOME"], flush=True)
    time.sleep(0.1)
open(f"rank{dist.get_rank()}.txt", "w").write(os.environ["CUDA_VISIBLE_DEVICES"])
"""

#: Two machines with one rank each; rehearsed, because the two share a disk.
TWO = ("--framework", "torch", "--instance_type", "1_t4_16gb", "--gpus", "2", "--simulate")


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """Where experiments work on the machines."""
    with tempfile.TemporaryDirectory(prefix="og-work-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def lab(new_grid: Callable[[], Grid], ray: RayCluster, work: Path) -> Iterator[Grid]:
    """A grid with the cluster `lab`."""
    grid = new_grid()
    (grid.cwd / "meet.py").write_text(MEET)
    (grid.cwd / "token").write_text(ray.token + "\n")
    options = ("--address", ray.address, "--token-file", "token", "--work-dir", str(work))
    added = grid.json("clusters", "add", "lab", *options)
    assert (added["machine_count"], added["cpus"], added["gpus"], added["problem"]) == (2, 16, 8, None)
    yield grid
    for run in grid.json("status")["runs"]:
        grid.call("stop", "run", run["run"])
    eventually(lambda: not grid.json("status")["runs"])


def test_the_same_command_runs_on_a_cluster(lab: Grid, work: Path) -> None:
    building = ("--on_build", "echo built for $GRID_CLUSTER_ID")
    experiment = lab.finish("--cluster", "lab", *TWO, *building, "meet.py", "3")
    assert (experiment["state"], experiment["cluster"], experiment["machines"]) == ("succeeded", "lab", 2)
    log = lab.log(experiment["experiment"]).decode()
    assert log.count("step 2 of 2.0 lab") == 2
    assert log.count("built for lab") == 1  # the two machines share a disk
    assert "build actions write into the logs" in lab.ok("logs", "--show-build-logs", experiment["experiment"])
    assert f" {os.environ['HOME']}\n" in log  # the machine's own, not the user's
    lab.ok("artifacts", experiment["run"], "--download_dir", "out")
    assert sorted(path.name for path in (lab.cwd / "out").rglob("*.txt")) == ["rank0.txt", "rank1.txt"]
    (record,) = (lab.cwd / "out").rglob("run.json")
    assert any(package.startswith("ray==") for package in json.loads(record.read_text())["packages"])
    # The machines are left as they were.
    eventually(lambda: not any(file.name == "meet.py" for file in files_below(work)))


def test_what_a_cluster_cannot_hold_is_refused_with_what_it_can(lab: Grid) -> None:
    done = lab.call("run", "--cluster", "lab", "--instance_type", "4_v100_16gb", "--gpus", "12", "meet.py", "1")
    assert done.code == 2
    assert "needs 3 machines with 4 GPUs" in done.err
    assert "--gpus 8 fits" in done.err


def test_clusters_are_checked_shown_chosen_and_removed(lab: Grid, ray: RayCluster) -> None:
    done = lab.call("clusters", "check", "lab")
    assert done.code == 0, done
    assert done.out.count(" ms ") == 2
    assert done.out.count("4, only counted") == 2
    assert done.out.count(f"{torch_build()})") == 2
    assert done.out.count(" namespace ") + done.out.count(" no: ") == 2, done  # how ranks get datastores there

    lab.ok("user", "set-cluster-context", "lab")
    assert lab.json("run", "--dry_run", *TWO, "meet.py", "1")["plan"]["cluster"] == "lab"
    lab.ok("user", "set-cluster-context", "local")
    assert lab.json("run", "--dry_run", "--framework", "torch", "meet.py", "1")["plan"]["cluster"] == "local"

    lab.ok("clusters", "add", "again", "--address", ray.address, "--token-file", "token")
    lab.ok("edit", "cluster", "again", "--types", "4_v100_16gb:2")
    assert lab.json("clusters", "show", "again")["possible"] == [{"type": "4_v100_16gb", "most": 2}]
    assert "raylet.out: " in lab.ok("clusters", "logs", "again", "--limit", "5000")
    assert lab.call("delete", "cluster", "again").code == 2  # nobody is here to ask
    lab.ok("delete", "cluster", "again", "--yes")
    assert [row["cluster"] for row in lab.json("clusters")["clusters"]] == ["local", "lab"]


def test_a_cluster_whose_interpreter_cannot_start_gangs_fails_a_run_at_once_and_says_why(
    lab: Grid, ray: RayCluster
) -> None:
    bare = lab.cwd / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')  # without what is installed
    bare.chmod(0o755)
    for python, why in ((str(bare), "No module named 'ray'"), ("/nowhere/python3", "/nowhere/python3")):
        options = ("--address", ray.address, "--token-file", "token", "--python", python)
        lab.ok("clusters", "add", "bare", *options)
        experiment = lab.finish("--cluster", "bare", *TWO, "meet.py", "3")
        assert (experiment["state"], experiment["attempts"], experiment["cost"]) == ("failed", 1, 0), experiment
        assert why in experiment["reason"]
        lab.ok("clusters", "remove", "bare")


def torch_build() -> str:
    cuda = pytest.importorskip("torch").version.cuda
    return f"CUDA {cuda}" if cuda else "CPU"


def test_a_cluster_file_is_written_for_the_types_that_are_named(lab: Grid) -> None:
    text = lab.ok("clusters", "template", "--types", "4_v100_16gb:2", "--image", "ami-1")
    assert "InstanceType: p3.8xlarge" in text
    made = lab.json("clusters", "template", "--types", "4_v100_16gb:2", "--image", "ami-1")
    assert (made["text"], made["types"]) == (text, {"4_v100_16gb": 2, "4_v100_16gb_spot": 2})
    done = lab.call("clusters", "template", "--provider", "moon", "--types", "4_v100_16gb")
    assert (done.code, "no template for 'moon'" in done.err) == (2, True), done


def test_a_wrong_token_address_or_name_is_refused_in_words(lab: Grid, ray: RayCluster) -> None:
    (lab.cwd / "wrong").write_text("0" * 48)
    done = lab.call("clusters", "add", "x", "--address", ray.address, "--token-file", "wrong")
    assert (done.code, "refuses the token" in done.err) == (2, True), done
    done = lab.call("clusters", "add", "x", "--address", "http://127.0.0.1:9")
    assert (done.code, "does not answer" in done.err) == (2, True), done
    done = lab.call("clusters", "add", "x", "--address", "http://192.0.2.77:8265")
    assert (done.code, "grid server start --listen" in done.err) == (2, True), done
    done = lab.call("clusters", "add", "x", "--hosts", "box1,box2")
    assert (done.code, "grid server start --listen" in done.err) == (2, True), done
    done = lab.call("clusters", "add", "x", "--address", "head:8265")
    assert (done.code, "http://HEAD:8265" in done.err) == (2, True), done
    done = lab.call("run", "--cluster", "labb", "meet.py", "1")
    assert (done.code, "there is no cluster 'labb'" in done.err) == (2, True), done
