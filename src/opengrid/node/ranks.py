"""The ranks of this machine, started, watched and ended through the launcher; what happens comes out as facts."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from opengrid.core.masking import Masks
from opengrid.core.protocol import Assignment, Broken, Ended, Exited, Fact, Restore, Started
from opengrid.core.spec import ProgramKind
from opengrid.node import spawn
from opengrid.node.event_files import metrics_stream
from opengrid.node.generation import Files, places, rank_starts, start_directory, uses_lightning
from opengrid.node.hooks import write_hooks
from opengrid.node.logs import Stream, make_streams
from opengrid.node.memory import available_mib, oom_kills
from opengrid.node.network import ReservedPort
from opengrid.node.outcome import Outcome, read_outcome
from opengrid.node.preload.connection import Event, Launcher, PreloadFailed
from opengrid.node.preload.messages import STACKS_SIGNAL, Cleared, RankExited, RankStarted, StoreFailed
from opengrid.node.program import needs_store
from opengrid.node.progress import read_steps, usage
from opengrid.node.stacks import AskedRank
from opengrid.node.telemetry import samples_stream
from opengrid.node.workspace import node_folders


class _Stage(Enum):
    NOTHING = "nothing"  #: of any generation is left
    OPEN = "open"  #: a generation may start
    STARTED = "started"
    CLEARING = "clearing"


class Ranks:
    """One generation after the other on one machine.

    Every generation that was opened ends with exactly one Ended or Broken, after an Exited for every rank started.
    """

    def __init__(
        self, assignment: Assignment, *, address: str, spool: Path, groups: Path, log: Callable[[str], None]
    ) -> None:
        self.launcher: Launcher | None = None
        self._assignment, self._address, self._log = assignment, address, log
        self._spool, self._groups_file = spool, groups
        self._masks = Masks(assignment.masked)
        self._places = {place.rank: place for place in places(assignment)}
        self._stage = _Stage.NOTHING
        self._generation = 0
        self._has_ranks = False  #: of this generation, dead ones too
        self._port: ReservedPort | None = None
        self._has_store = False
        self._met: bool | None = None
        self._started: dict[int, RankStarted] = {}
        self._exited: set[int] = set()
        self._oom_kills: int | None = None  #: of this machine that are accounted for

    @property
    def living(self) -> int:
        """Number of ranks that were started, or are being started, and have not exited."""
        return len(self._places) - len(self._exited) if self._has_ranks else 0

    def cpu_seconds(self) -> float:
        """Return the processor time that the process groups of this generation's ranks have used so far."""
        return sum(one.cpu_s for one in usage(set(self.groups.values())).values())

    @property
    def groups(self) -> dict[int, int]:
        """The process group of each rank that was started in this generation."""
        return {event.rank: event.pid for event in self._started.values()}

    @property
    def samples(self) -> Path:
        """The file of what is measured of this generation's ranks."""
        return self._files().samples

    def open(self, generation: int, launcher: Launcher) -> int | None:
        """Make a generation ready to start; return the port where its ranks meet, on machine 0.

        That is a store's, or a free one for programs that open their own. Raises PreloadFailed or OSError.
        """
        self.launcher, self._generation = launcher, generation
        self._started, self._exited, self._has_ranks, self._met, self._has_store = {}, set(), False, None, False
        port = self._open_port(launcher) if self._assignment.machine == 0 else None
        self._stage = _Stage.OPEN
        return port

    def _open_port(self, launcher: Launcher) -> int:
        if not needs_store(self._assignment.program, self._assignment.framework):
            self._port = ReservedPort(self._address)
            return self._port.port
        port = launcher.open_store(self._address, f"grid {self._assignment.experiment} store")
        self._has_store = True
        return port

    def start(self, *, store_address: str | None, store_port: int | None, restore: Restore) -> list[Stream]:
        """Start all ranks of this machine; return what they will write. OSError when files cannot be made."""
        if self.launcher is None:
            raise PreloadFailed("the launcher is gone")
        files = self._files()
        streams = make_streams(files.folder, self._generation, self._places, self._masks)
        if uses_lightning(self._assignment) and 0 in self._places:
            streams.append(metrics_stream(files.folder, self._generation))
        files.samples.touch(mode=0o600)
        streams.append(samples_stream(files.samples, self._generation))
        starts = rank_starts(
            self._assignment,
            self._generation,
            files,
            store_address=store_address,
            store_port=store_port,
            restore=restore,
            hooks=self._hooks(),
        )
        self._let_port_go()
        self._stage, self._has_ranks, self._oom_kills = _Stage.STARTED, True, oom_kills()
        self.launcher.start(starts)
        return streams

    def ask_to_end(self) -> None:
        """Send SIGTERM to all ranks at once."""
        if self.launcher is not None:
            self.launcher.signal(signal.SIGTERM)

    def signal(self, number: int, rank: int | None) -> None:
        """Send a signal to one rank alone, or to all, without their children. For rehearsals."""
        for started in list(self._started.values()):
            if rank in (None, started.rank) and started.rank not in self._exited:
                spawn.kill(started.pid, number)

    def ask_stacks(self) -> list[AskedRank]:
        """Have all ranks that can write their stacks, a moment later; return where, and of the others why not."""
        asked = [self._asked_rank(rank) for rank in sorted(self._places)]
        if self.launcher is not None:
            self.launcher.dump_stacks([one.rank for one in asked if not one.reason])
        return asked

    def _asked_rank(self, rank: int) -> AskedRank:
        started, folder = self._started.get(rank), node_folders(self._assignment)[self._places[rank].node.index]
        if rank in self._exited:
            reason = "it has ended"
        elif started is None:
            reason = "it has not started"
        elif self._assignment.program.kind is ProgramKind.EXECUTABLE:
            reason = "it is no Python program"
        elif not spawn.takes(started.pid, STACKS_SIGNAL):
            reason = "it has no handler that writes stacks: it runs another program, or is about to end"
        else:
            reason = ""
        return AskedRank.now(
            rank, pid=started.pid if started else 0, file=self._files().stacks(rank), folder=folder, reason=reason
        )

    def clear(self) -> None:
        """Kill what is left of the generation; Ended follows when nothing is."""
        self._let_port_go()
        if self._stage is _Stage.STARTED:
            self._met = self._ask_met()
        self._stage = _Stage.CLEARING
        if self.launcher is not None:
            self.launcher.clear()

    def _ask_met(self) -> bool | None:
        """Return whether any rank ever connected to the store."""
        if self.launcher is None or not self._has_store:
            return None
        try:
            return self.launcher.store_met()
        except PreloadFailed as error:
            self._log(error.message)
            return None

    def hear(self) -> list[Fact]:
        """Return what happened since the last call, without blocking."""
        if self.launcher is None:
            return []
        return [fact for event in self.launcher.events() for fact in self._facts_of(event)]

    def _facts_of(self, event: Event) -> list[Fact]:
        if isinstance(event, RankStarted):
            return self._rank_started(event)
        if isinstance(event, RankExited):
            return [self._exit(event.rank, event.exit_code, event.at_ns, peak_mib=event.peak_mib)]
        if isinstance(event, Cleared):
            return [self._end()]
        if isinstance(event, StoreFailed):
            return self._store_failed(event.message)
        return self._launcher_lost()

    def _rank_started(self, event: RankStarted) -> list[Fact]:
        self._started[event.rank] = event
        if len(self._started) < len(self._places):
            return []
        spawn.write_groups(self._groups_file, self._groups())
        at_ns = max(started.at_ns for started in self._started.values())
        pids = {str(rank): started.pid for rank, started in self._started.items()}
        reason = next((started.reason for started in self._started.values() if started.reason), "")
        launch = "exec" if reason else "fork"
        return [Started(generation=self._generation, at_ns=at_ns, pids=pids, launch=launch, launch_reason=reason)]

    def _exit(
        self, rank: int, exit_code: int, at_ns: int, outcome: Outcome | None = None, *, peak_mib: int | None = None
    ) -> Exited:
        self._exited.add(rank)
        self._log(f"rank {rank} exited with {exit_code}")
        outcome = outcome or (self._outcome(rank) if exit_code != 0 else Outcome())
        return Exited(
            generation=self._generation,
            rank=rank,
            exit_code=exit_code,
            at_ns=at_ns,
            exception=self._masks.hide_text(outcome.exception) if outcome.exception is not None else None,
            frame=outcome.frame,
            log_tail=self._masks.hide_text(outcome.log_tail),
            peak_mib=peak_mib,
            available_mib=available_mib(),
            oom_killed=self._is_oom_killed(exit_code),
        )

    def _is_oom_killed(self, exit_code: int) -> bool | None:
        """Whether the kernel has killed for want of memory since the ranks started, and no earlier exit explains it."""
        if exit_code != -signal.SIGKILL:
            return False
        before, self._oom_kills = self._oom_kills, oom_kills()
        return None if before is None or self._oom_kills is None else self._oom_kills > before

    def _outcome(self, rank: int) -> Outcome:
        files, directory = self._files(), start_directory(self._assignment, self._places[rank].node)
        return read_outcome(
            files.error(rank),
            files.stream(rank, "stderr"),
            files.stream(rank, "stdout"),
            directory,
            stacks=files.stacks(rank),
        )

    def _end(self) -> Ended:
        self._stage = _Stage.NOTHING
        self._groups_file.unlink(missing_ok=True)
        first_step, last_step = read_steps(self._files().progress)
        return Ended(generation=self._generation, met=self._met, first_step=first_step, last_step=last_step)

    def _hooks(self) -> Path:
        """Return the folder with our hooks for Lightning, made by now where they are of use."""
        folder = self._spool / "hooks"
        if uses_lightning(self._assignment) and not folder.exists():
            write_hooks(folder)
        return folder

    def _store_failed(self, message: str) -> list[Fact]:
        self._log(f"the rendezvous store: {message}")
        self._has_store = False
        if self._stage is not _Stage.OPEN:
            return []  # its ranks will fail of it, and say so
        self._stage = _Stage.NOTHING
        message = f"the rendezvous store died before any rank: {message}"
        return [Broken(generation=self._generation, message=message, is_retryable=True)]

    def _launcher_lost(self) -> list[Fact]:
        """End what the launcher left behind. The next generation gets another one."""
        self._log("the launcher is gone")
        stage, name = self._stage, f"the launcher of machine {self._assignment.machine}"
        self._forget_launcher()
        if stage is _Stage.OPEN:
            self._stage = _Stage.NOTHING
            message = f"{name} died before any rank was started"
            return [Broken(generation=self._generation, message=message, is_retryable=True)]
        if stage is _Stage.NOTHING:
            return []
        lost = set(self._places) - self._exited if self._has_ranks else set[int]()
        outcome = Outcome(log_tail=f"{name} died, and its ranks were killed with it")
        exits = [self._exit(rank, -signal.SIGKILL, time.time_ns(), outcome) for rank in sorted(lost)]
        return [*exits, self._end()]

    def close(self) -> None:
        """End everything at once, and the launcher."""
        self._let_port_go()
        if self.launcher is not None:
            self.launcher.close()
        self._forget_launcher()
        self._groups_file.unlink(missing_ok=True)

    def _forget_launcher(self) -> None:
        if self.launcher is not None:
            self.launcher.close(timeout_s=0.0)
        self.launcher, self._has_store = None, False
        spawn.sweep(self._groups())

    def _groups(self) -> list[spawn.Group]:
        boot_id = spawn.boot_id()
        return [spawn.Group(id=s.pid, start_time=s.start_time, boot_id=boot_id) for s in self._started.values()]

    def _files(self) -> Files:
        return Files(folder=self._spool / str(self._generation))

    def _let_port_go(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None
