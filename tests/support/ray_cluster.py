"""Real Ray: a head, and further nodes in network namespaces. Ended by the processes' own mark, never by `ray stop`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import missing

#: Ray's own start takes 9 s on an idle machine, and was seen to take 42 s on a loaded one.
_START_S = 150

#: Lost nodes are noticed after seconds instead of a minute.
_QUICK = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


def need_ray() -> None:
    """Skip where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        missing("ray", "Ray is not installed here: pip install 'opengrid[ray]'")


@dataclass
class RayCluster:
    """One head; its processes and those of its nodes carry a mark in their environment."""

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(24))
    mark: str = field(default_factory=lambda: f"OPENGRID_TEST_RAY={secrets.token_hex(8)}")
    address: str = ""  #: of its API
    gcs: str = ""  #: where further nodes join

    def environment(self, **more: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "GRID_", "OPENGRID_", "CUDA_"))}
        name, _, value = self.mark.partition("=")
        path = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return {**kept, **_QUICK, **auth, "PATH": path, "RAY_USAGE_STATS_ENABLED": "0", name: value, **more}

    def start(self, *arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> None:
        """`ray start …`, which returns when the node is up."""
        log = self.folder / f"start-{secrets.token_hex(4)}.log"
        with log.open("wb") as file:
            done = subprocess.run(
                [*prefix, str(Path(sys.executable).parent / "ray"), "start", "--disable-usage-stats", *arguments],
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=_START_S,
            )
        assert done.returncode == 0, log.read_text()

    def pids(self) -> list[int]:
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def stop(self) -> None:
        for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + patience_s
            for pid in self.pids():
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            while self.pids() and time.monotonic() < deadline:
                time.sleep(0.1)


@contextlib.contextmanager
def single_node_ray(folder: Path, *, cpus: int, gpus: int = 0) -> Iterator[RayCluster]:
    """Give a Ray of one node on this computer's loopback, with a token."""
    need_ray()
    cluster = RayCluster(folder)
    port, dashboard, agent, client = (_free_port() for _ in range(4))
    cluster.address, cluster.gcs = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"
    try:
        cluster.start(
            "--head",
            "--node-ip-address=127.0.0.1",
            f"--port={port}",
            f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={agent}",
            "--dashboard-host=127.0.0.1",
            f"--ray-client-server-port={client}",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            "--object-store-memory=80000000",
            f"--temp-dir={folder}",
        )
        yield cluster
    finally:
        cluster.stop()


def add_node(cluster: RayCluster, *, cpus: int, gpus: int = 0) -> None:
    """Add a second node on the same computer."""
    cluster.start(
        f"--address={cluster.gcs}",
        "--node-ip-address=127.0.0.1",
        f"--dashboard-agent-listen-port={_free_port()}",
        f"--num-cpus={cpus}",
        f"--num-gpus={gpus}",
        "--object-store-memory=80000000",
    )


@pytest.fixture(scope="session")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Two nodes on this computer, for all tests of the session."""
    with (
        tempfile.TemporaryDirectory(prefix="og-ray-", dir="/tmp") as folder,  # its sockets' paths must be short
        single_node_ray(Path(folder), cpus=8, gpus=4) as cluster,
    ):
        add_node(cluster, cpus=8, gpus=4)
        yield cluster


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":  # python -m tests.support.ray_cluster FOLDER CPUS GPUS: until Ctrl-C
    with single_node_ray(Path(sys.argv[1]), cpus=int(sys.argv[2]), gpus=int(sys.argv[3])) as ray:
        print(json.dumps({"address": ray.address, "token": ray.token}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
