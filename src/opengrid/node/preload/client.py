"""What an agent calls: make sure that a template runs, get a launcher of its own, start and end ranks through it.

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
import select
import socket
import stat
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from opengrid.core.errors import GridError, Unusable
from opengrid.core.locks import try_lock
from opengrid.node.preload.messages import (
    LAUNCH,
    AskMet,
    Clear,
    Cleared,
    DumpStacks,
    LauncherReady,
    LineReader,
    OpenStore,
    RankExited,
    RankStart,
    RankStarted,
    Reply,
    Request,
    SignalRanks,
    StartRanks,
    StoreFailed,
    StoreMet,
    StoreOpened,
    decode_reply,
    encode,
)

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

Event = Union[RankStarted, RankExited, Cleared, StoreFailed, "LauncherLost"]


class PreloadFailed(GridError):
    """A template, launcher or store could not be started; the message ends with what its log says."""

    code = "preload_failed"


@dataclass(frozen=True, slots=True)
class LauncherLost:
    """The launcher is gone: its ranks die with it, and `sweep` should make sure of it. The last event."""


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


class Launcher:
    """An agent's launcher. Not thread-safe: one thread calls start, clear, events and the rest.

    Ranks, store and all their descendants die when this object's connection closes: by close(), or with this process.
    Calls on a lost launcher do nothing, but open_store and store_met, which raise; events() tells the loss.
    """

    def __init__(self, connection: socket.socket, ready: LauncherReady) -> None:
        self.ready = ready  #: its pid, its template's pid, modules that could not be preloaded
        self._connection = connection
        self._lines = LineReader(connection)
        self._events: deque[Event] = deque()
        self._answers: deque[StoreOpened | StoreMet | StoreFailed] = deque()
        self._opening = False
        self._lost = False

    def fileno(self) -> int:
        """Return a descriptor that is readable when events() has something to read.

        open_store and store_met may put events aside while they wait: call events() after them too.
        """
        return self._connection.fileno()

    def start(self, ranks: Sequence[RankStart]) -> None:
        """Start ranks; for each, RankStarted follows, and one day RankExited. Numbers of living ranks must differ.

        A process that the kernel refuses to make is told by RankExited alone, with CANNOT_START and pid 0.
        """
        self._send(StartRanks(ranks=tuple(ranks)))

    def signal(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """Signal the process groups of all living ranks, or of some. SIGKILL reaches sessions and descendants too."""
        self._send(SignalRanks(signal=int(number), ranks=None if ranks is None else tuple(ranks)))

    def dump_stacks(self, ranks: Sequence[int] | None = None) -> None:
        """Have living Python ranks append all threads' stacks to their `stacks` files, a moment later."""
        self._send(DumpStacks(ranks=None if ranks is None else tuple(ranks)))

    def clear(self) -> None:
        """SIGKILL all ranks and whatever ranks left behind, at any depth; the store stays.

        Cleared follows when all are reaped. Call it at the end of every generation: a rank that exited may have left
        children.
        """
        self._send(Clear())

    def open_store(self, address: str, title: str, *, timeout_s: float = 30.0) -> int:
        """End the last generation's store, open a new one and return its port. PreloadFailed when that fails."""
        self._opening = True
        try:
            self._send(OpenStore(address=address, title=title, timeout_s=timeout_s))
            answer = self._wait(lambda a: not isinstance(a, StoreMet), timeout_s + 30)  # torch may have to be loaded
        finally:
            self._opening = False
        if isinstance(answer, StoreOpened):
            return answer.port
        raise PreloadFailed(
            f"no rendezvous store: {answer.message if isinstance(answer, StoreFailed) else 'no answer'}"
        )

    def store_met(self, *, timeout_s: float = 10.0) -> bool | None:
        """Tell whether any rank ever connected to the current store; None when there is none."""
        self._send(AskMet())
        answer = self._wait(lambda a: isinstance(a, StoreMet), timeout_s)
        return answer.met if isinstance(answer, StoreMet) else None

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order, without blocking. LauncherLost comes once, last."""
        while not self._lost and _can_read(self._connection, 0):
            self._receive()
        happened = list(self._events)
        self._events.clear()
        return happened

    def close(self, *, timeout_s: float = 35.0) -> None:
        """End everything below the launcher and the launcher; returns when they are gone (or stuck in the kernel)."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + timeout_s
        while not self._lost and _can_read(self._connection, deadline - time.monotonic()):
            self._receive()
        self._connection.close()
        self._lost = True

    def _send(self, request: Request) -> None:
        if self._lost:
            return
        with contextlib.suppress(OSError):  # the loss is found when what it still had to say has been read
            self._connection.sendall(encode(request))

    def _wait(
        self, wanted: Callable[[StoreOpened | StoreMet | StoreFailed], bool], timeout_s: float
    ) -> StoreOpened | StoreMet | StoreFailed:
        deadline = time.monotonic() + timeout_s
        self._answers.clear()
        while not self._lost and time.monotonic() < deadline:
            if _can_read(self._connection, deadline - time.monotonic()):
                self._receive()
            for answer in self._answers:
                if wanted(answer):
                    return answer
        raise PreloadFailed("the launcher is gone" if self._lost else f"the launcher is silent for {timeout_s:g} s")

    def _receive(self) -> None:
        lines = self._lines.read()
        if lines is None:
            self._lose()
            return
        for line in lines:
            self._sort(decode_reply(line))

    def _sort(self, reply: Reply) -> None:
        if isinstance(reply, (StoreOpened, StoreMet)) or (isinstance(reply, StoreFailed) and self._opening):
            self._answers.append(reply)
        elif not isinstance(reply, LauncherReady):
            self._events.append(reply)

    def _lose(self) -> None:
        self._lost = True
        self._events.append(LauncherLost())


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


def _can_read(connection: socket.socket, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


# Starting a template


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
