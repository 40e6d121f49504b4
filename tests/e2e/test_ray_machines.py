"""A Ray cluster of several machines (network namespaces with addresses and disks of their own), and their deaths."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid, eventually
from tests.support.processes import is_alive
from tests.support.ray_cluster import QUICK_LOSS_S, Machines, machines
from tests.support.wheels import make_wheel

pytestmark = [pytest.mark.full, pytest.mark.timeout(500)]

EXAMPLES = Path(__file__).parents[2] / "examples"

SEED_LINE = "run --instance_type 4_v100_16gb --framework lightning --gpus 8  torch_elastic_vae.py --gpus 8  --data_path grid:stl10:1 --num_nodes 2"  # noqa: E501

#: Goes on from its own file, which OpenGrid puts back; then perhaps in shorter steps, for which nobody has to wait.
COUNT = """
import os, sys, time, datetime, torch, torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=600))
rank, first, pause_s = dist.get_rank(), 0, 0.1
if os.path.exists("count.pt"):
    first, pause_s = torch.load("count.pt")["step"] + 1, float(sys.argv[2])
for step in range(first, int(sys.argv[1])):
    total = torch.ones(1)
    dist.all_reduce(total)
    if rank == 0:
        print("step", step, flush=True)
        if step % 40 == 9:
            torch.save({"step": step}, "count.pt.part")
            os.replace("count.pt.part", "count.pt")
    time.sleep(pause_s)
