"""What agents ask of the server: hello, the desired state, and facts taken down."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import InvalidValue, NotFound, Superseded, Unauthorized
from opengrid.core.mounts import MOUNT_ROOT, Mount
from opengrid.core.protocol import (
    POLL_S,
    PROTOCOL,
    Acknowledged,
    Assignment,
    Broken,
    Desired,
    Ended,
    Exited,
    Fact,
    Facts,
    Hello,
    Preempted,
    Prepared,
    Rehearsal,
    Released,
    Restore,
    Restored,
    Started,
    Unsaved,
)
from opengrid.core.records import (
    Attempt,
    AttemptMachine,
    AttemptState,
    Cluster,
    Event,
    Experiment,
    MachineState,
    RankExit,
    Run,
)
from opengrid.core.tokens import matches, token_hash
from opengrid.planning.generation import desired_state
from opengrid.planning.recovery import DEFAULT_RESTARTS
from opengrid.store.database import Database, Transaction

#: How often agents send logs: while somebody follows, and otherwise.
FOLLOWED_FLUSH_S, QUIET_FLUSH_S = 0.2, 2.0

_KEPT_ENDED = 1000

#: An agent that has said nothing for so long is called unreachable: longer than a poll is held.
SILENT_US = int((POLL_S + 15) * 1e6)

#: Of so many messages of a machine the fastest one tells how its clock differs from ours.
_SKEWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """Whom a session secret belongs to."""

    attempt_id: str
    machine: int


class Agents:
    """The server's side of the gang protocol. `changed` hears of attempts with new facts."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        work: Path,
        changed: Callable[[str], None],
        is_followed: Callable[[str], bool],
        stacks_asked: Callable[[str], int] = lambda _: 0,
        rehearsals: Callable[[str], tuple[Rehearsal, ...]] = lambda _: (),
        now_us: Callable[[], int],
        staging: Callable[[str, int], Path] | None = None,
        check_mounts: Callable[[Sequence[Mount]], None] = lambda _: None,
        overlay: Callable[[Run], str | None] = lambda _: None,
        secrets_of: Callable[[Run], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._database, self._blobs, self._work, self._staging = database, blobs, work, staging
        self._changed, self._is_followed, self._now_us = changed, is_followed, now_us
        self._stacks_asked, self._rehearsals, self._check_mounts = stacks_asked, rehearsals, check_mounts
        self._overlay, self._secrets_of = overlay, secrets_of
        self._sessions: dict[str, AgentIdentity] = {}
        self._attempts: dict[str, Attempt] = {}
        self._grace_s: dict[str, float] = {}  #: by attempt
        self._began_us = now_us()
        self._heard_us: dict[str, dict[int, int]] = {}  #: when each machine's agent last said anything, by attempt
        self._skews: dict[str, dict[int, deque[int]]] = {}  #: our clock less each machine's, at its last messages
        self._ended: deque[str] = deque()
        self._remembering = threading.Lock()

    def hello(self, hello: Hello, token: str) -> Assignment:
        """Exchange an attempt token for a session; harmless when repeated with the same session secret."""
        if hello.protocol != PROTOCOL:
            raise InvalidValue(f"this server speaks agent protocol {PROTOCOL}, not {hello.protocol}")
        session_hash = token_hash(hello.session)
        with self._database.transaction() as tx:
            attempt, machine = self._find(tx, hello.attempt_id, hello.machine)
            if not matches(token, attempt.token_hash):
                raise Unauthorized("unknown attempt token")
            if attempt.state.is_terminal:
                raise Superseded(f"attempt {attempt.id} is over")
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            run = tx.runs.find_by_id(experiment.run_id)
            cluster = tx.clusters.look(attempt.cluster)
            if machine.session_hash is None:
                self._skews.get(attempt.id, {}).pop(machine.index, None)  # perhaps another host
                if self._now_us() > attempt.token_expires_us:
                    raise Unauthorized("the attempt token has expired")
                tx.attempts.update_machine(
                    attempt.id,
                    machine.index,
                    state=MachineState.PRESENT,
                    session_hash=session_hash,
                    hostname=hello.hostname,
                    address=hello.address,
                    **_given_devices(run, machine, hello),
                )
                machine = tx.attempts.machine(attempt.id, machine.index)
            elif machine.session_hash != session_hash:
                raise Unauthorized("this attempt token has been used")
            earlier = tx.attempts.of_experiment(experiment.id)[: attempt.number - 1]
        identity = AgentIdentity(attempt_id=attempt.id, machine=machine.index)
        for older in [known for known, whose in self._sessions.items() if whose == identity]:
            self._sessions.pop(older, None)  # of the agent that this one replaces
        self._sessions[session_hash] = identity
        self._changed(attempt.id)
        was_lost = bool(earlier) and earlier[-1].state is AttemptState.LOST
        salvage = str(work_folder(self._work, experiment, earlier[-1].number)) if was_lost else None
        self._check_mounts(run.plan.mounts)
        assignment = self._assignment(run, experiment, attempt, machine, salvage)
        return assignment if cluster is None else _elsewhere(assignment, cluster)

    def identify(self, session: str) -> AgentIdentity:
        """Return whom a session secret belongs to; Superseded when its attempt does not exist any more."""
        session_hash = token_hash(session)
        known = self._sessions.get(session_hash)
        if known is None:
            with self._database.read() as tx:
                row = tx.attempts.machine_of_session(session_hash)
            if row is None:
                raise Superseded("no attempt knows this session")
            known = self._sessions[session_hash] = AgentIdentity(attempt_id=row.attempt_id, machine=row.index)
        self._heard_us.setdefault(known.attempt_id, {})[known.machine] = self._now_us()
        return known

    def unreachable(self, attempt_id: str) -> dict[int, int]:
        """Return the machines whose agents should speak and do not, with the time (us) of their last word.

        A server that has just started has not had the time to hear of everybody.
        """
        with self._database.read() as tx:
            present = [m.index for m in tx.attempts.machines(attempt_id) if m.state is MachineState.PRESENT]
        heard = self._heard_us.get(attempt_id, {})
        since = {machine: heard.get(machine, self._began_us) for machine in present}
        return {machine: us for machine, us in since.items() if self._now_us() - us > SILENT_US}

    def desired(self, agent: AgentIdentity) -> Desired:
        """Return what the agent's machine shall be doing; Superseded when its attempt does not exist any more."""
        with self._database.read() as tx:
            attempt, _ = self._find(tx, agent.attempt_id, agent.machine)
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            grace_s = tx.runs.find_by_id(experiment.run_id).spec.grace_s
        newest = self.attempt_moved(attempt)  # it may have moved since it was read
        self._grace_s[attempt.id] = grace_s
        return self._desired(newest, grace_s)

    def known_desired(self, agent: AgentIdentity) -> Desired | None:
        """Return the same from memory, at once; None when it must be read."""
        attempt, grace_s = self._attempts.get(agent.attempt_id), self._grace_s.get(agent.attempt_id)
        return None if attempt is None or grace_s is None else self._desired(attempt, grace_s)

    def _desired(self, attempt: Attempt, grace_s: float) -> Desired:
        is_followed = self._is_followed(attempt.experiment_id)
        return desired_state(
            attempt,
            grace_s=grace_s,
            flush_interval_s=FOLLOWED_FLUSH_S if is_followed else QUIET_FLUSH_S,
            stacks=self._stacks_asked(attempt.id),
            rehearsals=self._rehearsals(attempt.id),
            now_ns=time.time_ns(),
        )

    def attempt_moved(self, attempt: Attempt) -> Attempt:
        """Take in how an attempt stands; return the newest that is known of it.

        Only one server moves attempts, so what it moved is what there is. Ended ones are kept for a while, so that a
        reader who is late cannot bring back an older state.
        """
        with self._remembering:
            known = self._attempts.get(attempt.id)
            if known is None or attempt.version > known.version:
                known = self._attempts[attempt.id] = attempt
                if attempt.state.is_terminal:
                    self._ended.append(attempt.id)
                    self._heard_us.pop(attempt.id, None)
                    self._skews.pop(attempt.id, None)
            while len(self._ended) > _KEPT_ENDED:
                oldest = self._ended.popleft()
                self._attempts.pop(oldest, None)
                self._grace_s.pop(oldest, None)
        return known

    def take_facts(self, agent: AgentIdentity, facts: Facts) -> Acknowledged:
        """Store facts once each, in their order; the acknowledgement promises that they are stored."""
        skew_ns = self._skew_ns(agent, facts.now_ns)
        with self._database.transaction() as tx:
            attempt, machine = self._find(tx, agent.attempt_id, agent.machine)
            last = facts.first + len(facts.facts) - 1
            if facts.first > machine.facts_seen + 1:
                raise InvalidValue(f"facts {machine.facts_seen + 1} to {facts.first - 1} are missing")
            for number, fact in enumerate(facts.facts, facts.first):
                if number > machine.facts_seen:
                    self._apply(tx, attempt, machine, fact, skew_ns)
            seen = max(last, machine.facts_seen)
            tx.attempts.update_machine(attempt.id, machine.index, facts_seen=seen)
        self._changed(attempt.id)
        return Acknowledged(number=seen)

    def _skew_ns(self, agent: AgentIdentity, now_ns: int) -> int:
        """Return how far a machine's clock is behind ours. Messages take time, so the least of the last counts."""
        seen = self._skews.setdefault(agent.attempt_id, {}).setdefault(agent.machine, deque(maxlen=_SKEWS))
        seen.append(time.time_ns() - now_ns)
        return min(seen)

    def restore(self, agent: AgentIdentity, generation: int) -> Restore:
        """Return what the agent's machine puts back before the ranks of a generation start."""
        with self._database.read() as tx:
            self._find(tx, agent.attempt_id, agent.machine)
            generations = tx.attempts.generations(agent.attempt_id)
        found = next((g.restore for g in generations if g.number == generation), None)
        if found is None:
            raise NotFound(f"generation {generation} of attempt {agent.attempt_id} puts nothing back")
        return found

    def _apply(self, tx: Transaction, attempt: Attempt, machine: AttemptMachine, fact: Fact, skew_ns: int) -> None:
        def update(**changes: object) -> None:
            tx.attempts.update_machine(attempt.id, machine.index, **changes)

        if isinstance(fact, Prepared):
            update(prepared=fact.generation, store_port=fact.store_port, broken=None, is_retryable=False)
            self._note(tx, attempt, machine, fact.generation, f"prepared; {fact.launch_reason}")
        elif isinstance(fact, Restored):
            update(restored=fact.generation)
            for text in fact.notes:
                self._note(tx, attempt, machine, fact.generation, text)
        elif isinstance(fact, Started):
            update(started=fact.generation)
            how = f"as ordinary processes: {fact.launch_reason}" if fact.launch == "exec" else "by fork of the template"
            self._note(tx, attempt, machine, fact.generation, f"{len(fact.pids)} ranks started {how}")
        elif isinstance(fact, Exited):
            tx.attempts.add_exit(_exit(attempt, fact, skew_ns))
        elif isinstance(fact, Ended):
            update(ended=fact.generation, **({} if fact.met is None else {"met": fact.met}))
            if fact.last_step is not None:
                steps = {"first_step": fact.first_step, "last_step": fact.last_step}
                tx.attempts.update_generation(attempt.id, fact.generation, **steps)
        elif isinstance(fact, Broken):
            update(broken=fact.message, is_retryable=fact.is_retryable, ended=fact.generation)
            self._note(tx, attempt, machine, fact.generation, fact.message)
        elif isinstance(fact, Preempted):
            update(preempted=True)
            self._note(tx, attempt, machine, attempt.generation, "told by SIGTERM that it goes away")
        elif isinstance(fact, Unsaved):
            self._note(tx, attempt, machine, attempt.generation, _unsaved_text(fact), kind="artifacts")
        elif isinstance(fact, Released):  # pyright: ignore[reportUnnecessaryIsInstance] - the wire may bring newer kinds
            update(state=MachineState.RELEASED)

    def _note(
        self,
        tx: Transaction,
        attempt: Attempt,
        machine: AttemptMachine,
        generation: int,
        text: str,
        *,
        kind: str = "launch",
    ) -> None:
        tx.runs.note(
            Event(
                at_us=self._now_us(),
                experiment_id=attempt.experiment_id,
                attempt=attempt.number,
                generation=generation,
                kind=kind,
                before=None,
                after=None,
                reason=f"machine {machine.index}: {text}",
            )
        )

    def _find(self, tx: Transaction, attempt_id: str, machine: int) -> tuple[Attempt, AttemptMachine]:
        try:
            return tx.attempts.find(attempt_id), tx.attempts.machine(attempt_id, machine)
        except NotFound as error:
            raise Superseded(f"attempt {attempt_id} does not exist any more") from error

    def _assignment(
        self, run: Run, experiment: Experiment, attempt: Attempt, machine: AttemptMachine, salvage: str | None
    ) -> Assignment:
        spec, plan, secrets = run.spec, run.plan, self._secrets_of(run)
        program = spec.program
        if spec.source.bundle is None:
            raise InvalidValue(f"run {run.name} has no bundle")
        return Assignment(
            experiment_id=experiment.id,
            experiment=experiment.name,
            run=run.name,
            attempt=attempt.number,
            machine=machine.index,
            user=run.user,
            cluster=plan.cluster,
            instance_type=plan.instance_type,
            simulated=plan.simulated,
            framework=spec.framework,
            program=type(program)(kind=program.kind, target=program.target, arguments=experiment.arguments),
            python=plan.python,
            gang=plan.gang,
            devices=machine.devices,
            environment={**spec.shell, **spec.environment, **secrets},
            user_set=(*spec.environment, *secrets),
            masked=tuple(secrets.values()),
            bundle=spec.source.bundle,
            bundle_path=str(self._blobs.path(spec.source.bundle)),
            directory=spec.source.directory,
            work_dir=str(work_folder(self._work, experiment, attempt.number)),
            salvage=salvage,
            preload=plan.preload,
            now_ns=time.time_ns(),
            max_restarts=DEFAULT_RESTARTS if spec.max_restarts is None else spec.max_restarts,
            mounts=plan.mounts,
            collects=self._staging is not None,
            overlay=self._overlay(run),
            on_start=spec.actions.on_experiment_start,
            on_end=spec.actions.on_experiment_end,
            staging=str(self._staging(attempt.id, machine.index)) if self._staging is not None else None,
        )


def _elsewhere(assignment: Assignment, cluster: Cluster) -> Assignment:
    """Return the assignment for another computer, on which nothing of this one is."""
    return dataclasses.replace(
        assignment,
        # What the user's shell had is the machine's own there.
        environment={name: assignment.environment[name] for name in assignment.user_set},
        bundle_path=None,
        work_dir=str(Path(cluster.work_dir, assignment.experiment, str(assignment.attempt))),
        salvage=None,
        staging=None,
        overlay=None,
        mounts=tuple(_fetched(mount, cluster) for mount in assignment.mounts),
        fetches_data=bool(assignment.mounts),
    )


def _fetched(mount: Mount, cluster: Cluster) -> Mount:
    """Return the mount with the place on the machine where its tree is fetched to, the same on every machine."""
    place = str(Path(cluster.work_dir, "data", f"{mount.name}-{mount.version}"))
    return dataclasses.replace(mount, source=place, is_bound=mount.path.startswith(f"{MOUNT_ROOT}/"))


def _given_devices(run: Run, machine: AttemptMachine, hello: Hello) -> dict[str, object]:
    """Return the GPUs that the engine gave to a machine, dealt to its nodes; nothing where the server chose them."""
    nodes = run.plan.gang.nodes_of(machine.index)
    if run.plan.simulated or any(machine.devices) or not nodes[0].gpus:
        return {}
    wanted = sum(node.gpus for node in nodes)
    if len(hello.devices) < wanted:
        raise InvalidValue(f"machine {machine.index} was given {len(hello.devices)} GPUs of {wanted}")
    dealt = iter(hello.devices)
    return {"devices": tuple(tuple(itertools.islice(dealt, node.gpus)) for node in nodes)}


def work_folder(work: Path, experiment: Experiment, attempt: int) -> Path:
    """Return the folder in which an attempt works, the same absolute path on every machine of its gang."""
    return work / experiment.name / str(attempt)


def _unsaved_text(fact: Unsaved) -> str:
    files = "1 file was not saved" if fact.total == 1 else f"{fact.total} files were not saved"
    more = f" and {fact.total - len(fact.files)} more" if fact.total > len(fact.files) else ""
    return f"{files}: {', '.join(f'{_short(file.path)!r} ({file.reason})' for file in fact.files)}{more}"


def _short(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:60]}…{path[-30:]}"


def _exit(attempt: Attempt, fact: Exited, skew_ns: int) -> RankExit:
    return RankExit(
        attempt_id=attempt.id,
        generation=fact.generation,
        rank=fact.rank,
        exit_code=fact.exit_code,
        at_ns=fact.at_ns + skew_ns,
        exception=fact.exception,
        frame=fact.frame,
        log_tail=fact.log_tail,
        peak_mib=fact.peak_mib,
        available_mib=fact.available_mib,
        oom_killed=fact.oom_killed,
    )
