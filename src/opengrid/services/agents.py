"""What agents ask of the server: hello, the desired state, and facts taken down."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from opengrid.core.errors import GridError, InvalidValue, NotFound, Superseded, Unauthorized, UserError
from opengrid.core.protocol import (
    POLL_S,
    PROTOCOL,
    Acknowledged,
    Assignment,
    Desired,
    Facts,
    Hello,
    Prepared,
    Rehearsal,
    Restore,
)
from opengrid.core.records.attempts import Attempt, AttemptMachine, MachineState
from opengrid.core.records.experiments import Event, Run
from opengrid.core.tokens import matches, token_hash
from opengrid.planning.generation import desired_state
from opengrid.services.agent_memory import AgentIdentity, AgentMemory
from opengrid.services.assignments import Assignments, given_devices, plan_as_found
from opengrid.services.attempts import known_attempt
from opengrid.services.facts import apply_fact
from opengrid.store.database import Database, Transaction

#: How often agents send logs: while somebody follows, and otherwise.
FOLLOWED_FLUSH_S, QUIET_FLUSH_S = 0.2, 2.0

#: An agent that has said nothing for so long is called unreachable: longer than a poll is held.
SILENT_US = int((POLL_S + 15) * 1e6)


class Agents:
    """The server's side of the gang protocol. `changed` hears of attempts with new facts."""

    def __init__(
        self,
        database: Database,
        assignments: Assignments,
        *,
        changed: Callable[[str], None],
        is_followed: Callable[[str], bool],
        stacks_asked: Callable[[str], int] = lambda _: 0,
        rehearsals: Callable[[str], tuple[Rehearsal, ...]] = lambda _: (),
        packages_found: Callable[[str, Sequence[str]], None] = lambda attempt_id, packages: None,
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._assignments, self._memory = database, assignments, AgentMemory()
        self._changed, self._is_followed, self._now_us = changed, is_followed, now_us
        self._stacks_asked, self._rehearsals, self._packages_found = stacks_asked, rehearsals, packages_found
        self._began_us = now_us()

    def hello(self, hello: Hello, token: str) -> Assignment:
        """Exchange an attempt token for a session; harmless when repeated with the same session secret.

        A machine whose data, secrets or environment are not there is broken: the gang does not begin without it.
        """
        if hello.protocol != PROTOCOL:
            raise InvalidValue(f"this server speaks agent protocol {PROTOCOL}, not {hello.protocol}")
        session_hash = token_hash(hello.session)
        with self._database.read() as tx:
            attempt, machine = self._known(tx, hello, token, session_hash)
            run = tx.runs.find_by_id(tx.runs.experiment_by_id(attempt.experiment_id).run_id)
        try:
            self._assignments.check(run, attempt)
            return self._welcome(hello, token, session_hash)
        except (Unauthorized, Superseded):
            raise
        except GridError as error:  # the agent ends with it, and its death would hide the reason
            self._refuse(attempt, machine, error)
            raise

    def _welcome(self, hello: Hello, token: str, session_hash: str) -> Assignment:
        with self._database.transaction() as tx:
            attempt, machine = self._known(tx, hello, token, session_hash)
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            run = tx.runs.find_by_id(experiment.run_id)
            cluster = tx.clusters.look(attempt.cluster)
            if machine.session_hash is None:
                run = self._as_found(tx, run, attempt, hello)
                tx.attempts.gain_machine(
                    attempt.id,
                    machine.index,
                    self._now_us(),
                    session_hash=session_hash,
                    hostname=hello.hostname,
                    address=hello.address,
                    **given_devices(run, machine, hello),
                )
                machine = tx.attempts.machine(attempt.id, machine.index)
            earlier = tx.attempts.of_experiment(experiment.id)[: attempt.number - 1]
        self._memory.remember_session(session_hash, AgentIdentity(attempt_id=attempt.id, machine=machine.index))
        assignment = self._assignments.make(run, experiment, attempt, machine, earlier=earlier, cluster=cluster)
        self._changed(attempt.id)
        return assignment

    def _known(self, tx: Transaction, hello: Hello, token: str, session_hash: str) -> tuple[Attempt, AttemptMachine]:
        """Return whose hello it is; Unauthorized, Superseded for one that does not count, or not any more."""
        attempt, machine = self._find(tx, hello.attempt_id, hello.machine)
        if not matches(token, attempt.token_hash):
            raise Unauthorized("unknown attempt token")
        if attempt.state.is_terminal:
            raise Superseded(f"attempt {attempt.id} is over")
        if machine.session_hash is None and self._now_us() > attempt.token_expires_us:
            raise Unauthorized("the attempt token has expired")
        if machine.session_hash not in (None, session_hash):
            raise Unauthorized("this attempt token has been used")
        return attempt, machine

    def _refuse(self, attempt: Attempt, machine: AttemptMachine, error: GridError) -> None:
        words = f"{error.message} ({error.hint})" if error.hint else error.message
        again = not isinstance(error, UserError)  # what the user must change, another machine would be told too
        with self._database.transaction() as tx:
            ended = tx.attempts.find(attempt.id).generation
            tx.attempts.update_machine(attempt.id, machine.index, broken=words, is_retryable=again, ended=ended)
        self._changed(attempt.id)

    def _as_found(self, tx: Transaction, run: Run, attempt: Attempt, hello: Hello) -> Run:
        """Take down whether the GPUs of a cluster's machine are there, or only counted."""
        plan = plan_as_found(run.plan, hello.machine, hello)
        if plan == run.plan:
            return run
        tx.runs.set_plan(run.id, plan)
        if plan.counted:
            tx.runs.note(
                Event(
                    at_us=self._now_us(),
                    experiment_id=attempt.experiment_id,
                    attempt=attempt.number,
                    generation=None,
                    kind="note",
                    before=None,
                    after=None,
                    reason=f"{hello.hostname} has none of the {len(hello.devices)} GPUs that {attempt.cluster} counts "
                    "there: CPU ranks stand in for them (simulated)",
                )
            )
        return dataclasses.replace(run, plan=plan)

    def identify(self, session: str) -> AgentIdentity:
        """Return whom a session secret belongs to; Superseded when its attempt does not exist any more."""
        session_hash = token_hash(session)
        agent = self._memory.whose(session_hash, lambda: self._read_identity(session_hash))
        self._memory.heard(agent, self._now_us())
        return agent

    def _read_identity(self, session_hash: str) -> AgentIdentity:
        with self._database.read() as tx:
            row = tx.attempts.machine_of_session(session_hash)
        if row is None:
            raise Superseded("no attempt knows this session")
        return AgentIdentity(attempt_id=row.attempt_id, machine=row.index)

    def unreachable(self, attempt_id: str) -> dict[int, int]:
        """Return the machines whose agents should speak and do not, with the time (us) of their last word.

        A server that has just started has not had the time to hear of everybody.
        """
        with self._database.read() as tx:
            present = [m.index for m in tx.attempts.machines(attempt_id) if m.state is MachineState.PRESENT]
        heard = self._memory.heard_us(attempt_id)
        since = {machine: heard.get(machine, self._began_us) for machine in present}
        return {machine: us for machine, us in since.items() if self._now_us() - us > SILENT_US}

    def desired(self, agent: AgentIdentity) -> Desired:
        """Return what the agent's machine shall be doing; Superseded when its attempt does not exist any more."""
        with self._database.read() as tx:
            attempt, _ = self._find(tx, agent.attempt_id, agent.machine)
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            grace_s = tx.runs.find_by_id(experiment.run_id).spec.grace_s
        self._memory.remember_grace(attempt.id, grace_s)
        return self._desired(self._memory.attempt_moved(attempt), grace_s)  # it may have moved since it was read

    def known_desired(self, agent: AgentIdentity) -> Desired | None:
        """Return the same from memory, at once; None when it must be read."""
        standing = self._memory.standing(agent.attempt_id)
        return None if standing is None else self._desired(*standing)

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

    def attempt_moved(self, attempt: Attempt) -> None:
        """Take in how an attempt stands."""
        self._memory.attempt_moved(attempt)

    def take_facts(self, agent: AgentIdentity, facts: Facts) -> Acknowledged:
        """Store facts once each, in their order; the acknowledgement promises that they are stored."""
        skew_ns = self._memory.skew_ns(agent, time.time_ns() - facts.now_ns)
        for fact in facts.facts:  # before it is acknowledged: harmless when repeated
            if isinstance(fact, Prepared) and fact.packages:
                self._packages_found(agent.attempt_id, fact.packages)
        with self._database.transaction() as tx:
            attempt, machine = self._find(tx, agent.attempt_id, agent.machine)
            last = facts.first + len(facts.facts) - 1
            if facts.first > machine.facts_seen + 1:
                raise InvalidValue(f"facts {machine.facts_seen + 1} to {facts.first - 1} are missing")
            for number, fact in enumerate(facts.facts, facts.first):
                if number > machine.facts_seen:
                    apply_fact(tx, attempt, machine, fact, skew_ns=skew_ns, now_us=self._now_us())
            seen = max(last, machine.facts_seen)
            tx.attempts.update_machine(attempt.id, machine.index, facts_seen=seen)
        self._changed(attempt.id)
        return Acknowledged(number=seen)

    def restore(self, agent: AgentIdentity, generation: int) -> Restore:
        """Return what the agent's machine puts back before the ranks of a generation start."""
        with self._database.read() as tx:
            self._find(tx, agent.attempt_id, agent.machine)
            generations = tx.attempts.generations(agent.attempt_id)
        found = next((g.restore for g in generations if g.number == generation), None)
        if found is None:
            raise NotFound(f"generation {generation} of attempt {agent.attempt_id} puts nothing back")
        return found

    def _find(self, tx: Transaction, attempt_id: str, machine: int) -> tuple[Attempt, AttemptMachine]:
        attempt = known_attempt(tx, attempt_id)
        try:
            return attempt, tx.attempts.machine(attempt_id, machine)
        except NotFound as error:
            raise Superseded(f"attempt {attempt_id} has no machine {machine}") from error
