"""What a machine of a cluster says about itself: `python agent.pyz about SERVER GPUS [CERTIFICATE]` prints JSON.

The interpreter that runs it is the one that ranks will run with. `GPUS` is how many the engine counts there, and the
certificate the file of the one to expect at the server.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from opengrid.client.http import Http
from opengrid.core.errors import GridError
from opengrid.core.nvml import gpus
from opengrid.node.accelerators import is_bare

#: Variables of torch's version file, and what people call the builds that have one.
_BUILDS = (("cuda", "CUDA"), ("hip", "ROCm"), ("xpu", "XPU"))
_SAID = re.compile(r"^(__version__|cuda|hip|xpu)\b[^=\n]*= *['\"]([^'\"]+)['\"]", re.MULTILINE)

_TIMEOUT_S = 10.0


def about_main(arguments: list[str]) -> int:
    """`about`: print what this machine has, and what would keep a run from using it."""
    server, counted, certificate = arguments[0], int(arguments[1]), next(iter(arguments[2:]), None)
    torch, build = _torch()
    models = [gpu.name for gpu in gpus(os.environ.get("GRID_NVML_LIBRARY"))]
    is_counted_only = bool(counted) and not models and is_bare()
    mounts, no_mounts = _mounts()
    took_ms, unreachable = _way_to(server, certificate)
    problems = [unreachable]
    if torch is None:
        problems.append(f"{sys.executable} has no torch")
    if counted and not is_counted_only:
        problems.append(_why_gpus_are_idle(counted, models, build))
    found = {
        "hostname": socket.gethostname(),
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "torch": torch,
        "torch_build": build,
        "lightning": _version("lightning") or _version("pytorch-lightning"),
        "gpus": counted,
        "gpu_models": models,
        "gpus_are_simulated": is_counted_only,
        "mounts": mounts,
        "no_mounts": no_mounts,
        "round_trip_ms": took_ms,
        "problem": "; ".join(filter(None, problems)) or None,
    }
    print(json.dumps(found))
    return 0


def _why_gpus_are_idle(counted: int, models: list[str], build: str | None) -> str | None:
    if build == "CPU":
        return f"its torch is built for CPUs, and there are {counted} GPUs"
    if build is not None and build.startswith("CUDA") and len(models) < counted:
        return f"its driver shows {len(models)} of {counted} GPUs"
    return None


def _torch() -> tuple[str | None, str | None]:
    """Return the version of torch and what it was built for, without importing it: CPU, CUDA 13.0."""
    spec = importlib.machinery.PathFinder.find_spec("torch", sys.path[1:])
    if spec is None or spec.origin is None:
        return None, None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text()
    except OSError:
        return _version("torch") or "", None
    said = dict[str, str](_SAID.findall(text))
    builds = [f"{name} {said[variable]}" for variable, name in _BUILDS if variable in said]
    return said.get("__version__") or _version("torch") or "", next(iter(builds), "CPU")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mounts() -> tuple[str | None, str | None]:
    """Return how ranks here get mounts, or None and why they cannot."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", sys.argv[0], "mounts"], check=False, capture_output=True, text=True
    )
    return (done.stdout.strip(), None) if done.returncode == 0 else (None, done.stderr.strip())


def _way_to(server: str, certificate: str | None) -> tuple[float | None, str | None]:
    """Return how long the server takes to answer an agent of this machine, or None and why it does not."""
    began = time.monotonic()
    try:
        Http(server, certificate=certificate, timeout_s=_TIMEOUT_S).request("GET", "/healthz")
    except GridError as error:
        return None, error.message
    return round((time.monotonic() - began) * 1000, 1), None
