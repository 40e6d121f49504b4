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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.missing import missing

#: Ray's own start takes 9 s on an idle machine, and was seen to take 42 s on a loaded one.
_START_S = 150

#: Lost nodes are noticed after seconds instead of a minute.
_QUICK = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_raylet_start_wait_time_s": "120",  # on a loaded machine its 30 are not enough
    "RAY_enable_metrics_collection": "0",  # which nobody reads here
}

#: Nothing is sent to Ray's makers, and nobody wants workers' output on the drivers' screens.
_LEAN = ("--disable-usage-stats", "--include-log-monitor=False")

#: What a cluster file must have, though nothing is done by it here.
_COMMANDS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter"),
)

#: So long Ray waits with these for a node that has been there and is silent.
QUICK_LOSS_S = 3 * (1 + 2)


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
            starting = subprocess.Popen(
                [*prefix, str(Path(sys.executable).parent / "ray"), "start", *_LEAN, *arguments],
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            code = starting.wait(_START_S)
        except subprocess.TimeoutExpired:
            code = None
            starting.kill()
        assert code == 0, f"ray start {arguments}: {code}\n{log.read_text()}"

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


@dataclass
class Machines:
    """Network namespaces as machines: each with an address, a host name and a /tmp of its own."""

    network: str  #: such as 10.77.3
    prefix: str
    ray: RayCluster

    @property
    def here(self) -> str:
        """This computer's address, as the machines see it."""
        return f"{self.network}.1"

    @property
    def scaling_file(self) -> Path:
        """Where the machines see it, too: /tmp is another one on each of them."""
        return Path("/var/tmp", f"{self.prefix}-scaling.json")

    def address(self, index: int) -> str:
        return f"{self.network}.{10 + index}"

    def name(self, index: int) -> str:
        return f"{self.prefix}{index}"

    def start_head(self) -> None:
        self.ray.address, self.ray.gcs = f"http://{self.address(0)}:8265", f"{self.address(0)}:6379"
        self._start(0, "--head", "--port=6379", "--dashboard-host=0.0.0.0", "--num-cpus=0", "--num-gpus=0")

    def start_scaling_head(self, types: Mapping[str, Mapping[str, float]], *, most: int) -> None:
        """Start a head whose autoscaler starts nodes of these types, on the head's own machine."""
        self.ray.address, self.ray.gcs = f"http://{self.address(0)}:8265", f"{self.address(0)}:6379"
        provider = {"type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True}
        kinds = {
            name: {
                "resources": {**resources, "object_store_memory": 80_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            }
            for name, resources in types.items()
        }
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        config = {
            "cluster_name": "fake",
            "max_workers": most * len(types),
            "provider": {**provider, "disable_launch_config_check": True, "gcs_address": self.ray.gcs},
            "available_node_types": {**kinds, "ray.head.default": head},
            "head_node_type": "ray.head.default",
            "idle_timeout_minutes": 0.1,
            "upscaling_speed": 1.0,
            **{name: {} for name in ("auth", "docker", "file_mounts")},
            **{name: [] for name in _COMMANDS},
            "file_mounts_sync_continuously": False,
        }
        self.scaling_file.write_text(json.dumps(config))
        self._start(
            0,
            *("--head", "--port=6379", "--dashboard-host=0.0.0.0", "--num-cpus=0", "--num-gpus=0"),
            f"--autoscaling-config={self.scaling_file}",
            AUTOSCALER_UPDATE_INTERVAL_S="1",
            RAY_FAKE_CLUSTER="1",
        )

    def start_node(self, index: int, *, cpus: int, gpus: int) -> None:
        self._start(index, f"--address={self.ray.gcs}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")

    def cut(self, index: int) -> None:
        """Pull the plug of the network."""
        _ip("-n", self.name(index), "link", "set", "eth0", "down")

    def mend(self, index: int) -> None:
        """Put the plug back in; the route went with it."""
        _ip("-n", self.name(index), "link", "set", "eth0", "up")
        _ip("-n", self.name(index), "route", "add", "default", "via", self.here)

    def pids(self, index: int) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.name(index)).split()]

    def kill(self, index: int) -> None:
        """End everything on a machine, at once."""
        for pid in self.pids(index):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self, index: int, *arguments: str, **environment: str) -> None:
        # nsenter and not `ip netns exec`, which hides /sys/fs/cgroup; no name server, which none of them could reach.
        script = (
            f"hostname {self.name(index)} && mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && "
            'mount --bind /dev/null /etc/resolv.conf && exec "$@"'
        )
        inside = ("unshare", "--mount", "--uts", "sh", "-c", script, "sh")
        self.ray.start(
            *arguments,
            f"--node-ip-address={self.address(index)}",
            "--object-store-memory=80000000",
            prefix=("nsenter", f"--net=/run/netns/{self.name(index)}", *inside),
            **environment,
        )


@contextlib.contextmanager
def machines(folder: Path, count: int) -> Iterator[Machines]:
    """Give that many machines on a network of their own, without anything on them yet."""
    need_ray()
    if os.geteuid() != 0 or subprocess.run(["ip", "netns", "list"], capture_output=True).returncode != 0:
        missing("netns", "only root may make network namespaces, and `ip` must be there")
    number = os.getpid() % 250
    made = Machines(network=f"10.87.{number}", prefix=f"og{number}n", ray=RayCluster(folder))
    bridge = f"og{number}br"
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{made.here}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for index in range(count):
            name, here = made.name(index), f"{made.prefix}v{index}"
            _ip("netns", "add", name)
            _ip("link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", here, "master", bridge, "up")
            _ip("-n", name, "addr", "add", f"{made.address(index)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "route", "add", "default", "via", made.here)
        yield made
    finally:
        for index in range(count):
            with contextlib.suppress(subprocess.CalledProcessError):
                made.kill(index)
        made.ray.stop()
        made.scaling_file.unlink(missing_ok=True)
        for index in range(count):
            # By itself: a namespace, and its end of the cable, may outlive its name by what the kernel has to do there.
            for what in (("link", "del", f"{made.prefix}v{index}"), ("netns", "del", made.name(index))):
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip(*what)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", bridge)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30).stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":  # python -m tests.support.ray_cluster FOLDER CPUS GPUS: until Ctrl-C
    with single_node_ray(Path(sys.argv[1]), cpus=int(sys.argv[2]), gpus=int(sys.argv[3])) as ray:
        print(json.dumps({"address": ray.address, "token": ray.token}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
