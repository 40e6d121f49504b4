"""The launcher: forked from the template for one agent; forks, reaps, reports and ends that agent's ranks.

One thread, one loop. It imports nothing, computes nothing and opens no thread, so that every fork of it is as clean
as the template. When the agent's end of the socket closes, for whatever reason, nothing below the launcher survives.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opengrid.core.errors import InvalidValue
from opengrid.core.spec import ProgramKind
from opengrid.node import rank as rank_entry
from opengrid.node import spawn
from opengrid.node.preload import faithful
from opengrid.node.preload.loop import Wakeup, Work, readable, reap
from opengrid.node.preload.messages import (
    STACKS_SIGNAL,
    AskMet,
    Cleared,
    DumpStacks,
    LauncherReady,
    LineReader,
    OpenStore,
    RankExited,
    RankStart,
    RankStarted,
    Reply,
    SignalRanks,
    StartRanks,
    StoreFailed,
    StoreMet,
    decode_reply,
    decode_request,
    encode,
)
from opengrid.node.preload.store import serve_store

if TYPE_CHECKING:
    from opengrid.node.preload.template import Preloaded

#: How long the launcher waits for killed processes that cannot die (stuck in the kernel) before it ends without them.
_STUCK_S = 30.0


@dataclass(slots=True)
class _Living:
    start: RankStart
    pid: int


@dataclass(slots=True)
class _Store:
    connection: socket.socket
    lines: LineReader
    pid: int


class _AgentGone(Exception):
    """The agent's end of the connection is closed."""


