"""The template: a detached process that has imported torch and does nothing but fork launchers.

It runs no tensor operation, starts no thread and makes no CUDA call: none of them survives a fork. Its death costs
the next start a second, never a running rank.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.gone import is_missing
from opengrid.node import spawn
from opengrid.node.preload.launcher import Launcher
from opengrid.node.preload.loop import Wakeup, Work, readable, reap, run
from opengrid.node.preload.messages import LAUNCH

#: How often an idle template looks whether it is still of use.
_LOOK_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloaded:
    """What a template has in memory."""

    program: str  #: the zipapp (or folder) it runs from
    pid: int
    missing: dict[str, str]  #: modules that could not be imported → why
    environment: dict[str, str]  #: variables that the imports set


def template_main(arguments: list[str]) -> int:
    """`template SOCKET MODULES --idle_s S --lock_fd N`: detach, import, listen, fork launchers; never returns.

    The caller's process ends at once with 0. The lock is released when the socket listens, or when the template has
    failed.
    """
    parser = argparse.ArgumentParser(prog="template")
    parser.add_argument("socket")
    parser.add_argument("modules", help="comma-separated, may be empty")
    parser.add_argument("--idle_s", type=float, default=900.0)
    parser.add_argument("--lock_fd", type=int, required=True)
    options = parser.parse_args(arguments)
    if os.fork() > 0:  # nobody's child: whoever sweeps its own descendants does not find the template
        os._exit(0)
    os.setsid()
    modules = [name for name in options.modules.split(",") if name]
    preloaded = preload(modules)
    # Bound to this name only now: a rank must find nothing of the template's own in sys.argv or __main__.
    template = Template(options.socket, preloaded, idle_s=options.idle_s)
    os.close(options.lock_fd)
    spawn.set_title(f"grid template {','.join(modules)}", "grid template")
    run(template.serve)


def preload(modules: list[str]) -> Preloaded:
    """Import the modules; what cannot be imported is recorded, for the ranks to fail on by themselves."""
    before = dict(os.environ)
    missing: dict[str, str] = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  a broken package may raise anything; the script's own import will show it
            missing[name] = f"{type(error).__name__}: {error}"
    # Lightning's PYTORCH_NVML_BASED_CUDA_CHECK, for one: without it, asking for GPUs initialises CUDA and breaks
    # later forks. Paths are left to each rank: they come from this process's TMPDIR and HOME.
    changed = {k: v for k, v in os.environ.items() if before.get(k) != v and "/" not in v}
    gc.collect()
    gc.freeze()  # what is inherited is never looked at by a child's collector, so its pages stay shared
    return Preloaded(program=os.path.abspath(sys.path[0]), pid=os.getpid(), missing=missing, environment=changed)


class Template:
    """Listens, forks a launcher per connection, kills what a killed launcher left behind."""

    def __init__(self, path: str, preloaded: Preloaded, *, idle_s: float) -> None:
        self._path = path
        self._preloaded = preloaded
        self._idle_s = idle_s
        self._launchers: set[int] = set()
        self._waiting: dict[int, socket.socket] = {}  #: accepted, have not said what they want
        self._idle_since = time.monotonic()
        self._wakeup = Wakeup()
        self._listener = _listen(path)
        self._inode = os.stat(path).st_ino
        spawn.adopt_orphans()

    def serve(self) -> Work | None:
        """Loop until idle for long enough, or of no use. Returns the launcher's work in each process forked for one."""
        while self._launchers or (time.monotonic() < self._idle_since + self._idle_s and self._is_of_use()):
            watched = [self._wakeup.fileno(), self._listener.fileno(), *self._waiting]
            left_s = self._idle_since + self._idle_s - time.monotonic()
            ready = readable(watched, None if self._launchers else min(left_s, _LOOK_S))
            if self._wakeup.fileno() in ready:
                self._reap()
            if self._listener.fileno() in ready:
                self._accept()
            for descriptor in ready & self._waiting.keys():
                work = self._answer(self._waiting.pop(descriptor))
                if work is not None:
                    return work
        self._remove_socket()
        return None

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if peer(connection)[1] == os.getuid():
            connection.setblocking(False)
            self._waiting[connection.fileno()] = connection
        else:
            connection.close()

    def _answer(self, connection: socket.socket) -> Work | None:
        try:
            wanted = connection.recv(1)
        except OSError:
            wanted = b""
        if wanted != LAUNCH:  # somebody only looked whether we listen
            connection.close()
            return None
        self._idle_since = time.monotonic()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except (
            OSError
        ) as error:  # too many processes, no memory: the client sees the end of the connection, and tries again
            print(f"grid template: {error}", file=sys.stderr, flush=True)
            pid = None
        if pid == 0:
            return self._become_launcher(connection)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if pid is not None:
            self._launchers.add(pid)
        connection.close()
        return None

    def _become_launcher(self, connection: socket.socket) -> Work:
        self._wakeup.close()
        self._listener.close()
        for other in self._waiting.values():
            other.close()
        os.setsid()
        connection.setblocking(True)
        launcher = Launcher(connection, self._preloaded)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return launcher.serve

    def _reap(self) -> None:
        self._wakeup.drain()
        for pid, _, _ in reap():
            if pid in self._launchers:
                self._launchers.discard(pid)
                self._idle_since = time.monotonic()
        # Children that are no launchers are orphans of a killed one. Their own children come to us when they die, with
        # another SIGCHLD each, so that this ends with nobody left.
        spawn.kill_below([os.getpid()], spare=self._launchers)

    def _is_of_use(self) -> bool:
        """Whether anybody can still ask for a launcher: knows our program, and finds our socket."""
        return not is_missing(Path(self._preloaded.program)) and not is_missing(Path(self._path))

    def _remove_socket(self) -> None:
        try:
            if os.stat(self._path).st_ino == self._inode:  # not a successor's
                os.unlink(self._path)
        except OSError:
            pass


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end of a unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return pid, uid


def _listen(path: str) -> socket.socket:
    """Bind the socket. Only the lock's holder comes here, and only when nobody answered: what lies there is stale."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener.bind(path)
    listener.listen(128)
    listener.setblocking(False)
    return listener
