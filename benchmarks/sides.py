"""The two sides of every comparison: the same script under `grid run` and under the installed torchrun."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")
EXAMPLES = Path(__file__).parents[1] / "examples"
_PATIENCE_S = 180.0


class Bench:
    """A folder with the scripts, a home with a server, and the processes started from them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="og-bench-"))
        self.began = time.time()
        self.code = self.folder / "code"
        shutil.copytree(SCRIPTS, self.code)
        shutil.copy(EXAMPLES / "torch_elastic_vae.py", self.code)
        self._torchruns: list[subprocess.Popen[bytes]] = []
        self._outs = 0
        self.new_home()

    def new_home(self) -> None:
        """Take a fresh home with a server that is up; nothing is preloaded for it yet."""
        if hasattr(self, "home"):
            self.grid("server", "stop")
        self.home = Path(tempfile.mkdtemp(dir=self.folder))
        self.grid("server", "start")
        self.grid("run", "--dry_run", "ready.py")  # builds the agents' zipapp, which is no part of a start

    def out(self) -> Path:
        """Return a fresh folder for what ranks leave."""
        self._outs += 1
        folder = self.folder / f"out{self._outs}"
        folder.mkdir()
        return folder

    def grid(self, *arguments: str) -> str:
        """Run a command of grid; return its stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "opengrid.cli", *arguments],
            cwd=self.code,
            env=self._environment(GRID_HOME=str(self.home)),
            capture_output=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"grid {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of grid whose stdout is read while it runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "opengrid.cli", *arguments],
            cwd=self.code,
            env=self._environment(GRID_HOME=str(self.home)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self, out: Path, script: str, *options: str, arguments: Sequence[str] = ()) -> str:
        """`grid run --detach`; return the experiment's name."""
        typed = [
            "run",
            "--detach",
            "-o",
            "json",
            "--framework",
            "torch",
            "--env",
            f"BENCH_OUT={out}",
            *options,
            script,
            *arguments,
        ]
        return json.loads(self.grid(*typed))["experiments"][0]

    def torchrun(
        self,
        out: Path,
        script: str,
        nodes: int,
        ranks: int,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the same under torchrun, one process per node."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        base = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
        meet = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
        where = ["--standalone"] if nodes == 1 else [*meet, "--rdzv-id", "bench"]
        variables = self._environment(BENCH_OUT=str(out), OMP_NUM_THREADS="1", **(environment or {}))
        for node in range(nodes):
            with (out / f"torchrun.{node}").open("wb") as log:
                command = [*base, *where, *options, script]
                self._torchruns.append(subprocess.Popen(command, cwd=self.code, env=variables, stdout=log, stderr=log))

    @property
    def torchruns(self) -> list[int]:
        """Pids of the torchrun processes that were started."""
        return [process.pid for process in self._torchruns]

    def end(self, out: Path, experiment: str | None = None) -> None:
        """Let the ranks of one run end, and wait for that."""
        (out / "stop").touch()
        for process in self._torchruns:
            process.wait(_PATIENCE_S)
        self._torchruns.clear()
        if experiment is not None:
            ended = ("succeeded", "failed", "stopped")
            wait_until(lambda: json.loads(self.grid("status", "-o", "json", experiment))["state"] in ended)

    def close(self) -> None:
        """End the server, and the templates that were made for this benchmark; remove everything."""
        self.grid("server", "stop")
        for pid in grid_processes(self.began):
            os.kill(pid, 9)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, **more: str) -> dict[str, str]:
        return {**{k: v for k, v in os.environ.items() if not k.startswith("GRID_")}, **more}


def grid_processes(since: float) -> list[int]:
    """Return templates, launchers, stores and ranks (all are titled `grid …`) that began after a time."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            started = int((folder / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
        if title.startswith(b"grid ") and boot + started > since - 1:
            found.append(int(folder.name))
    return found


def wait_until(is_true: Callable[[], object], *, patience_s: float = _PATIENCE_S) -> None:
    """Look every 20 ms; RuntimeError after a few minutes, or so many seconds."""
    deadline = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > deadline:
            raise RuntimeError("a benchmark waited in vain")
        time.sleep(0.02)


def all_ready(out: Path, ranks: int) -> float:
    """Wait for all ranks of a ready.py; return when the last one was."""
    files = [out / f"ready.{rank}" for rank in range(ranks)]
    wait_until(lambda: all(file.exists() for file in files))
    return max(float(file.read_text()) for file in files)


def pss_mb(pids: Sequence[int]) -> float:
    """Return the proportional set size of processes, in MB."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1000


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    except OSError:
        pass
    return found
