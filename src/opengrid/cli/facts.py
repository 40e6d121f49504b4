"""What this computer is like, for `grid doctor`: asked of the system, of torch and of the server."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opengrid.client.connect import running
from opengrid.client.home import find_home, network_of
from opengrid.client.http import proxy_of
from opengrid.client.program import find_python
from opengrid.core.errors import GridError
from opengrid.core.nvml import gpus
from opengrid.engines.local.host import host_inventory
from opengrid.planning.health import Facts, Torch

_TORCH_TIMEOUT_S = 120

#: Runs in the ranks' interpreter.
_ASK_TORCH = """
import json, torch
usable = torch.cuda.is_available()
nccl = ".".join(map(str, torch.cuda.nccl.version())) if usable and torch.distributed.is_nccl_available() else None
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda,
                  "devices": torch.cuda.device_count() if usable else 0, "nccl": nccl}))
"""


def read_facts(environment: Mapping[str, str], python: str | None) -> Facts:
    """Return what can be found out. Blocks for the seconds that torch takes to load."""
    home = find_home(environment)
    interpreter = find_python(python, environment, Path.cwd())
    torch, torch_problem = _torch(interpreter, environment)
    found = gpus(environment.get("GRID_NVML_LIBRARY"))
    host = host_inventory(found, {gpu.uuid: f"in use by process {gpu.pids[0]}" for gpu in found if gpu.pids})
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    server, server_problem = _server(environment)
    return Facts(
        python=interpreter,
        torch=torch,
        torch_problem=torch_problem,
        gpus=host.accelerators,
        visible=environment.get("CUDA_VISIBLE_DEVICES"),
        memory_mib=host.memory_mib,
        available_mib=host.available_mib,
        shm_mib=shutil.disk_usage("/dev/shm").total >> 20 if os.path.ismount("/dev/shm") else None,  # noqa: S108
        open_files=files,
        open_files_most=most_files,
        processes=resource.getrlimit(resource.RLIMIT_NPROC)[0],
        locked_kib=_kib(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]),
        has_infiniband=os.path.isdir("/sys/class/infiniband"),
        state=str(home.state),
        state_network=network_of(home.state),
        home_network=network_of(home.root),
        disk_free_mib=shutil.disk_usage(_existing(home.state)).free >> 20,
        hostname=host.hostname,
        lookup_s=_lookup_s(host.hostname),
        loopback_problem=_loopback_problem(),
        proxy=proxy_of(server) if server else "",
        server=server,
        server_problem=server_problem,
        git=_git(),
    )


def _torch(python: str, environment: Mapping[str, str]) -> tuple[Torch | None, str]:
    try:
        done = subprocess.run(
            [python, "-c", _ASK_TORCH],
            env=dict(environment),
            cwd="/",  # a torch.py of the user's would be loaded instead
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TORCH_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        return None, error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return None, f"torch did not load within {_TORCH_TIMEOUT_S} s"
    if done.returncode == 0:
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return Torch(**said), ""
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return None, "torch is not installed" if "No module named 'torch'" in last[0] else f"torch does not load: {last[0]}"


def _server(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the address of the server that commands use, and what is wrong with it."""
    try:
        http = running(environment, timeout_s=5)
        if http is None:
            return "", ""
        with contextlib.closing(http):
            http.request("GET", "/api/v1/session")
            return http.url, ""
    except GridError as error:
        return "", error.message


def _lookup_s(hostname: str) -> float | None:
    began = time.monotonic()
    try:
        socket.getaddrinfo(hostname, None)
    except OSError:
        return None
    return time.monotonic() - began


def _loopback_problem() -> str:
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname(), 5):
            return ""
    except OSError as error:
        return f"127.0.0.1 cannot be used: {error.strerror or error}"


def _git() -> str | None:
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().removeprefix("git version ")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _kib(size: int) -> int:
    return size if size < 0 else size >> 10
