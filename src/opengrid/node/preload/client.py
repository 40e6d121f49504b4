"""What an agent calls: make sure that a template runs, and get a launcher of its own, to start and end ranks through.

spec = TemplateSpec(python=…, program=…, preload=("torch", "torch.distributed"), site_packages=…)
launcher = connect_launcher(spec)              # starts the template when none runs
port = launcher.open_store("10.0.0.7", "grid brave-otter-1 store")
launcher.start(ranks)
select([launcher], …); for event in launcher.events(): …
launcher.clear()                               # → Cleared: no process of the generation is left
launcher.close()
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import socket
import stat
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opengrid.core.errors import Unusable
from opengrid.core.locks import try_lock
from opengrid.node.preload.connection import Launcher, PreloadFailed
from opengrid.node.preload.messages import LAUNCH, LauncherReady, LineReader, decode_reply

#: Longest path of a unix socket, without the final NUL.
_SOCKET_PATH_LIMIT = 107

#: Variables of the caller that a template may see; everything else would leak into what its ranks were loaded with.
#: By the last one, a cluster that we have started on a host finds all its processes there when it is removed.
_TEMPLATE_ENVIRONMENT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "OPENGRID_NODE",
)

#: Beginnings of those that make a difference to ranks, or to whom a template belongs.
_TELLING = ("L", "TZ", "TMP", "OPENGRID")


def default_directory() -> str:
    """Return this user's folder for sockets: short, on this host, the same whatever the environment says."""
    return f"/tmp/opengrid-{os.getuid()}"  # noqa: S108  its owner and mode are checked before use


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSpec:
    """Which template: equal specs in equal places share one process."""

    python: str  #: the user's interpreter
    program: str  #: our zipapp, or a folder with `__main__.py`; it must never be changed under a running template
    preload: tuple[str, ...]  #: modules to import; () for programs that are no Python, or need no torch
    site_packages: tuple[str, ...] = ()  #: folders of the interpreter (see probe); an installation changes the template
    idle_s: float = 900.0  #: it ends after this long without a launcher
    directory: str = field(default_factory=default_directory)  #: for socket, lock, log; short, on this host

    def name(self) -> str:
        """Return a short name of everything that must be equal for a template to be shared."""
        interpreter = os.path.realpath(self.python)
        parts = [
            self.python,  # a venv's link and its target have different packages
            _stamp(interpreter),
            [_stamp(folder) for folder in self.site_packages],
            self.preload,
            [self.program, _stamp(self.program)],
            self.idle_s,
            {k: v for k, v in _template_environment(os.environ).items() if k.startswith(_TELLING)},
            _place(),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def ensure_template(spec: TemplateSpec, *, timeout_s: float = 120.0) -> Path:
    """Return the socket of a listening template, starting one when there is none. Blocks while it imports its modules.

    Any number of processes may call this at once: one template comes out, and all return when it listens. A dead
    template's socket is replaced. PreloadFailed when it cannot be started, Unusable when the folder for the socket is
    not safe.
    """
    path = _socket_path(spec)
    deadline = time.monotonic() + timeout_s
    started = False
    while not _listens(path):
        lock = _try_lock(path)
        if lock is not None:
            try:
                # Whoever had the lock before us may have finished in between.
                if _listens(path):
                    break
                if started:
                    raise PreloadFailed(f"the template of {spec.python} ended at once: {_log_tail(path)}")
                _start_template(spec, path, lock)
                started = True
            finally:
                os.close(lock)  # the template holds its copy until it listens
        if time.monotonic() > deadline:
            raise PreloadFailed(f"the template of {spec.python} is not ready after {timeout_s:g} s: {_log_tail(path)}")
        time.sleep(0.005)
    return path


def connect_launcher(spec: TemplateSpec, *, timeout_s: float = 120.0) -> Launcher:
    """Return a launcher of one's own, starting the template when there is none. Blocks until it has answered."""
    deadline = time.monotonic() + timeout_s
    while True:
        path = ensure_template(spec, timeout_s=max(0.1, deadline - time.monotonic()))
        launcher = _try_launcher(path, deadline)
        if launcher is not None:
            return launcher
        if time.monotonic() > deadline:
            raise PreloadFailed(f"the template of {spec.python} gives no launcher: {_log_tail(path)}")


def _try_launcher(path: Path, deadline: float) -> Launcher | None:
    """Ask the template for a launcher; None when the template ended meanwhile."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        connection.connect(str(path))
        connection.sendall(LAUNCH)
        reader = LineReader(connection)
        while True:
            lines = reader.read()
            if lines is None:
                connection.close()
                return None
            for line in lines:
                reply = decode_reply(line)
                if isinstance(reply, LauncherReady):
                    connection.settimeout(None)
                    return Launcher(connection, reply)
    except OSError:
        connection.close()
        return None


def _socket_path(spec: TemplateSpec) -> Path:
    path = _safe_directory(spec.directory) / f"{spec.name()}.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise Unusable(f"the path of a unix socket has at most {_SOCKET_PATH_LIMIT} bytes: {path}")
    return path


def _safe_directory(name: str) -> Path:
    """Make the folder, or check that nobody else can put a socket there: /tmp is everyone's."""
    directory = Path(name)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Unusable(
            f"{directory} must be a folder of user {os.getuid()} that nobody else can enter",
            hint="somebody else may have made it; remove it",
        )
    return directory


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def _try_lock(path: Path) -> int | None:
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not try_lock(lock):
        os.close(lock)
        return None
    return lock


def _start_template(spec: TemplateSpec, path: Path, lock: int) -> None:
    command = [spec.python, spec.program, "template", str(path), ",".join(spec.preload)]
    with open(path.with_suffix(".log"), "wb") as log:
        try:
            process = subprocess.Popen(
                [*command, "--idle_s", str(spec.idle_s), "--lock_fd", str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_template_environment(os.environ), "GRID_TEMPLATE": path.stem},
                cwd="/",
                pass_fds=(lock,),
                start_new_session=True,
            )
        except OSError as error:
            raise PreloadFailed(f"{spec.python} cannot be started: {error.strerror}") from error
    # It detaches from itself at once; what remains is ours to reap.
    if process.wait(timeout=60) != 0:
        raise PreloadFailed(f"{spec.python} cannot run a template: {_log_tail(path)}")


def _template_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in _TEMPLATE_ENVIRONMENT if name in environment}


def _log_tail(path: Path) -> str:
    try:
        return path.with_suffix(".log").read_text(errors="replace")[-2000:].strip() or "its log is empty"
    except OSError:
        return "it has no log"


def _stamp(path: str) -> list[str | int]:
    try:
        return [path, os.stat(path).st_mtime_ns]
    except OSError:
        return [path, 0]


def _place() -> list[object]:
    """Return what a fork inherits and a new process would get from its starter: equal, where a template is shared.

    A rank of one Slurm job must not live in another's cgroup, nor one of a network namespace outside of it.
    """
    with open("/proc/self/status") as lines:
        mask = next((line for line in lines if line.startswith("Umask:")), "")
    try:
        cgroup = Path("/proc/self/cgroup").read_text()
    except OSError:
        cgroup = ""
    limits = [resource.getrlimit(getattr(resource, n)) for n in sorted(dir(resource)) if n.startswith("RLIMIT_")]
    spaces = [os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "net", "pid", "ipc", "user", "uts")]
    return [cgroup, spaces, limits, sorted(os.sched_getaffinity(0)), os.nice(0), mask, os.getgroups()]