class Launcher:
    """Serves one agent's connection."""

    def __init__(self, connection: socket.socket, preloaded: Preloaded) -> None:
        self._connection = connection
        self._lines = LineReader(connection)
        self._preloaded = preloaded
        self._pid = os.getpid()
        self._ranks: dict[int, _Living] = {}  #: by pid
        self._store: _Store | None = None
        self._clearing = False
        self._wakeup = Wakeup()
        self._loaded = frozenset(name for name in sys.modules if "." not in name) - {"__main__", "opengrid"}
        spawn.adopt_orphans()
        spawn.set_title("grid launcher", "grid launcher")

    def serve(self) -> Work | None:
        """Loop until the agent is gone. Returns the rank's or store's work in each process forked for one."""
        try:
            self._send(self._ready())
            while True:
                work = self._step()
                if work is not None:
                    return work
        except _AgentGone:
            pass
        finally:
            if os.getpid() == self._pid:
                self._end()
        return None

    def _ready(self) -> LauncherReady:
        me = spawn.process(self._pid)
        return LauncherReady(
            pid=self._pid,
            start_time=me.start_time if me else 0,
            template=self._preloaded.pid,
            missing=self._preloaded.missing,
        )

    def _step(self) -> Work | None:
        watched = [self._connection.fileno(), self._wakeup.fileno()]
        if self._store is not None:
            watched.append(self._store.connection.fileno())
        ready = readable(watched, 0.02 if self._clearing else None)
        if self._wakeup.fileno() in ready:
            self._reap()
        if self._store is not None and self._store.connection.fileno() in ready:
            self._hear_store(self._store)
        if self._clearing:
            self._clear()
        if self._connection.fileno() in ready:
            return self._hear_agent()
        return None

    def _hear_agent(self) -> Work | None:
        lines = self._lines.read()
        if lines is None:
            raise _AgentGone
        for line in lines:
            work = self._obey(line)
            if work is not None:
                return work
        return None

    def _obey(self, line: bytes) -> Work | None:
        try:
            request = decode_request(line)
        except (InvalidValue, ValueError) as error:
            print(f"grid launcher: {error}", file=sys.stderr, flush=True)
            raise _AgentGone from error  # an agent of another version; it would wait for ever
        if isinstance(request, StartRanks):
            return self._start(request.ranks)
        if isinstance(request, OpenStore):
            return self._open_store(request)
        if isinstance(request, AskMet):
            self._ask_store()
        elif isinstance(request, SignalRanks):
            self._signal(request)
        elif isinstance(request, DumpStacks):
            self._dump_stacks(request)
        else:  # Clear
            self._clearing = True
            self._clear()
        return None

    # Ranks

    def _start(self, starts: Iterable[RankStart]) -> Work | None:
        reasons: dict[tuple[str, ...], str] = {}
        for start in starts:
            reason = self._reason_to_exec(start, reasons)
            try:
                pid = self._fork()
            except OSError as error:  # too many processes, no memory
                print(f"grid launcher: rank {start.rank}: {error}", file=sys.stderr, flush=True)
                failed = RankExited(rank=start.rank, pid=0, exit_code=rank_entry.CANNOT_START, at_ns=time.time_ns())
                self._send(failed)
                continue
            if pid == 0:
                self._leave()
                return rank_entry.child(start, reason, self._preloaded.program, self._preloaded.environment, self._pid)
            at_ns = time.time_ns()
            self._ranks[pid] = _Living(start, pid)
            found = spawn.process(pid)
            launch: Literal["fork", "exec"] = "exec" if reason else "fork"
            self._send(
                RankStarted(
                    rank=start.rank,
                    pid=pid,
                    start_time=found.start_time if found else 0,
                    at_ns=at_ns,
                    launch=launch,
                    reason=reason,
                )
            )
        return None

    def _reason_to_exec(self, start: RankStart, known: dict[tuple[str, ...], str]) -> str:
        if start.program.kind is ProgramKind.EXECUTABLE:
            return "not a Python program"
        if not start.preloaded:
            return "asked for"
        reason = faithful.variable_read_too_early(start.environment)
        if reason is not None:
            return reason
        script_folder = None
        if start.program.kind is ProgramKind.SCRIPT:
            script_folder = os.path.dirname(os.path.realpath(os.path.join(start.directory, start.program.target)))
        folders = tuple(faithful.first_folders(start.environment, start.directory, script_folder, start.overlay))
        if folders not in known:
            known[folders] = faithful.shadowed_module(folders, self._loaded) or ""
        return known[folders]

    def _fork(self) -> int:
        """Fork with all signals blocked: what arrives before the child has its own handlers waits for them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        sys.stdout.flush()
        sys.stderr.flush()
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return pid

    def _leave(self) -> None:
        """In a forked child: close what belongs to the launcher."""
        self._wakeup.close()
        self._connection.close()
        if self._store is not None:
            self._store.connection.close()

    def _chosen(self, ranks: tuple[int, ...] | None) -> list[_Living]:
        return [living for living in self._ranks.values() if ranks is None or living.start.rank in ranks]

    def _signal(self, request: SignalRanks) -> None:
        chosen = self._chosen(request.ranks)
        if request.signal == signal.SIGKILL:
            if chosen:
                spawn.kill_groups({living.pid for living in chosen})
            return
        for living in chosen:
            try:
                os.killpg(living.pid, request.signal)
            except ProcessLookupError:  # forked a moment ago, has no group of its own yet
                spawn.kill(living.pid, request.signal)

    def _dump_stacks(self, request: DumpStacks) -> None:
        for living in self._chosen(request.ranks):
            # Any other program would die of it, and so would one that a Python program has become by exec.
            is_python = living.start.stacks is not None and living.start.program.kind is not ProgramKind.EXECUTABLE
            if is_python and spawn.takes(living.pid, STACKS_SIGNAL):
                spawn.kill(living.pid, STACKS_SIGNAL)

    def _reap(self) -> None:
        self._wakeup.drain()
        for pid, exit_code, peak_mib in reap():
            at_ns = time.time_ns()
            living = self._ranks.pop(pid, None)  # None: the store, or what a rank left behind
            if living is not None:
                rank = living.start.rank
                self._send(RankExited(rank=rank, pid=pid, exit_code=exit_code, at_ns=at_ns, peak_mib=peak_mib))

    def _clear(self) -> None:
        store = [self._store.pid] if self._store is not None else []
        if not spawn.kill_below([self._pid], spare=store) and not self._ranks:
            self._clearing = False
            self._send(Cleared(at_ns=time.time_ns()))

    # Store

    def _open_store(self, request: OpenStore) -> Work | None:
        self._close_store()
        ours, its = socket.socketpair()
        pid = self._fork()
        if pid == 0:
            self._leave()
            ours.close()
            return lambda: self._be_store(its, request)
        its.close()
        self._store = _Store(ours, LineReader(ours), pid)
        return None

    def _be_store(self, connection: socket.socket, request: OpenStore) -> None:
        os.setsid()
        spawn.die_with_parent(self._pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        serve_store(connection, request)

    def _ask_store(self) -> None:
        if self._store is None:
            self._send(StoreMet(met=None))
            return
        try:
            self._store.connection.sendall(b"?")
        except OSError:
            self._lose_store("the store process died")
            self._send(StoreMet(met=None))

    def _hear_store(self, store: _Store) -> None:
        lines = store.lines.read()
        if lines is None:
            self._lose_store("the store process died")
            return
        for line in lines:
            reply = decode_reply(line)
            if isinstance(reply, StoreFailed):
                self._close_store()
            self._send(reply)

    def _lose_store(self, message: str) -> None:
        self._close_store()
        self._send(StoreFailed(message=message))

    def _close_store(self) -> None:
        if self._store is not None:
            spawn.kill(self._store.pid, signal.SIGKILL)
            self._store.connection.close()
            self._store = None

    # Connection and end

    def _send(self, reply: Reply) -> None:
        try:
            self._connection.sendall(encode(reply))
        except OSError as error:
            raise _AgentGone from error

    def _end(self) -> None:
        """Kill everything below; this process is a subreaper, so having no child left means that nothing is left."""
        deadline = time.monotonic() + _STUCK_S
        while time.monotonic() < deadline:
            spawn.kill_below([self._pid])
            list(reap())
            if not _has_children():
                return
            readable([self._wakeup.fileno()], 0.02)
            self._wakeup.drain()


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
