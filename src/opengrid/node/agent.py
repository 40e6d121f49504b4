"""The agent: one process per machine that makes the machine what the server wants it to be, and tells what happened.

One loop, in the main thread. It waits for news (the desired state, what happened to ranks, what its threads have
finished), asks `next_step` what to do, and does it. Threads poll, send facts, ship logs and make folders; they only put
news into the inbox.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from opengrid.core.errors import GridError
from opengrid.core.gone import GoneWatch
from opengrid.core.masking import Masks
from opengrid.core.protocol import (
    Assignment,
    Broken,
    Desired,
    Ended,
    Exited,
    Fact,
    Phase,
    Preempted,
    Prepared,
    Released,
    Restore,
    Restored,
    Started,
    Stop,
    Waits,
)
from opengrid.node.actions import NodeActions
from opengrid.node.artifacts import Collector
from opengrid.node.clock import ServerClock
from opengrid.node.errands import Errands
from opengrid.node.event_files import event_stream, find_metrics
from opengrid.node.identity import Places
from opengrid.node.inbox import (
    ActionsEnded,
    Crashed,
    Drained,
    Inbox,
    LetGo,
    News,
    PutBackDone,
    RefusedForGood,
    Terminated,
)
from opengrid.node.link import Channel, Link, ServerAddress
from opengrid.node.logs import LogShipper, find_streams
from opengrid.node.orphan import OrphanLimits, OrphanWatch, Verdict
from opengrid.node.preload.client import TemplateSpec
from opengrid.node.preload.connection import PreloadFailed
from opengrid.node.ranks import Ranks
from opengrid.node.readying import Failed, Ready
from opengrid.node.rehearsals import Rehearsals
from opengrid.node.settling import SETTLE_S
from opengrid.node.stacks import StackSender
from opengrid.node.steps import AskToEnd, Clear, Own, Prepare, PutBack, Skip, Stage, Start, Step, next_step
from opengrid.node.telemetry import Telemetry, find_samples

#: How an agent that has lost its server ends ranks that make no progress.
_ORPHANS_STOP = Stop(terminate=True, grace_s=15.0)

EXIT_RELEASED, EXIT_SUPERSEDED, EXIT_ORPHANED, EXIT_LET_GO, EXIT_CRASHED = 0, 4, 3, 5, 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What does not come with the assignment."""

    address: str  #: where other machines reach this one
    homes: GoneWatch  #: over that without which nobody asks for our work
    template: Callable[[Assignment], TemplateSpec]  #: where ranks are forked from
    log: Callable[[str], None]
    limits: OrphanLimits = field(default_factory=OrphanLimits)
    settle_s: float = SETTLE_S  #: how long a file must not change to be collected
    leash: int | None = None  #: descriptor that is closed when whoever holds this machine for us is gone
    nvml: str | None = None  #: library that tells about GPUs, where it is not the usual one
    removes_work: bool = False  #: whether the work folder goes when all of it is safe: nobody else looks into it


