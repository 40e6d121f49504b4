"""`python -m benchmarks ray`: gangs on a Ray cluster against Ray Train's TorchTrainer on the same one.

Two raylets on this computer. Both sides run the same training on 2 machines with 2 ranks each and take turns; each has
run once before, so that the cluster is warm.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ray_cluster import RayCluster, add_node, single_node_ray

from benchmarks.sides import SCRIPTS, grid_processes, wait_until
from benchmarks.support import median, print_rows, row

_REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
_RANKS, _PATIENCE_S = 4, 240.0

#: What has ended gets out of the way of what comes.
_PAUSE_S = 3.0


@dataclass(frozen=True)
class Times:
    """What one training took."""

    ready_s: float  #: from the command to all ranks having met
    rate: float  #: steps/s
    recovery_s: float  #: from SIGKILL of a rank to all ranks having met again


def main() -> int:
    """Print the table."""
    if importlib.util.find_spec("pyarrow") is None:
        print("left out: Ray Train is not installed here (pip install 'opengrid[bench]')")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="og-bench-", dir="/tmp"))  # sockets below it have short paths
    shutil.copytree(SCRIPTS, folder / "code")
    (folder / "ray").mkdir()
    began = time.time()
    try:
        with single_node_ray(folder / "ray", cpus=4) as cluster:
            add_node(cluster, cpus=4)
            with _grid(folder, cluster) as grid:
                _measure(folder, cluster, grid)
    finally:
        for pid in grid_processes(began):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _measure(folder: Path, cluster: RayCluster, grid: Callable[..., str]) -> None:
    ours: list[Times] = []
    theirs: list[Times] = []
    for number in range(_REPEATS + 1):  # the first of each makes both warm
        for side, times in ((_ours, ours), (_theirs, theirs)):
            out = folder / f"{side.__name__}{number}"
            out.mkdir()
            times.append(side(out, cluster, grid))
            time.sleep(_PAUSE_S)
            print(side.__name__, times[-1], file=sys.stderr, flush=True)
    ours, theirs = ours[1:], theirs[1:]

    def middle(times: list[Times], name: str) -> float:
        return median(getattr(one, name) for one in times)

    head = ("2 × 2 ranks on a warm Ray cluster", "grid", "TorchTrainer", "ratio", "target", "")
    rates = middle(ours, "rate"), middle(theirs, "rate")
    verdict = "ok" if rates[0] / rates[1] >= 0.98 else "MISSED"
    print_rows(
        [
            head,
            row("submit → all ranks met, s", middle(ours, "ready_s"), middle(theirs, "ready_s"), 0.7),
            row("a rank killed → all met again, s", middle(ours, "recovery_s"), middle(theirs, "recovery_s"), 0.3),
            ("steps/s", *(f"{rate:.0f}" for rate in rates), f"{rates[0] / rates[1]:.3f}", "≥ 0.98", verdict),
        ]
    )


def _ours(out: Path, cluster: RayCluster, grid: Callable[..., str]) -> Times:
    began = time.time()
    size = ("--instance_type", "2_m60_8gb", "--gpus", str(_RANKS), "--simulate", "--framework", "torch")
    run = grid("run", "--detach", "-o", "json", "--cluster", "lab", *size, "--env", f"BENCH_OUT={out}", "ray_train.py")
    name = json.loads(run)["experiments"][0]
    times = _times(out, began)
    ended = ("succeeded", "failed", "stopped")
    wait_until(lambda: json.loads(grid("status", "-o", "json", name))["state"] in ended)
    return times


def _theirs(out: Path, cluster: RayCluster, grid: Callable[..., str]) -> Times:
    began = time.time()
    environment = cluster.environment(RAY_ADDRESS=cluster.gcs, RAY_AIR_NEW_OUTPUT="0")
    with (out / "trainer.log").open("wb") as log:
        trainer = subprocess.Popen(
            [sys.executable, "ray_trainer.py", str(out), str(_RANKS)],
            cwd=out.parent / "code",
            env=environment,
            stdout=log,
            stderr=log,
        )
    times = _times(out, began)
    trainer.wait(_PATIENCE_S)
    return times


def _times(out: Path, began: float) -> Times:
    """Follow a training: to its first meeting, through its measured steps, a death and the meeting after that."""
    first = _met(out, set())
    wait_until((out / "rate").exists)
    rate = float((out / "rate").read_text())
    pids = {int(file.name.rpartition(".")[2]) for file in out.glob("ready.*")}
    victim = next(int(file.name.rpartition(".")[2]) for file in out.glob("ready.3.*"))
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    again = _met(out, pids)
    (out / "stop").touch()
    return Times(ready_s=first - began, rate=rate, recovery_s=again - killed)


def _met(out: Path, old: set[int]) -> float:
    """Wait for all ranks of a new start; return when the last one met the others."""

    def new() -> list[Path]:
        files = [file for file in out.glob("ready.*") if not file.name.endswith(".part")]
        return [file for file in files if int(file.name.rpartition(".")[2]) not in old]

    wait_until(lambda: len({file.name.split(".")[1] for file in new()}) == _RANKS)
    return max(float(file.read_text()) for file in new())


@contextmanager
def _grid(folder: Path, cluster: RayCluster) -> Iterator[Callable[..., str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRID_")}

    def grid(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "opengrid.cli", *arguments],
            cwd=folder / "code",
            env={**clean, "GRID_HOME": str(folder / "home")},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"grid {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    (folder / "code" / "token").write_text(cluster.token)
    options = ("--token-file", "token", "--work-dir", str(folder / "work"))
    grid("clusters", "add", "lab", "--address", cluster.address, *options)
    try:
        yield grid
    finally:
        grid("server", "stop")


if __name__ == "__main__":
    sys.exit(main())
