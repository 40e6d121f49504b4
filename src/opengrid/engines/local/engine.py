"""Agents as detached processes of this host; they outlive the server, which finds them again by their lock files."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from opengrid.core.codec import to_json
from opengrid.core.errors import Unusable
from opengrid.core.nvml import gpus
from opengrid.core.protocol import Ticket
from opengrid.engines.engine import AgentProcess, GangRequest, Submission
from opengrid.engines.local.host import Interpreters, has_mounts, host_inventory
from opengrid.engines.local.processes import ProcessId, boot_id, read_process_id
from opengrid.engines.local.slots import GpuSlots
from opengrid.planning.inventory import Interpreter, Inventory

#: An agent that was started and never wrote its lock file is taken for dead after this long.
_START_TIMEOUT_S = 30.0


class LocalEngine:
    """The engine of the embedded server. `on_change` is called (from a thread of the engine) when an agent ends."""

    name = "local"

    def __init__(
        self,
        state: Path,
        *,
        server_file: Path,
        zipapp: Callable[[], Path],
        on_change: Callable[[], None],
        clock: Callable[[], float],
        slots: GpuSlots | None = None,
        nvml_library: str | None = None,
    ) -> None:
        self._folder = state / "agents"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server_file, self._zipapp, self._clock = server_file, zipapp, clock
        self._slots, self._nvml_library = slots or GpuSlots(), nvml_library
        self._interpreters = Interpreters()
        self._mounts: bool | None = None  #: not tried yet
        self._children: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._over: set[str] = set()
        self._first_missed: dict[tuple[str, int], float] = {}
        self._agents: dict[tuple[str, int], int] = {}  #: pids of agents that were found alive
        self._swept: set[tuple[str, int]] = set()
        self._watch = _Watch(on_change)

    def inventory(self) -> Inventory:
        """Return this computer: its GPUs with what keeps them busy, CPUs, memory available now."""
        found = gpus(self._nvml_library)
        return host_inventory(found, self._slots.free(found))

    def interpreter(self, python: str, shell: dict[str, str]) -> Interpreter:
        """Return what an interpreter has installed; raise Unusable when it does not run."""
        return self._interpreters.read(python, shell, self._zipapp())

    def can_mount(self) -> bool:
        """Return whether a rank can have mounts of its own here; tried once."""
        if self._mounts is None:
            self._mounts = has_mounts(self._zipapp())
        return self._mounts

    def render(self, request: GangRequest) -> Submission:
        """Return the tickets of a gang's agents. Pure."""
        return Submission(
            attempt_id=request.attempt_id,
            agents=tuple(
                AgentProcess(
                    machine=machine,
                    ticket=Ticket(
                        attempt_id=request.attempt_id,
                        machine=machine,
                        token=request.token,
                        server_file=str(self._server_file),
                        state_dir=str(self._folder),
                    ),
                    devices=tuple(uuid for node in request.devices[machine] for uuid in node),
                    bundle=request.bundles[machine],
                )
                for machine in range(request.gang.machines)
            ),
        )

    def submit(self, submission: Submission) -> None:
        """Start the agents, all or none; an agent that already runs makes its second copy end by itself."""
        held = [self._slots.take(agent.devices) for agent in submission.agents]
        try:
            for agent, descriptors in zip(submission.agents, held, strict=True):
                self._start(agent, descriptors)
        except OSError as error:
            self.cancel(submission.attempt_id, len(submission.agents))
            raise Unusable(f"cannot start an agent: {error}", hint=f"is there space below {self._folder}?") from error
        finally:
            for descriptor in (d for descriptors in held for d in descriptors):
                os.close(descriptor)

    def _start(self, agent: AgentProcess, descriptors: Sequence[int]) -> None:
        key = (agent.ticket.attempt_id, agent.machine)
        ticket = self._file(*key, "ticket")
        ticket.unlink(missing_ok=True)
        with open(os.open(ticket, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(to_json(agent.ticket), file)
        options = ["--nvml", self._nvml_library] if self._nvml_library is not None else []
        with self._file(*key, "log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(self._zipapp()), "agent", str(ticket), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
                start_new_session=True,
                pass_fds=descriptors,
            )
        self._swept.discard(key)  # it may replace one that was lost
        self._first_missed.pop(key, None)
        self._children[key] = child
        self._agents[key] = child.pid
        self._watch.add(child.pid)

    def gone(self, attempts: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
        """For each (attempt id, machines) return the machines whose agent ended, having ended what it left running."""
        self._reap()
        return {
            attempt: frozenset(m for m in range(machines) if self._is_gone(attempt, m))
            for attempt, machines in attempts
        }

    def _is_gone(self, attempt: str, machine: int) -> bool:
        key = (attempt, machine)
        known = self._agents.get(key)
        if known is not None and self._watch.sees(known):
            return False  # the usual case must be cheap: it is asked for every agent in every pass
        child = self._children.get(key)
        if child is not None and child.poll() is None:
            return False
        process = read_process_id(self._file(*key, "lock"))
        if process is None:
            first = self._first_missed.setdefault(key, self._clock())
            if child is None and self._clock() - first < _START_TIMEOUT_S:
                return False  # started by a server that was killed a moment ago: it may be about to write the file
        elif process.is_alive:
            self._watch.add(process.pid)
            self._agents[key] = process.pid
            return False
        if key not in self._swept:
            self._swept.add(key)
            self._sweep(*key)
        return True

    def is_new_boot(self, attempt_id: str) -> bool:
        """Return whether this computer was restarted since the attempt's agents were."""
        locks = (read_process_id(path) for path in self._folder.glob(f"{attempt_id}-*.lock"))
        return any(process.boot_id != boot_id() for process in locks if process is not None)

    def is_over(self, attempt_id: str) -> bool:
        """Return whether an attempt can get no more agents: on this computer it always can."""
        return False

    def cannot_start(self, attempt_id: str) -> bool:
        """Return whether agents cannot run at all: on this computer they have the server's own interpreter."""
        return False

    def last_words(self, attempt_id: str, machine: int) -> str:
        """Return the last line of an agent's own log."""
        try:
            lines = self._file(attempt_id, machine, "log").read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def cancel(self, attempt_id: str, machines: int) -> None:
        """Kill the agents of an attempt and sweep what they started."""
        for machine in range(machines):
            key = (attempt_id, machine)
            process = read_process_id(self._file(*key, "lock"))
            if process is not None and process.is_alive:
                _kill(process)
            child = self._children.get(key)
            if child is not None and child.poll() is None:
                child.kill()
                child.wait(10)
            self._swept.add(key)
            self._sweep(*key)

    def forget(self, attempt_id: str) -> None:
        """Remove the files of an attempt that has ended: tickets, locks, the agents' own logs and spools."""
        self._over.add(attempt_id)
        self._agents = {k: v for k, v in self._agents.items() if k[0] != attempt_id}
        self._swept = {key for key in self._swept if key[0] != attempt_id}
        self._first_missed = {k: v for k, v in self._first_missed.items() if k[0] != attempt_id}
        for path in self._folder.glob(f"{attempt_id}-*"):
            path.unlink(missing_ok=True)
        for spool in (self._folder / "spool").glob(f"{attempt_id}-*"):
            shutil.rmtree(spool, ignore_errors=True)

    def _reap(self) -> None:
        """Take the exit codes of agents that ended after their attempts were forgotten: they would stay as zombies."""
        for key, child in list(self._children.items()):
            if key[0] in self._over and child.poll() is not None:
                del self._children[key]
        self._over &= {attempt for attempt, _ in self._children}

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def _sweep(self, attempt: str, machine: int) -> None:
        """End what is left of the process groups that the agent recorded, after kill -9 of agent and launcher."""
        groups = self._file(attempt, machine, "groups")
        if groups.exists():
            subprocess.run(
                [sys.executable, "-I", "-S", str(self._zipapp()), "sweep", str(groups)],
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=60,
            )

    def _file(self, attempt: str, machine: int, suffix: str) -> Path:
        return self._folder / f"{attempt}-{machine}.{suffix}"


def _kill(process: ProcessId) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


class _Watch:
    """Calls back when one of the watched processes ends, through pidfds, from one thread."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._poll = select.poll()
        self._pidfds: dict[int, int] = {}
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._poll.register(self._wake_read, select.POLLIN)
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="agent-watch", daemon=True)
        self._thread.start()

    def sees(self, pid: int) -> bool:
        """Whether a watched process still runs, as far as the kernel has told."""
        return pid in self._pidfds

    def add(self, pid: int) -> None:
        """Watch a process; one that has already ended is reported at once, one already watched is left alone."""
        with self._lock:
            if pid in self._pidfds or self._closing:
                return
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._on_change()
                return
            self._pidfds[pid] = descriptor
            self._poll.register(descriptor, select.POLLIN)
            os.write(self._wake_write, b"+")

    def close(self) -> None:
        with self._lock:
            if not self._closing:
                self._closing = True
                os.write(self._wake_write, b"x")
        self._thread.join(5)

    def _loop(self) -> None:
        while not self._closing:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            ended = [pid for pid, descriptor in list(self._pidfds.items()) if descriptor in ready]
            with self._lock:
                for pid in ended:
                    descriptor = self._pidfds.pop(pid)
                    self._poll.unregister(descriptor)
                    os.close(descriptor)
            if ended:
                self._on_change()
        with self._lock:
            for descriptor in (self._wake_read, self._wake_write, *self._pidfds.values()):
                os.close(descriptor)
            self._pidfds.clear()
