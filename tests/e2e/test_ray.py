"""`grid … --cluster`: a real Ray of two nodes on this computer, through the command line."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.grid import Grid, eventually, is_alive
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


def machines_of(ray: RayCluster) -> list[int]:
    """Return the workers of Ray that hold agents."""
    return [pid for pid in ray.pids() if b"ray::Machine" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_the_same_command_runs_on_a_cluster(lab: Grid, work: Path) -> None:
    experiment = lab.finish("--cluster", "lab", *TWO, "meet.py", "3")
    assert (experiment["state"], experiment["cluster"], experiment["machines"]) == ("succeeded", "lab", 2)
    log = lab.log(experiment["experiment"]).decode()
    assert log.count("step 2 of 2.0 lab") == 2
    assert f" {os.environ['HOME']}\n" in log  # the machine's own, not the user's
    lab.ok("artifacts", experiment["run"], "--download_dir", "out")
    assert sorted(path.name for path in (lab.cwd / "out").rglob("*.txt")) == ["rank0.txt", "rank1.txt"]
    assert not list(work.rglob("meet.py"))  # the machines are left as they were


@pytest.mark.full
def test_data_reaches_the_machines_once_and_scripts_find_it(lab: Grid, work: Path) -> None:
    folder = lab.cwd / "numbers"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("forty-two")
    lab.ok("datastore", "create", str(folder), "--name", "numbers")
    (lab.cwd / "read.py").write_text(
        "import pathlib, sys\nroot = pathlib.Path(sys.argv[2])\nprint('read', (root / 'deep/a.txt').read_text(), root)"
    )
    for _ in range(2):
        done = lab.finish("--cluster", "lab", "--framework", "torch", "read.py", "--data", "grid:numbers:1")
        assert done["state"] == "succeeded", done
        assert f"read forty-two {work}/data/numbers-1" in lab.log(done["experiment"]).decode()
    done = lab.finish(
        *("--cluster", "lab", "--framework", "torch", "--datastore_name", "numbers"),
        *("read.py", "--data", "/datastores/numbers"),
    )
    assert done["state"] == "succeeded", done
    assert "read forty-two" in lab.log(done["experiment"]).decode()
    assert [path.name for path in (work / "data").iterdir() if path.is_dir()] == ["numbers-1"]


def test_real_gpus_are_those_that_ray_gave(lab: Grid) -> None:
    options = ("--framework", "torch", "--gpus", "2", "--instance_type", "2_m60_8gb")
    experiment = lab.finish("--cluster", "lab", *options, "meet.py", "1")
    assert (experiment["state"], experiment["simulated"], experiment["devices"]) == ("succeeded", False, "2 × GPU")
    lab.ok("artifacts", experiment["run"], "--download_dir", "gpus")
    (found,) = (lab.cwd / "gpus").rglob("rank0.txt")
    assert len(set(found.read_text().split(","))) == 2


@pytest.mark.full
def test_a_lost_agent_and_a_lost_server_in_the_middle_cost_one_restart(lab: Grid, ray: RayCluster) -> None:
    name = lab.submit("--cluster", "lab", *TWO, "meet.py", "60")
    lab.running(name)
    lab.kill_server()
    victim = machines_of(ray)[0]
    os.kill(victim, signal.SIGKILL)  # while nobody looks
    ended = lab.ended(name)
    assert (ended["state"], ended["attempts"], ended["generations"]) == ("succeeded", 1, 2)
    assert not is_alive(victim)
    assert ended["starts"][0]["cause"]


@pytest.mark.full
def test_what_waits_says_for_what_and_can_be_stopped(lab: Grid) -> None:
    all_gpus = ("--framework", "torch", "--instance_type", "4_v100_16gb", "--gpus", "4")
    first = lab.submit("--cluster", "lab", *all_gpus, "meet.py", "600")
    second = lab.submit("--cluster", "lab", *all_gpus, "meet.py", "600")
    third = lab.submit("--cluster", "lab", *all_gpus, "meet.py", "600")
    lab.running(first)
    lab.running(second)
    waiting = lab.experiment(third)
    assert waiting["state"] == "queued"
    assert waiting["reason"].startswith("waits for a machine with 4 GPUs (in use by")
    used = lab.json("clusters", "show", "lab")["machines"]
    assert {e for machine in used for e in machine["experiments"]} == {first, second}
    lab.ok("stop", "experiment", third, first, second)
    for name in (first, second, third):
        assert lab.ended(name)["state"] == "stopped"


def test_what_a_cluster_cannot_hold_is_refused_with_what_it_can(lab: Grid) -> None:
    done = lab.call("run", "--cluster", "lab", "--instance_type", "4_v100_16gb", "--gpus", "12", "meet.py", "1")
    assert done.code == 2
    assert "needs 3 machines with 4 GPUs" in done.err
    assert "--gpus 8 fits" in done.err


def test_clusters_are_checked_shown_chosen_and_removed(lab: Grid, ray: RayCluster) -> None:
    done = lab.call("clusters", "check", "lab")
    assert done.code == 0, done
    assert done.out.count(" ms ") == 2

    lab.ok("user", "set-cluster-context", "lab")
    assert lab.json("run", "--dry_run", *TWO, "meet.py", "1")["plan"]["cluster"] == "lab"
    lab.ok("user", "set-cluster-context", "local")
    assert lab.json("run", "--dry_run", "--framework", "torch", "meet.py", "1")["plan"]["cluster"] == "local"

    lab.ok("clusters", "add", "again", "--address", ray.address, "--token-file", "token")
    lab.ok("edit", "cluster", "again", "--types", "4_v100_16gb:2")
    assert lab.json("clusters", "show", "again")["possible"] == [{"type": "4_v100_16gb", "most": 2}]
    assert "raylet.out: " in lab.ok("clusters", "logs", "again", "--limit", "50")
    assert lab.call("delete", "cluster", "again").code == 2  # nobody is here to ask
    lab.ok("delete", "cluster", "again", "--yes")
    assert [row["cluster"] for row in lab.json("clusters")["clusters"]] == ["local", "lab"]


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
