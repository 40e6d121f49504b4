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

#: A machine has so long to tell about itself.
_ABOUT_S = 40.0


class Machine:
    """Runs one agent. What it starts holds a pipe to it: however this process ends, the agent hears of it."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._agent: subprocess.Popen[bytes] | None = None
        self._log = ""

    def run(
        self, ticket: dict[str, object], program_url: str, digest: str, certificate: str | None
    ) -> tuple[int | None, str]:
        """Start the agent, wait until it ends, and return its exit code and last words; None when it cannot start."""
        try:
            self._start(ticket, program_url, digest, certificate)
        except (OSError, ValueError) as error:
            return None, _words_of(error)
        return self.wait()

    def _start(self, ticket: dict[str, object], program_url: str, digest: str, certificate: str | None) -> None:
        state = str(ticket["state_dir"])
        program = _bring(program_url, digest, state)
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
                env=_environment(),
                start_new_session=True,  # a signal to this worker's group must not end ranks without their agent
            )
        self._started.set()

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

    def about(
        self, server: str, gpus: int, program_url: str, digest: str, certificate: str | None, state: str, python: str
    ) -> dict[str, object]:
        """Return what the program says of this machine, brought as for a run and run by the ranks' interpreter."""
        python = python or sys.executable
        try:
            program = _bring(program_url, digest, state)
            pem = [] if certificate is None else [_write(os.path.join(state, "server.pem"), certificate)]
            done = subprocess.run(
                [python, program, "about", server, str(gpus), *pem],
                check=False,
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ABOUT_S,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return {"hostname": socket.gethostname(), "problem": _words_of(error)}
        if done.returncode != 0:
            last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "")
            return {"hostname": socket.gethostname(), "problem": f"{python} does not run: {last or done.returncode}"}
        return {**json.loads(done.stdout), "ray": importlib.metadata.version("ray")}


def _words_of(error: Exception) -> str:
    """Return what an error says, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _environment() -> dict[str, str]:
    """Return this machine's variables; Ray's own, its token for one, are nothing to the user's program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _own_address() -> str:
    """Return where the other nodes of the cluster reach this one."""
    import ray.util  # there is one where this runs; whoever else reads this module need not have it

    return cast("Callable[[], str]", ray.util.get_node_ip_address)()  # pyright: ignore[reportUnknownMemberType]


def _make_private(folder: str) -> None:
    """Make a folder of our own, or make sure that it is ours: its path is known to everybody on this machine."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    about = os.lstat(folder)
    if about.st_uid != os.geteuid() or os.path.islink(folder):
        raise PermissionError(f"{folder} belongs to somebody else: choose another --work-dir for the cluster")


def _bring(url: str, digest: str, state: str) -> str:
    """Return our program in a folder that is only ours."""
    _make_private(os.path.dirname(state))
    os.makedirs(state, mode=0o700, exist_ok=True)
    return _fetch(url, digest, state)


def _fetch(url: str, digest: str, folder: str) -> str:
    """Bring the program from the server, once per machine and version; its digest says that it is the right one."""
    target = os.path.join(folder, f"agent-{digest[:16]}.pyz")
    if not os.path.exists(target):
        try:
            with _opener(url).open(url, timeout=60) as answer:
                program = answer.read()
        except OSError as error:
            why = getattr(error, "reason", error)
            raise ValueError(f"{url} cannot be fetched: {getattr(why, 'strerror', None) or why}") from error
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