print("counted as one of", int(total.item()), "in", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
"""

_LONG_S = 240.0
_NODES = (1, 2, 3)
_SIZE = {"cpus": 8, "gpus": 4}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    """A head without resources, and three machines with 4 GPUs, of which the kernel knows nothing."""
    with tempfile.TemporaryDirectory(prefix="og-ray-", dir="/tmp") as folder, machines(Path(folder), 4) as made:
        made.start_head()
        start_nodes(made, *_NODES)
        yield made


def start_nodes(cluster: Machines, *indexes: int) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda index: cluster.start_node(index, **_SIZE), indexes))


@pytest.fixture(scope="module")
def lab(new_grid: Callable[[], Grid], cluster: Machines) -> Grid:
    """A server that the machines reach, with the cluster `lab`."""
    grid = new_grid()
    with socket.socket() as probe:
        probe.bind((cluster.here, 0))
        grid.environment["LISTEN"] = f"{cluster.here}:{probe.getsockname()[1]}"
    start_server(grid)
    (grid.cwd / "count.py").write_text(COUNT)
    (grid.cwd / "token").write_text(cluster.ray.token)
    grid.ok("clusters", "add", "lab", "--address", cluster.ray.address, "--token-file", "token")
    return grid


def start_server(grid: Grid) -> None:
    grid.ok("server", "start", "--listen", grid.environment["LISTEN"], "--insecure")


def submit(lab: Grid, *, gpus: int, steps: int, then_s: float = 0.1) -> str:
    size = ("--framework", "torch", "--instance_type", "4_v100_16gb", "--gpus", str(gpus))
    asked = ("--cluster", "lab", *size, "--processes_per_node", "1", "count.py", str(steps), str(then_s))
    # A machine that was just started anew is planned with from the server's next look at the cluster on.
    eventually(lambda: lab.call("run", "--dry_run", *asked).code == 0, timeout_s=_LONG_S)
    return lab.submit(*asked)


def machines_of(lab: Grid, cluster: Machines, experiment: str) -> list[int]:
    """Return the machines that an experiment is on."""
    shown = lab.json("clusters", "show", "lab")["machines"]
    addresses = [machine["address"] for machine in shown if experiment in machine["experiments"]]
    return [index for index in _NODES if cluster.address(index) in addresses]


def steps(lab: Grid, name: str) -> list[int]:
    lines = lab.log(name, "--rank", "0").decode().splitlines()
    return [int(line.split()[-1]) for line in lines if line.split()[-2:-1] == ["step"]]


def counts(lab: Grid, name: str) -> None:
    """Wait until a training runs and can go on from a checkpoint."""
    lab.running(name)
    eventually(lambda: max(steps(lab, name), default=0) > 10, timeout_s=_LONG_S)


def starts_again(lab: Grid, cluster: Machines, name: str, *, on: list[int], generation: int = 2) -> None:
    """Wait until a training has agents on these machines for the n-th time, and ranks."""

    def look() -> bool:
        experiment = lab.experiment(name)
        assert experiment["state"] == "running", experiment
        return experiment["generations"] == generation and machines_of(lab, cluster, name) == on

    eventually(look, timeout_s=_LONG_S)
    eventually(lambda: all(processes(cluster, index, "count.py") for index in on), timeout_s=_LONG_S)


def ended(lab: Grid, name: str) -> dict[str, Any]:
    return eventually(
        lambda: (e := lab.experiment(name))["state"] in ("succeeded", "failed", "stopped") and e, timeout_s=_LONG_S
    )


def went_on(lab: Grid, name: str, *, generations: int = 2) -> None:
    """Wait for the end of a training that lost something, and see that nothing of it was done in vain."""
    experiment = ended(lab, name)
    done = (experiment["state"], experiment["attempts"], experiment["generations"])
    assert done == ("succeeded", 1, generations), experiment
    counted = steps(lab, name)
    assert sorted(set(counted)) == list(range(max(counted) + 1))
    assert counted.count(0) == 1, "it began anew"
    devices = [line.rpartition(" in ")[2] for line in lab.log(name).decode().splitlines() if "counted as one" in line]
    assert [len(set(each.split(","))) for each in devices] == [4] * experiment["machines"]  # those that Ray gave


def machine_of_rank(cluster: Machines, rank: int) -> int:
    """Return the machine on which a rank runs."""
    (found,) = [index for index in _NODES if processes(cluster, index, f"rank {rank}/")]
    return found


def processes(cluster: Machines, index: int, needle: str) -> list[int]:
    return [pid for pid in cluster.pids(index) if needle.encode() in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_every_machine_answers_and_reaches_the_server(lab: Grid, cluster: Machines) -> None:
    checked = lab.json("clusters", "check", "lab")["machines"]
    assert {machine["address"] for machine in checked} == {cluster.address(i) for i in _NODES}
    assert {machine["hostname"] for machine in checked} == {cluster.name(i) for i in _NODES}
    assert not [machine for machine in checked if machine.get("problem")]


def test_the_seeds_line_trains_one_model_on_two_machines_with_four_gpus(lab: Grid, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    for script in EXAMPLES.glob("*.py"):
        shutil.copy(script, tmp_path)
    script = tmp_path / "torch_elastic_vae.py"
    text, choice = script.read_text(), "        accelerator=arguments.accelerator,\n"
    assert choice in text
    script.write_text(text.replace(choice, ""))  # most scripts leave that to Lightning
    subprocess.run([sys.executable, "make_stl10.py"], cwd=tmp_path, check=True, timeout=120)
    lab.ok("datastore", "create", "stl10", "--name", "stl10", cwd=tmp_path)
    shutil.rmtree(tmp_path / "stl10")
    _, *words = shlex.split(SEED_LINE)
    experiment = ended(lab, lab.submit("--cluster", "lab", *words, cwd=tmp_path))
    shape = ("machines", "nodes", "gpus_per_node", "world_size", "simulated")
    assert [experiment[name] for name in shape] == [2, 2, 4, 8, True], experiment
    assert any("has none of the 4 GPUs that lab counts there" in event["reason"] for event in experiment["events"])
    assert experiment["state"] == "succeeded", lab.log(experiment["experiment"]).decode()[-3000:]
    log = lab.log(experiment["experiment"], "--rank", "0").decode()
    losses = [float(line.split("loss")[1].split()[0]) for line in log.splitlines() if "loss" in line]
    assert len(losses) >= 5
    assert losses[-1] < 0.9 * losses[0]
    lab.ok("artifacts", experiment["experiment"], "--download_dir", "trained")
    made = {path.name for path in (lab.cwd / "trained").rglob("*") if path.is_file()}
    assert {"config.json", "last.ckpt"} <= made
    assert any(name.startswith("events.out.tfevents") for name in made), made


def test_twenty_experiments_drain_in_order_and_never_share_a_gpu(lab: Grid) -> None:
    (lab.cwd / "brief.py").write_text("import os, sys\nprint('on', os.environ['CUDA_VISIBLE_DEVICES'], sys.argv)\n")
    size = ("--framework", "torch", "--instance_type", "4_v100_16gb", "--processes_per_node", "1")
    values = str(list(range(19)))
    run = lab.json("run", "--detach", "--cluster", "lab", *size, "brief.py", "--n", values)["run"]
    large = lab.submit("--cluster", "lab", *size, "--gpus", "12", "brief.py")  # competes for all of it
    names = [f"{run}-exp{i}" for i in range(19)]
    experiments = [ended(lab, name) for name in [*names, large]]
    assert {experiment["state"] for experiment in experiments} == {"succeeded"}
    admitted = [next(e["at"] for e in one["events"] if e["to"] == "pending") for one in experiments]
    assert admitted == sorted(admitted)
    spans = [(one["started_at"], one["ended_at"], one["gpus"]) for one in experiments]
    for at, _, _ in spans:
        assert sum(gpus for begin, end, gpus in spans if begin <= at < end) <= 12


def test_data_reaches_a_machine_once_and_scripts_find_it(lab: Grid, cluster: Machines) -> None:
    folder = lab.cwd / "numbers"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("forty-two")
    lab.ok("datastore", "create", str(folder), "--name", "numbers")
    (lab.cwd / "read.py").write_text(
        "import pathlib, sys\nroot = pathlib.Path(sys.argv[2])\nprint('read', (root / 'deep/a.txt').read_text(), root)"
    )
    size = ("--framework", "torch", "--instance_type", "4_v100_16gb", "--gpus", "12", "--processes_per_node", "1")
    done = lab.finish("--cluster", "lab", *size, "read.py", "--data", "grid:numbers:1")
    assert done["state"] == "succeeded", done
    assert lab.log(done["experiment"]).decode().count("read forty-two /tmp/opengrid-work/data/numbers-1") == 3
    mounted = ("--datastore_name", "numbers", "read.py", "--data", "/datastores/numbers")
    done = lab.finish("--cluster", "lab", *size, *mounted)
    assert done["state"] == "succeeded", done
    assert lab.log(done["experiment"]).decode().count("read forty-two") == 3
    for index in _NODES:
        data = Path(f"/proc/{cluster.pids(index)[0]}/root/tmp/opengrid-work/data")
        trees = [path.name for path in data.iterdir() if path.is_dir() and path.name != ".contents"]
        assert [tree for tree in trees if tree.startswith("numbers")] == ["numbers-1"]


def test_what_waits_says_for_what_and_can_be_stopped(lab: Grid) -> None:
    size = ("--framework", "torch", "--instance_type", "4_v100_16gb", "--processes_per_node", "1")
    *running, last = [lab.submit("--cluster", "lab", *size, "count.py", "600") for _ in range(4)]
    for name in running:
        lab.running(name)
    waiting = lab.experiment(last)
    assert waiting["state"] == "queued"
    assert waiting["reason"].startswith("waits for a machine with 4 GPUs (in use by")
    used = lab.json("clusters", "show", "lab")["machines"]
    assert {e for machine in used for e in machine["experiments"]} == set(running)
    lab.ok("stop", "experiment", last, *running)
    for name in (last, *running):
        assert lab.ended(name)["state"] == "stopped"


def test_packages_that_the_machines_lack_are_installed_on_each(lab: Grid, cluster: Machines) -> None:
    folder = Path(__file__).parents[2] / ".pytest_cache" / f"wheels-{os.getpid()}"  # the machines' /tmp is their own
    (lab.cwd / "needs").mkdir()
    try:
        make_wheel(folder, "ogalpha", "1.0")
        (lab.cwd / "needs/requirements.txt").write_text(f"--no-index\n--find-links {folder}\ntorch\nogalpha\n")
        (lab.cwd / "needs/train.py").write_text("import ogalpha\nprint('has', ogalpha.VERSION)\n")
        size = ("--framework", "torch", "--instance_type", "1_t4_16gb", "--gpus", "2")
        experiment = ended(lab, lab.submit("--cluster", "lab", *size, "train.py", cwd=lab.cwd / "needs"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert experiment["state"] == "succeeded", experiment
    assert lab.log(experiment["experiment"]).decode().count("has 1.0") == 2
    assert sum("installed ogalpha==1.0" in event["reason"] for event in experiment["events"]) == 2


def test_a_lost_server_costs_nothing_however_long_it_is_away(lab: Grid, cluster: Machines) -> None:
    name = submit(lab, gpus=8, steps=round(QUICK_LOSS_S * 2 / 0.1) + 40)
    counts(lab, name)
    at_work = [pid for index in _NODES for pid in processes(cluster, index, "count.py")]
    lab.kill_server()
    until = time.monotonic() + 2 * QUICK_LOSS_S
    while time.monotonic() < until:
        assert all(map(is_alive, at_work))
        time.sleep(0.5)
    start_server(lab)
    experiment = ended(lab, name)
    assert (experiment["state"], experiment["attempts"], experiment["generations"]) == ("succeeded", 1, 1), experiment
    counted = steps(lab, name)
    assert counted == list(range(len(counted)))


def test_an_agent_that_dies_is_replaced_on_its_machine_and_so_is_its_actor_while_nobody_looks(
    lab: Grid, cluster: Machines
) -> None:
    name = submit(lab, gpus=8, steps=70)
    counts(lab, name)
    on, lost = machines_of(lab, cluster, name), machine_of_rank(cluster, 0)
    for generation, what in enumerate(("grid agent", "ray::Machine"), 2):
        old = processes(cluster, lost, "count.py")
        (victim,) = processes(cluster, lost, what)
        if what == "ray::Machine":
            lab.kill_server()
        os.kill(victim, signal.SIGKILL)
        if what == "ray::Machine":
            eventually(lambda: not [pid for pid in old if is_alive(pid)])  # noqa: B023 - called here
            start_server(lab)
        starts_again(lab, cluster, name, on=on, generation=generation)
        assert old
        assert not [pid for pid in old if is_alive(pid)]
    went_on(lab, name, generations=3)


def test_a_machine_whose_raylet_dies_is_replaced_by_another(lab: Grid, cluster: Machines) -> None:
    name = submit(lab, gpus=8, steps=50)
    counts(lab, name)
    lost = machine_of_rank(cluster, 1)
    old = processes(cluster, lost, "count.py")
    (raylet,) = [pid for pid in cluster.pids(lost) if _command(pid).split(b"\0")[0].endswith(b"/raylet")]
    os.kill(raylet, signal.SIGKILL)
    starts_again(lab, cluster, name, on=[index for index in _NODES if index != lost])
    assert not [pid for pid in old if is_alive(pid)]
    cluster.kill(lost)
    start_nodes(cluster, lost)  # while the training goes on
    went_on(lab, name)


def test_a_gang_without_a_spare_machine_waits_for_one_and_goes_on(lab: Grid, cluster: Machines) -> None:
    name = submit(lab, gpus=12, steps=50, then_s=0.02)
    counts(lab, name)
    lost = machine_of_rank(cluster, 1)
    cluster.kill(lost)
    waiting = eventually(
        lambda: (e := lab.experiment(name))["reason"].startswith("lab: waits for") and e, timeout_s=_LONG_S
    )
    assert waiting["state"] == "running"
    assert "2 are so large" in waiting["reason"]
    start_nodes(cluster, lost)
    went_on(lab, name)


def test_a_machine_that_is_cut_off_is_replaced_and_the_training_goes_on(lab: Grid, cluster: Machines) -> None:
    name = submit(lab, gpus=8, steps=50, then_s=0.02)
    counts(lab, name)
    victim = machine_of_rank(cluster, 1)
    before = processes(cluster, victim, "count.py")
    cluster.cut(victim)
    went_on(lab, name)
    assert [pid for pid in before if is_alive(pid)]  # nobody could tell the old ranks
    cluster.mend(victim)
    eventually(lambda: not [pid for pid in before if is_alive(pid)], timeout_s=_LONG_S)
    cluster.kill(victim)  # Ray's part of it has ended itself, too; what follows needs no more than the other two


def test_a_lost_head_is_followed_by_a_new_attempt_that_goes_on(lab: Grid, cluster: Machines) -> None:
    name = submit(lab, gpus=8, steps=100)
    counts(lab, name)
    eventually(lambda: saved(lab, name))
    for index in range(4):
        cluster.kill(index)
    cluster.start_head()
    start_nodes(cluster, *_NODES[:2])
    experiment = ended(lab, name)
    assert (experiment["state"], experiment["attempts"]) == ("succeeded", 2), experiment
    assert any("the cluster let go of all its machines" in event["reason"] for event in experiment["events"])
    counted = steps(lab, name)
    assert counted[-1] == 99
    assert counted[0] > 0, "it began anew"  # the newest attempt's


def saved(lab: Grid, experiment: str) -> bool:
    with contextlib.suppress(AssertionError):
        lab.ok("artifacts", experiment, "--download_dir", "seen")
    return any((lab.cwd / "seen").rglob("count.pt"))
