"""What this computer has: GPUs, CPUs, memory; and what an interpreter on it has installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opengrid.core.errors import Unusable
from opengrid.core.nvml import Gpu
from opengrid.planning.inventory import Accelerator, Interpreter, Inventory

_PROBE_TIMEOUT_S = 60


def host_inventory(gpus: Sequence[Gpu], busy: Mapping[str, str]) -> Inventory:
    """Return this computer; `busy` says of GPUs why they cannot be taken now."""
    memory = _meminfo()
    return Inventory(
        hostname=socket.gethostname(),
        cpus=len(os.sched_getaffinity(0)),
        memory_mib=memory["MemTotal"] >> 10,
        available_mib=memory["MemAvailable"] >> 10,
        accelerators=tuple(
            Accelerator(uuid=gpu.uuid, name=gpu.name, memory_mib=gpu.memory_mib, busy=busy.get(gpu.uuid))
            for gpu in gpus
        ),
    )


def _meminfo() -> dict[str, int]:
    """Return /proc/meminfo in KiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def has_mounts(zipapp: Path) -> bool:
    """Return whether a process here may have a mount namespace of its own, and a read-only mount in it."""
    command = [sys.executable, "-I", "-S", str(zipapp), "mounts"]
    try:
        null = subprocess.DEVNULL
        return subprocess.call(command, cwd="/", stdin=null, stdout=null, stderr=null, timeout=_PROBE_TIMEOUT_S) == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Interpreters:
    """Asks interpreters what they have, once for as long as nothing is installed into them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], tuple[Interpreter, dict[str, int]]] = {}

    def read(self, python: str, shell: Mapping[str, str], zipapp: Path) -> Interpreter:
        """Return what an interpreter has installed; Unusable when it does not run."""
        environment = {name: shell[name] for name in ("PATH", "HOME", "USER", "LANG") if name in shell}
        key = (python, environment.get("HOME"))
        known = self._known.get(key)
        if known is not None and known[1] == _changed_at(known[1]):
            return known[0]
        found = _probe(python, environment, zipapp)
        interpreter = Interpreter(
            path=python,
            version=found["version"],
            torch=found["versions"].get("torch"),
            lightning=found["versions"].get("lightning") or found["versions"].get("pytorch_lightning"),
        )
        self._known[key] = (interpreter, _changed_at([python, *found["site_packages"]]))
        return interpreter


def _changed_at(paths: Iterable[str]) -> dict[str, int]:
    """Return when each path last changed: installing a package changes one of an interpreter's folders."""
    return {path: os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in paths}


def _probe(python: str, environment: Mapping[str, str], zipapp: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [python, str(zipapp), "probe"],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        return json.loads(done.stdout)
    except OSError as error:
        raise _unusable(python, error.strerror or str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise _unusable(python, f"it did not answer within {_PROBE_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise _unusable(python, last[0] if last else f"it exited with {error.returncode}") from error
    except ValueError as error:
        raise _unusable(python, "what it printed is no description of a Python") from error


def _unusable(python: str, why: str) -> Unusable:
    return Unusable(
        f"{python} cannot run the script: {why}", hint="give another interpreter with --python (3.10 or newer)"
    )
