"""The actor on each machine: runs the agent, and takes it along when it dies.

Ray ships this module to the machines by value: it may use the standard library and Ray, and nothing of ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import cast

#: An earlier agent of the same attempt on this machine has so long to end.
_LOCK_WAIT_S = 120.0


class Machine:
    """Runs one agent. What it starts holds a pipe to it: however this process ends, the agent hears of it."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._agent: subprocess.Popen[bytes] | None = None
        self._log = ""

    def run(self, ticket: dict[str, object], program_url: str, digest: str, certificate: str | None) -> tuple[int, str]:
        """Start the agent, wait until it ends, and return its exit code and last words."""
        state = str(ticket["state_dir"])
        _make_private(os.path.dirname(state))
        os.makedirs(state, mode=0o700, exist_ok=True)
        program = _fetch(program_url, digest, state)
        if certificate is not None:
            ticket = {**ticket, "certificate": _write(os.path.join(state, "server.pem"), certificate)}
        name = os.path.join(state, f"{ticket['attempt_id']}-{ticket['machine']}")
        _wait_for_lock(f"{name}.lock")
        _write(f"{name}.ticket", json.dumps(ticket))
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        self._log = f"{name}.log"
        with open(self._log, "ab") as log:
            self._agent = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", program, "agent", f"{name}.ticket"),
                    *("--leash", "stdin", "--shell", "own", "--work", "remove", "--devices", devices),
                    *("--address", _own_address()),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                # Ray's own, its token for one, is nothing to the user's program.
                env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
                start_new_session=True,  # a signal to this worker's group must not end ranks without their agent
            )
        self._started.set()
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Wait for the agent that `run` started, or is about to; return the same."""
        self._started.wait()
        assert self._agent is not None  # noqa: S101 - set before the event
        code = self._agent.wait()
        words = _last_line(self._log)
        if code == 0:  # everything is at the server: nothing of it needs to stay here
            for suffix in ("log", "lock"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._log.removesuffix('log')}{suffix}")
        return code, words

    def about(self, server: str) -> dict[str, object]:
        """Return what `grid clusters check` wants to know of a machine."""

        def version(package: str) -> str | None:
            try:
                return importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return None

        return {
            "hostname": socket.gethostname(),
            "python": sys.version.split()[0],
            "executable": sys.executable,
            "ray": version("ray"),
            "torch": version("torch"),
            "lightning": version("lightning") or version("pytorch-lightning"),
            **_way_to(server),
        }


def _own_address() -> str:
    """Return where the other nodes of the cluster reach this one."""
    import ray.util  # there is one where this runs; whoever else reads this module need not have it

    return cast("Callable[[], str]", ray.util.get_node_ip_address)()  # pyright: ignore[reportUnknownMemberType]


def _way_to(server: str) -> dict[str, object]:
    """Return how long the server takes to answer from here, or why it does not."""
    began = time.monotonic()
    try:
        with _opener(server).open(f"{server}/healthz", timeout=10) as answer:
            answer.read()
    except OSError as error:
        return {"problem": f"cannot reach {server}: {getattr(error, 'reason', error)}"}
    return {"round_trip_ms": round((time.monotonic() - began) * 1000, 1)}


def _make_private(folder: str) -> None:
    """Make a folder of our own, or make sure that it is ours: its path is known to everybody on this machine."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    about = os.lstat(folder)
    if about.st_uid != os.geteuid() or os.path.islink(folder):
        raise PermissionError(f"{folder} belongs to somebody else: choose another --work-dir for the cluster")


def _fetch(url: str, digest: str, folder: str) -> str:
    """Bring the program from the server, once per machine and version; its digest says that it is the right one."""
    target = os.path.join(folder, f"agent-{digest[:16]}.pyz")
    if not os.path.exists(target):
        with _opener(url).open(url, timeout=60) as answer:
            program = answer.read()
        if hashlib.sha256(program).hexdigest() != digest:
            raise ValueError(f"the program from {url} is not what it should be")
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(program)
        os.replace(file.name, target)
    return target


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return what opens our server's pages that need no secret: what matters is checked by its digest."""
    near = url.split("/")[2].rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    proxies = urllib.request.ProxyHandler({} if near else None)
    return urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))


def _write(path: str, text: str) -> str:
    partial = f"{path}.{os.getpid()}"
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
    os.replace(partial, path)
    return path


def _wait_for_lock(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(f"an earlier agent holds {path} for more than {_LOCK_WAIT_S:g} s")
    finally:
        os.close(descriptor)


def _last_line(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:  # read and removed by an earlier call
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