class Agent:
    """One machine of one attempt, from hello to release."""

    def __init__(
        self,
        assignment: Assignment,
        files: Places,
        address: ServerAddress,
        session: str,
        clock: ServerClock,
        settings: Settings,
    ) -> None:
        self._assignment, self._files, self._settings, self._log = assignment, files, settings, settings.log
        self._inbox = Inbox()
        self._link = Link(
            address,
            session,
            clock,
            on_desired=self._inbox.put,
            on_superseded=self._on_superseded,
            on_acknowledged=self._inbox.put,
            log=self._log,
        )
        self._logs = LogShipper(
            Channel(address, session),
            clock,
            on_drained=lambda: self._inbox.put(Drained("logs")),
            on_superseded=self._on_superseded,
            log=self._log,
        )
        self._artifacts = Collector(
            Channel(address, session),
            staging=assignment.staging,
            has_links=assignment.has_links,
            on_drained=lambda unsaved: self._inbox.put(Drained("artifacts", unsaved)),
            on_superseded=self._on_superseded,
            log=self._log,
            settle_s=settings.settle_s,
            on_event_file=self._ship_event_file,
        )
        self._errands = Errands(
            assignment,
            Channel(address, session),
            scratch=files.spool,
            actions=NodeActions(assignment, files.spool, files.groups, ship=self._logs.add),
            artifacts=self._artifacts,
            template=settings.template,
            inbox=self._inbox,
            log=self._log,
        )
        self._stacks = StackSender(Channel(address, session), on_idle=self._inbox.put, log=self._log)
        self._ranks = Ranks(assignment, address=settings.address, spool=files.spool, groups=files.groups, log=self._log)
        self._telemetry = Telemetry(assignment, clock, nvml=settings.nvml, log=self._log)
        self._rehearsals = Rehearsals(
            assignment.machine,
            address,
            signal_rank=self._ranks.signal,
            preempt=lambda: self._inbox.put(Terminated()),
            log=self._log,
        )
        self._orphan = OrphanWatch(settings.limits)
        self._desired = Desired(version=0, generation=0, phase=Phase.WAIT)
        self._own = Own()
        self._restore = Restore()
        self._is_orphaned = False
        self._leaving_since: float | None = None  #: when we heard that this machine goes away
        self._started = 0  #: newest generation whose ranks this agent has started
        self._undrained = {"logs", "artifacts"}
        self._is_released_told = self._has_unsaved = False
        self._judge_at = 0.0
        self._exit_code: int | None = None

    def run(self) -> int:
        """Work until released, superseded or given up; return the exit code. Nothing of the ranks is left then."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        threading.excepthook = lambda crash: self._inbox.put(Crashed(f"{crash.thread}: {crash.exc_value!r}"))
        self._link.start()
        spool = self._files.spool
        self._logs.add(
            [*find_streams(spool, Masks(self._assignment.masked)), *find_metrics(spool), *find_samples(spool)]
        )
        self._logs.start()
        self._artifacts.start()
        self._telemetry.start()
        if self._settings.leash is not None:
            threading.Thread(target=self._hold_leash, args=(self._settings.leash,), name="leash", daemon=True).start()
        try:
            while self._exit_code is None:
                for news in self._inbox.take():
                    self._take(news)
                for fact in self._ranks.hear():
                    self._tell(fact)
                self._judge()
                if self._stacks.is_due(self._desired.stacks):
                    self._stacks.answer(self._desired.stacks, self._ranks.ask_stacks())
                if not self._go_on():
                    self._wait()
        finally:
            self._leave()
        return self._exit_code

    def _take(self, news: News) -> None:
        if isinstance(news, Desired):
            self._desired = news
            self._rehearsals.take(news.rehearsals, self._own)
            self._logs.set_interval(news.flush_interval_s)
            if news.phase in (Phase.STOP, Phase.RELEASED) and self._own.stage is Stage.PREPARING:
                self._errands.cancel()
        elif isinstance(news, Ready):
            self._ready(news)
        elif isinstance(news, Failed):
            self._tell(Broken(generation=news.generation, message=news.message, is_retryable=news.is_retryable))
        elif isinstance(news, Waits):
            if self._own.stage is Stage.PREPARING:  # else it was released meanwhile
                self._tell(news)
        elif isinstance(news, PutBackDone):
            self._put_back(news)
        elif isinstance(news, Terminated):
            self._log("this machine goes away")
            self._leaving_since = self._leaving_since or time.monotonic()
            self._judge_at = 0.0
            self._link.tell(Preempted())
        elif isinstance(news, Drained):
            self._drained(news)
        elif isinstance(news, LetGo):
            self._log("whoever held this machine for us is gone")
            self._exit_code = EXIT_LET_GO
        elif isinstance(news, ActionsEnded):
            self._artifacts.drain()
        elif isinstance(news, RefusedForGood):
            self._log(f"superseded: {news.message}")
            self._exit_code = EXIT_SUPERSEDED
        else:
            self._log(f"a thread of the agent failed: {news.message}")
            self._exit_code = EXIT_CRASHED

    def _drained(self, news: Drained) -> None:
        """Say released when everything of the experiment is safe, or named."""
        if news.what == "artifacts":
            self._logs.drain()  # among the last files there may be some that are shipped like logs
        if news.unsaved is not None:
            self._log(f"not saved: {news.unsaved}")
            self._has_unsaved = True
            self._link.tell(news.unsaved)
        self._undrained.discard(news.what)
        if not self._undrained:
            self._is_released_told = True
            self._link.tell(Released())

    def _tell(self, fact: Fact) -> None:
        """Send a fact, and take it in."""
        if isinstance(fact, Exited):
            self._own = dataclasses.replace(self._own, living=self._ranks.living)
        elif isinstance(fact, Started):
            self._telemetry.watch(self._ranks.samples, self._ranks.groups)
        elif isinstance(fact, Ended):
            self._telemetry.rest()
            self._own = Own(generation=fact.generation)
        elif isinstance(fact, Broken):
            self._log(f"generation {fact.generation} cannot run here: {fact.message}")
            self._own = Own(generation=fact.generation)
        self._link.tell(fact)
        self._logs.flush()

    def _go_on(self) -> bool:
        """Do what comes next; return whether there was anything to do."""
        if self._is_released_told and not self._link.has_pending:
            self._exit_code = EXIT_RELEASED
        if self._exit_code is not None:
            return True
        step = next_step(self._own, self._wanted(), time.monotonic())
        if step is None:
            return False
        self._log(f"generation {self._own.generation}, {self._own.stage.value}: {step}")
        self._do(step)
        return True

    def _wanted(self) -> Desired:
        if not self._is_orphaned or self._desired.phase is Phase.RELEASED:
            return self._desired
        return Desired(version=0, generation=self._own.generation, phase=Phase.STOP, stop=_ORPHANS_STOP)

    def _do(self, step: Step) -> None:
        if isinstance(step, Prepare):
            self._prepare(step.generation)
        elif isinstance(step, PutBack):
            self._own = dataclasses.replace(self._own, stage=Stage.RESTORING)
            self._errands.put_back(self._own.generation)
        elif isinstance(step, Start):
            self._start()
        elif isinstance(step, AskToEnd):
            self._own = dataclasses.replace(self._own, asked=step.stop, kill_at=step.kill_at)
            if step.stop.terminate:
                self._ranks.ask_to_end()
            else:
                self._ranks.ask_stacks()
        elif isinstance(step, Clear):
            self._own = dataclasses.replace(self._own, stage=Stage.CLEARING)
            self._ranks.clear()
        elif isinstance(step, Skip):
            self._tell(Ended(generation=step.generation))
        else:
            self._own = dataclasses.replace(self._own, stage=Stage.RELEASING)
            self._end()

    def _prepare(self, generation: int) -> None:
        self._own = Own(generation=generation, stage=Stage.PREPARING)
        self._is_orphaned, self._restore = False, Restore()
        self._errands.prepare(generation, self._ranks.launcher)

    def _end(self) -> None:
        """Collect the last files, after the user's actions at the end."""
        if self._assignment.on_end:
            self._errands.end(self._own.generation)
        else:
            self._artifacts.drain()

    def _ready(self, ready: Ready) -> None:
        if self._own.stage is not Stage.PREPARING:
            ready.launcher.close()  # released meanwhile
            return
        try:
            port = self._ranks.open(ready.generation, ready.launcher)
        except GridError as error:
            self._tell(Broken(generation=ready.generation, message=error.message, is_retryable=True))
            return
        except OSError as error:
            self._tell(Broken(generation=ready.generation, message=f"no port for the ranks to meet: {error.strerror}"))
            return
        self._own = dataclasses.replace(self._own, stage=Stage.PREPARED)
        self._tell(
            Prepared(
                generation=ready.generation,
                store_port=port,
                launch=ready.launch,
                launch_reason=ready.reason,
                packages=ready.packages,
            )
        )

    def _put_back(self, news: PutBackDone) -> None:
        if self._own.stage is Stage.RESTORING:
            self._restore = news.restore
            self._own = dataclasses.replace(self._own, stage=Stage.PREPARED, is_restored=True)
            self._tell(Restored(generation=news.generation, notes=news.notes))

    def _start(self) -> None:
        desired = self._desired
        self._started = self._own.generation
        try:
            streams = self._ranks.start(
                store_address=desired.store_address, store_port=desired.store_port, restore=self._restore
            )
        except (GridError, OSError) as error:
            message, is_retryable = f"cannot start ranks: {error}", isinstance(error, PreloadFailed)
            self._tell(Broken(generation=self._own.generation, message=message, is_retryable=is_retryable))
            return
        self._logs.add(streams)
        self._own = dataclasses.replace(self._own, stage=Stage.RUNNING, living=self._ranks.living)

    def _ship_event_file(self, node: int, place: Path, path: str) -> None:
        self._logs.add([event_stream(place, node=node, name=path, generation=self._started)])

    def _judge(self) -> None:
        """Every few seconds: go on without a server only while that makes sense."""
        now, limits = time.monotonic(), self._settings.limits
        if now < self._judge_at:
            return
        pause_s = limits.leaving_s if self._leaving_since is not None else 5.0
        self._judge_at = now + min(pause_s, limits.stuck_s / 4)
        away_since, gone = self._link.away_since, self._settings.homes.look(now)
        verdict = self._orphan.judge(
            now=now,
            away_since=away_since,
            living=self._ranks.living,
            log_bytes=self._logs.bytes_seen() if away_since is not None else 0,
            cpu_s=self._ranks.cpu_seconds() if away_since is not None else 0.0,
            is_homeless=gone is not None,
            leaving_since=self._leaving_since,
        )
        why = "this machine goes away" if self._leaving_since is not None else f"no progress for {limits.stuck_s:g} s"
        if verdict is Verdict.END_RANKS and not self._is_orphaned:
            self._log(f"no server, and {why}: ending the ranks")
            self._is_orphaned = True
        elif verdict is Verdict.GIVE_UP:
            since = f"since {gone} is gone" if gone is not None else f"for {now - (away_since or now):.0f} s"
            self._log(f"no server {since}: giving up; what it does not have is in {self._files.spool}")
            self._exit_code = EXIT_ORPHANED

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        if self._ranks.launcher is not None:
            poll.register(self._ranks.launcher, select.POLLIN)
        until = min(self._judge_at, self._own.kill_at or self._judge_at)
        poll.poll(max(0.0, until - time.monotonic()) * 1000)

    def _leave(self) -> None:
        self._errands.cancel()
        self._link.stop()
        self._telemetry.stop()
        self._logs.stop()
        self._artifacts.stop()
        self._ranks.close()
        if self._exit_code in (EXIT_RELEASED, EXIT_SUPERSEDED):
            shutil.rmtree(self._files.spool, ignore_errors=True)
        if self._exit_code == EXIT_RELEASED and self._settings.removes_work and not self._has_unsaved:
            for root in self._artifacts.roots:
                shutil.rmtree(root, ignore_errors=True)
            work = Path(self._assignment.work_dir)
            for folder in (work, work.parent):
                with contextlib.suppress(OSError):  # somebody else has something there
                    folder.rmdir()

    def _hold_leash(self, descriptor: int) -> None:
        os.read(descriptor, 1)  # nobody writes: it returns when the other end is closed
        self._inbox.put(LetGo())

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._inbox.put(Terminated())

    def _on_superseded(self, message: str) -> None:
        self._inbox.put(RefusedForGood(message))
