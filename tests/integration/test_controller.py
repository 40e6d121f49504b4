"""Controller and agents' side of the server on a real store, with a fake engine: the test plays the agents."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.records import make_experiments

from opengrid.blobs.folder import FolderBlobs
from opengrid.controller.admission import Admission
from opengrid.controller.gangs import Gangs
from opengrid.controller.limits import Limits
from opengrid.core.errors import GridError, Superseded, Unauthorized
from opengrid.core.gang import Gang, Node, Plan
from opengrid.core.protocol import (
    Broken,
    Ended,
    Exited,
    Fact,
    Facts,
    Hello,
    Phase,
    Preempted,
    Prepared,
    Released,
    Restore,
    Restored,
    RestoreFile,
    Started,
)
from opengrid.core.records.attempts import Attempt, AttemptState
from opengrid.core.records.experiments import Experiment, ExperimentState, Memory, Run
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source
from opengrid.engines.engine import Engines
from opengrid.planning.inventory import Accelerator, Interpreter, Inventory
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.agents import SILENT_US, Agents
from opengrid.services.assignments import Assignments
from opengrid.store.database import Database
from opengrid.testing import FakeEngine

BUNDLE = "0" * 64


class World:
    """A server without HTTP, and the agents that the test plays."""

    def __init__(self, folder: Path, accelerators: tuple[Accelerator, ...] = ()) -> None:
        self.now = 1_000_000
        self.recorded: list[Experiment] = []  #: whose run.json was kept
        self.restore: Restore | None = Restore()  #: what is found to go on from; None: looking for it fails
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        inventory = Inventory(
            hostname="box", cpus=64, memory_mib=200_000, available_mib=100_000, accelerators=accelerators
        )
        self.engine = FakeEngine(inventory, Interpreter(path="/python", version="3.11.9", torch="2.13.0"))
        blobs = FolderBlobs(folder / "blobs")
        (folder / "blobs" / "00").mkdir()
        (folder / "blobs" / "00" / BUNDLE).touch()
        self._assignments = Assignments(blobs, work=folder / "work")
        self.agents = self.new_agents()
        engines = Engines(self.engine)
        self.waits: str | None = None  #: why nothing new begins
        self.admission = Admission(self.database, engines, secret="s", waits=lambda: self.waits, now_us=self.clock)
        self.gangs = Gangs(
            self.database,
            engines,
            secret="s",
            find_restore=self._find_restore,
            keep_records=self.recorded.extend,
            moved=self.agents.attempt_moved,
            ended=lambda _: None,
            now_us=self.clock,
        )
        self.limits = Limits(self.database, now_us=self.clock)
        self._numbers = itertools.count(1)
        self._facts: dict[AgentIdentity, int] = {}

    def new_agents(self) -> Agents:
        """What a server that has just started knows of agents."""
        return Agents(
            self.database,
            self._assignments,
            changed=lambda _: None,
            is_followed=lambda _: False,
            now_us=self.clock,
        )

    def _find_restore(self, attempt: Attempt) -> Restore:
        if self.restore is None:
            raise OSError(f"cannot read the artifacts of {attempt.id}")
        return self.restore

    def clock(self) -> int:
        self.now += 1
        return self.now

    def step(self) -> None:
        """Let the controller do everything that it can do now."""
        self.gangs.hint()
        limits, admission, gangs = self.limits, self.admission, self.gangs
        stages = [limits.stop_overdue, admission.end_stopped, admission.admit, gangs.submit, gangs.drive]
        for _ in range(50):
            changed = [stage() for stage in stages]
            if not any(changed):
                return
        raise AssertionError("the controller does not come to rest")

    def run(self, machines: int = 2, ranks: int = 1, devices: str = "", **asked: Any) -> Experiment:
        number = next(self._numbers)
        gang = Gang(nodes=tuple(Node(index=i, machine=i, gpus=1, cpus=2, ranks=ranks) for i in range(machines)))
        plan = Plan(
            gang=gang,
            instance_type="1_v100_16gb",
            gpus=machines,
            experiments=1,
            simulated=not devices,
            price_per_hour=0.0,
            python="/python",
            source="",
            reason="",
            devices=devices,
        )
        program, source = Program(kind=ProgramKind.SCRIPT, target="t.py"), Source(bundle=BUNDLE, root="/")
        spec = RunSpec(program=program, source=source, **asked)
        run = Run(id=f"r{number}", name=f"run-{number}", user="ada", spec=spec, plan=plan, created_us=self.clock())
        (experiment,) = make_experiments(run, arguments=(), typed=(), params={})
        with self.database.transaction() as tx:
            tx.runs.create(run, [experiment], self.clock())
        self.step()
        return self.experiment(experiment)

    def experiment(self, experiment: Experiment) -> Experiment:
        with self.database.read() as tx:
            return tx.runs.experiment_by_id(experiment.id)

    def hello(self, experiment: Experiment, machine: int, session: str | None = None) -> AgentIdentity:
        attempt = f"{experiment.id}-{experiment.attempts}"
        token = self.engine.submitted[attempt].agents[0].ticket.token
        secret = session or f"{attempt}/{machine}"
        hello = Hello(
            protocol=1,
            attempt_id=attempt,
            machine=machine,
            session=secret,
            hostname=f"m{machine}",
            address=f"10.0.0.{machine}",
            pid=1,
            boot_id="b",
            now_ns=0,
        )
        self.agents.hello(hello, token)
        self.step()
        agent = self.agents.identify(secret)
        self._facts.pop(agent, None)  # it counts its own from 1
        return agent

    def tell(self, agent: AgentIdentity, *facts: Fact, repeat_from: int | None = None) -> int:
        first = repeat_from or self._facts.get(agent, 0) + 1
        answer = self.agents.take_facts(agent, Facts(first=first, facts=facts, now_ns=time.time_ns()))
        self._facts[agent] = answer.number
        self.step()
        return answer.number

    def phase(self, agent: AgentIdentity) -> Phase:
        return self.agents.desired(agent).phase

    def start(self, experiment: Experiment) -> list[AgentIdentity]:
        """Bring all agents of an experiment to running ranks."""
        with self.database.read() as tx:
            machines = len(tx.attempts.machines(f"{experiment.id}-{experiment.attempts}"))
        agents = [self.hello(experiment, m) for m in range(machines)]
        self.begin(agents, 1)
        return agents

    def begin(self, agents: Sequence[AgentIdentity], generation: int) -> None:
        """Bring a generation to running ranks."""
        for agent in agents:
            self.tell(agent, Prepared(generation=generation, store_port=4000 if agent.machine == 0 else None))
        for agent in agents:
            self.tell(agent, Started(generation=generation, at_ns=0))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def exited(rank: int, code: int, at_ns: int = 0, **more: Any) -> Exited:
    return Exited(generation=1, rank=rank, exit_code=code, at_ns=at_ns, **more)


def test_an_experiment_goes_from_queued_to_succeeded_by_its_agents_facts(world: World) -> None:
    experiment = world.run(machines=2)
    assert experiment.state is ExperimentState.PENDING
    agents = [world.hello(experiment, 0)]
    assert world.phase(agents[0]) is Phase.WAIT
    agents.append(world.hello(experiment, 1))
    assert [world.phase(a) for a in agents] == [Phase.PREPARE] * 2
    world.tell(agents[0], Prepared(generation=1, store_port=4000))
    assert world.phase(agents[1]) is Phase.PREPARE
    world.tell(agents[1], Prepared(generation=1))
    desired = world.agents.desired(agents[1])
    assert (desired.phase, desired.store_address, desired.store_port) == (Phase.RUN, "10.0.0.0", 4000)
    for agent in agents:
        world.tell(agent, Started(generation=1, at_ns=0))
    assert world.experiment(experiment).state is ExperimentState.RUNNING
    for agent in agents:
        world.tell(agent, exited(agent.machine, 0), Ended(generation=1, met=agent.machine == 0 or None))
    assert [world.phase(a) for a in agents] == [Phase.RELEASED] * 2
    for agent in agents:
        world.tell(agent, Released())
    ended = world.experiment(experiment)
    assert (ended.state, ended.exit_code) == (ExperimentState.SUCCEEDED, 0)
    with world.database.read() as tx:
        moves = [(e.before, e.after) for e in tx.runs.events(experiment.id) if e.kind == "state"]
    assert moves == [(None, "queued"), ("queued", "pending"), ("pending", "running"), ("running", "succeeded")]


def test_the_first_failing_rank_is_named_and_the_others_are_ended(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    world.tell(agents[1], exited(1, 1, exception="ValueError: bad lr", frame="t.py:3 in main", log_tail="Traceback …"))
    desired = world.agents.desired(agents[0])
    assert desired.phase is Phase.STOP
    assert desired.stop is not None
    assert not desired.stop.terminate
    world.tell(agents[1], Ended(generation=1))
    world.tell(agents[0], exited(0, -9, at_ns=time.time_ns()), Ended(generation=1))
    for agent in agents:
        world.tell(agent, Released())
    ended = world.experiment(experiment)
    assert (ended.state, ended.exit_code) == (ExperimentState.FAILED, 1)
    assert ended.root_cause is not None
    assert (ended.root_cause.rank, ended.root_cause.exception) == (1, "ValueError: bad lr")


def test_a_rank_that_left_early_is_the_cause_of_a_failure_with_its_victims_exit_code(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    world.tell(agents[1], exited(1, 0, at_ns=1, peak_mib=812, available_mib=20_000), Ended(generation=1))
    world.tell(agents[0], exited(0, -6, at_ns=2, log_tail="Connection closed by peer"), Ended(generation=1))
    for agent in agents:
        world.tell(agent, Released())
    ended = world.experiment(experiment)
    assert (ended.state, ended.exit_code) == (ExperimentState.FAILED, -6)
    cause = ended.root_cause
    assert cause is not None
    assert (cause.rank, cause.exit_code, cause.victims) == (1, 0, (0,))
    assert cause.memory == Memory(peak_mib=812, available_mib=20_000)


def test_a_kill_for_want_of_memory_is_told_as_the_agent_saw_it(world: World) -> None:
    experiment = world.run(machines=1, max_restarts=0)
    (agent,) = world.start(experiment)
    world.tell(agent, exited(0, -9, oom_killed=True), Ended(generation=1))
    world.tell(agent, Released())
    assert world.experiment(experiment).reason == "the program was killed by the kernel's out-of-memory killer"


def test_a_message_that_took_long_does_not_move_the_time_of_what_it_tells(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    now, late = time.time_ns(), 10_000_000_000
    # Machine 1's rank fails first; its message is ten seconds on the way.
    facts = Facts(first=3, facts=(exited(1, 1, at_ns=now, exception="ValueError: the cause"),), now_ns=now - late)
    world.agents.take_facts(agents[1], facts)
    after = exited(0, 1, at_ns=now + 1_000_000_000, exception="KeyError: what follows from it")
    world.tell(agents[0], after, Ended(generation=1))
    world.agents.take_facts(agents[1], Facts(first=4, facts=(Ended(generation=1),), now_ns=time.time_ns()))
    world.step()
    with world.database.read() as tx:
        (generation,) = tx.attempts.generations(f"{experiment.id}-1")
    assert generation.cause is not None
    assert generation.cause.rank == 1


def test_repeated_facts_count_once_and_a_gap_is_refused(world: World) -> None:
    experiment = world.run(machines=1)
    agent = world.hello(experiment, 0)
    assert world.tell(agent, Prepared(generation=1, store_port=1), Started(generation=1, at_ns=0)) == 2
    assert world.tell(agent, Prepared(generation=1, store_port=2), Started(generation=1, at_ns=0), repeat_from=1) == 2
    assert world.agents.desired(agent).store_port == 1
    with pytest.raises(ValueError, match="missing"):
        world.tell(agent, Released(), repeat_from=9)


def test_an_attempt_token_opens_one_session_and_repeating_the_hello_is_harmless(world: World) -> None:
    experiment = world.run(machines=1)
    first = world.hello(experiment, 0, session="mine")
    assert world.hello(experiment, 0, session="mine") == first
    with pytest.raises(Unauthorized):
        world.hello(experiment, 0, session="somebody else's")
    with pytest.raises(Superseded):
        world.agents.identify("never seen")


def test_a_server_that_restarts_knows_its_agents_again(world: World) -> None:
    experiment = world.run(machines=1)
    agent = world.hello(experiment, 0, session="mine")
    assert world.new_agents().identify("mine") == agent


def test_agents_that_fall_silent_are_unreachable_and_not_replaced(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    attempt = f"{experiment.id}-1"
    assert world.agents.unreachable(attempt) == {}
    world.now += SILENT_US
    world.agents.identify(f"{attempt}/0")
    (machine,) = world.agents.unreachable(attempt)
    assert machine == agents[1].machine
    world.step()
    assert world.experiment(experiment).state is ExperimentState.RUNNING
    assert world.phase(agents[0]) is Phase.RUN


def test_a_stop_ends_running_and_queued_experiments(world: World) -> None:
    running = world.run(machines=1)
    (agent,) = world.start(running)
    with world.database.transaction() as tx:
        assert tx.runs.request_stop(running.id, "stopped by ada", world.clock())
    world.step()
    desired = world.agents.desired(agent)
    assert desired.stop is not None
    assert desired.stop.terminate
    world.tell(agent, exited(0, 0), Ended(generation=1), Released())
    assert world.experiment(running).state is ExperimentState.STOPPED


def test_a_stop_by_force_does_not_wait_for_machines_that_say_nothing(world: World) -> None:
    experiment = world.run(machines=2)
    world.start(experiment)
    attempt = f"{experiment.id}-1"
    with world.database.transaction() as tx:
        tx.runs.request_stop(experiment.id, "stopped by ada", world.clock())
    world.step()
    assert world.experiment(experiment).state is ExperimentState.RUNNING  # they have not said that their ranks ended
    world.gangs.kill(attempt)
    world.step()
    assert world.engine.cancelled == [attempt]
    assert world.experiment(experiment).state is ExperimentState.STOPPED


def test_an_engine_that_refuses_to_kill_does_not_hold_up_other_attempts(world: World) -> None:
    first, second = world.run(machines=1), world.run(machines=1)
    (agent,) = world.start(first)
    world.start(second)
    world.engine.refuses_to_cancel = GridError("Ray answered 500")
    world.gangs.kill(f"{second.id}-1")
    world.gangs.kill("deleted-1")
    world.tell(agent, exited(0, 0), Ended(generation=1))
    world.tell(agent, Released())
    assert world.experiment(first).state is ExperimentState.SUCCEEDED


def test_a_killed_rank_is_followed_by_the_next_generation_on_the_same_machines(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    world.tell(agents[1], exited(1, -9, at_ns=1), Ended(generation=1, first_step=1, last_step=70))
    world.tell(agents[0], exited(0, 1, exception="RuntimeError: Connection reset by peer"), Ended(generation=1))
    assert [world.phase(a) for a in agents] == [Phase.PREPARE] * 2
    assert world.agents.desired(agents[0]).generation == 2
    assert "restart 1 of 3: rank 1 was killed by SIGKILL" in world.experiment(experiment).reason
    world.begin(agents, 2)
    again = world.experiment(experiment)
    assert (again.state, again.attempts, again.generations) == (ExperimentState.RUNNING, 1, 2)
    assert again.reason == "all 2 ranks started for the 2nd time"
    with world.database.read() as tx:
        first, second = tx.attempts.generations(f"{experiment.id}-1")
    assert first.cause is not None
    assert (first.cause.rank, first.last_step, second.cause, second.ended_us) == (1, 70, None, None)
    for agent in agents:
        world.tell(
            agent, Exited(generation=2, rank=agent.machine, exit_code=0, at_ns=0), Ended(generation=2), Released()
        )
    assert world.experiment(experiment).state is ExperimentState.SUCCEEDED


def test_a_lost_machine_alone_is_replaced_while_the_others_wait(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    attempt = f"{experiment.id}-1"
    world.engine.lost[attempt] = {1}
    world.step()
    assert world.phase(agents[0]) is Phase.STOP
    assert world.experiment(experiment).reason == "its ranks are being ended: the agent of machine 1 died"
    world.tell(agents[0], exited(0, -9), Ended(generation=1))
    assert world.engine.submits == [attempt] * 2
    assert [agent.machine for agent in world.engine.newest.agents] == [1]
    world.tell(agents[0], Prepared(generation=2, store_port=4001))
    assert world.phase(agents[0]) is Phase.PREPARE
    replaced = world.hello(world.experiment(experiment), 1, session="the new one")
    with pytest.raises(Superseded):
        world.agents.identify(f"{attempt}/1")  # the lost one has nothing to say any more
    world.tell(replaced, Prepared(generation=2))
    assert world.phase(replaced) is Phase.RUN
    assert world.agents.desired(replaced).store_port == 4001


def test_restarts_end_with_the_cause_and_their_number(world: World) -> None:
    experiment = world.run(machines=1, max_restarts=1)
    (agent,) = world.start(experiment)
    world.tell(agent, exited(0, -9), Ended(generation=1))
    world.begin([agent], 2)
    world.tell(agent, Exited(generation=2, rank=0, exit_code=-9, at_ns=0), Ended(generation=2), Released())
    ended = world.experiment(experiment)
    assert ended.state is ExperimentState.FAILED
    assert ended.reason == "the program was killed by SIGKILL; given up after 1 restart"
    assert ended.root_cause is not None
    assert ended.root_cause.signal == "SIGKILL"


def test_ranks_start_after_every_machine_has_put_the_checkpoint_back(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    file = RestoreFile(node=None, path="last.pt", size=3, sha256="0" * 64, modified_us=0)
    world.restore = Restore(checkpoint="last.pt", files=(file,))
    for agent in agents:
        world.tell(agent, exited(agent.machine, -9), Ended(generation=1))
    for agent in agents:
        world.tell(agent, Prepared(generation=2, store_port=4000))
    assert [world.phase(a) for a in agents] == [Phase.RESTORE] * 2
    assert world.agents.restore(agents[0], 2) == world.restore
    world.tell(agents[0], Restored(generation=2))
    assert world.phase(agents[0]) is Phase.RESTORE
    world.tell(agents[1], Restored(generation=2, notes=("last.pt is torn",)))
    assert [world.phase(a) for a in agents] == [Phase.RUN] * 2
    with world.database.read() as tx:
        reasons = [event.reason for event in tx.runs.events(experiment.id)]
    assert "machine 1: last.pt is torn" in reasons
    assert "goes on from last.pt" in reasons


def test_a_preempted_attempt_is_followed_by_another_that_looks_for_a_checkpoint(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    world.tell(agents[1], Preempted())
    stop = world.agents.desired(agents[0]).stop
    assert stop is not None
    assert stop.terminate
    for agent in agents:
        world.tell(agent, exited(agent.machine, 0), Ended(generation=1))
    for agent in agents:
        world.tell(agent, Released())
    queued = world.experiment(experiment)
    assert (queued.state, queued.attempts) == (ExperimentState.PENDING, 2)  # there is room, so it was admitted at once
    with world.database.read() as tx:
        assert tx.attempts.find(f"{experiment.id}-1").state is AttemptState.PREEMPTED
    file = RestoreFile(node=None, path="last.pt", size=3, sha256="0" * 64, modified_us=0)
    world.restore = Restore(checkpoint="last.pt", files=(file,))
    again = [world.hello(queued, machine) for machine in range(2)]
    for agent in again:
        world.tell(agent, Prepared(generation=1, store_port=4000))
    assert world.phase(again[0]) is Phase.RESTORE


def test_agents_that_die_before_hello_are_tried_again_and_leave_their_last_words(world: World) -> None:
    experiment = world.run(machines=2)
    for attempt in range(1, 5):
        agent = world.hello(world.experiment(experiment), 0)
        world.engine.lost[f"{experiment.id}-{attempt}"] = {1}
        world.step()
        world.tell(agent, Released())
    ended = world.experiment(experiment)
    assert (ended.state, ended.attempts) == (ExperimentState.FAILED, 4)
    assert "machine 1 died before" in ended.reason
    assert "no module named opengrid" in ended.reason


def test_agents_that_nobody_can_start_fail_the_experiment_at_once_with_the_reason(world: World) -> None:
    experiment = world.run(machines=2)
    world.engine.hopeless.add(f"{experiment.id}-1")
    world.engine.lost[f"{experiment.id}-1"] = {0, 1}
    world.step()
    ended = world.experiment(experiment)
    assert (ended.state, ended.attempts) == (ExperimentState.FAILED, 1)
    assert "no module named opengrid" in ended.reason


def test_after_a_restart_of_the_computer_auto_resume_decides(world: World) -> None:
    world.engine.is_rebooted = True
    for auto_resume, state in ((False, ExperimentState.FAILED), (True, ExperimentState.PENDING)):
        experiment = world.run(machines=1, auto_resume=auto_resume)
        world.start(experiment)
        world.engine.lost[f"{experiment.id}-1"] = {0}
        world.step()
        found = world.experiment(experiment)
        assert found.state is state
        if state is ExperimentState.FAILED:
            assert "this computer was restarted" in found.reason


def test_a_machine_that_cannot_prepare_fails_the_experiment_with_its_words(world: World) -> None:
    experiment = world.run(machines=2)
    agents = [world.hello(experiment, m) for m in range(2)]
    world.tell(agents[0], Broken(generation=1, message="no space left on /scratch"))
    for agent in agents:
        assert world.phase(agent) is Phase.RELEASED
        world.tell(agent, Released())
    ended = world.experiment(experiment)
    assert ended.state is ExperimentState.FAILED
    assert "no space left" in ended.reason


def test_ranks_that_never_met_are_told_on_success(world: World) -> None:
    experiment = world.run(machines=2)
    agents = world.start(experiment)
    for agent in agents:
        world.tell(
            agent, exited(agent.machine, 0), Ended(generation=1, met=False if agent.machine == 0 else None), Released()
        )
    ended = world.experiment(experiment)
    assert ended.state is ExperimentState.SUCCEEDED
    assert "2 ranks never met" in ended.reason


def test_submitting_again_after_a_crash_hands_out_the_same_token(world: World) -> None:
    world.engine.dies_after_submit = True
    with pytest.raises(RuntimeError, match="killed"):
        world.run(machines=1)
    first = world.engine.submitted.pop("r1e0-1")
    world.engine.dies_after_submit = False
    world.step()
    assert world.engine.submits == ["r1e0-1"] * 2
    assert world.engine.submitted["r1e0-1"] == first


GPUS = tuple(Accelerator(uuid=f"GPU-{i}", name="H100", memory_mib=80_000) for i in range(2))


def test_two_experiments_never_share_a_gpu_and_the_second_waits_with_its_reason(tmp_path: Path) -> None:
    world = World(tmp_path, GPUS)
    first = world.run(machines=2, devices="2 × H100")
    second = world.run(machines=1, devices="1 × H100")
    held = [u for agent in world.engine.submitted[f"{first.id}-1"].agents for u in agent.devices]
    assert sorted(held) == ["GPU-0", "GPU-1"]
    assert second.state is ExperimentState.QUEUED
    assert "waits for 1 GPU" in second.reason
    assert first.name in second.reason
    for agent in world.start(first):
        world.tell(agent, exited(agent.machine, 0), Ended(generation=1), Released())
    assert world.experiment(second).state is ExperimentState.PENDING


def test_a_gpu_that_somebody_took_meanwhile_sends_the_gang_back_to_the_queue(tmp_path: Path) -> None:
    world = World(tmp_path, GPUS[:1])
    world.engine.taken = {"GPU-0"}
    with pytest.raises(AssertionError, match="rest"):  # it is tried again and again: the inventory still offers it
        world.run(machines=1, devices="1 × H100")
    busy = dataclasses.replace(GPUS[0], busy="in use by process 4711")
    world.engine.offered = dataclasses.replace(world.engine.offered, accelerators=(busy,))
    world.step()
    with world.database.read() as tx:
        experiment = tx.runs.experiment("run-1-exp0")
    assert experiment.state is ExperimentState.QUEUED
    assert "4711" in experiment.reason
    world.engine.taken, world.engine.offered = set(), dataclasses.replace(world.engine.offered, accelerators=GPUS[:1])
    world.step()
    assert world.experiment(experiment).state is ExperimentState.PENDING


def test_ranks_never_start_anew_because_the_server_died_while_it_looked_for_a_checkpoint(world: World) -> None:
    experiment = world.run(machines=1)
    (agent,) = world.start(experiment)
    file = RestoreFile(node=None, path="last.pt", size=3, sha256="0" * 64, modified_us=0)
    world.restore = None
    world.tell(agent, exited(0, -9), Ended(generation=1))
    world.tell(agent, Prepared(generation=2, store_port=4000))
    assert world.phase(agent) is Phase.PREPARE
    world.restore = Restore(checkpoint="last.pt", files=(file,))
    world.step()
    assert world.phase(agent) is Phase.RESTORE
    assert world.agents.restore(agent, 2) == world.restore


def test_on_a_full_disk_nothing_begins_until_there_is_space_again(world: World) -> None:
    world.waits = "waits for disk space: 1.0 GiB are free on the disk of /data, and 2.0 GiB stay free"
    experiments = [world.run(), world.run()]
    world.step()
    waiting = [world.experiment(one) for one in experiments]
    assert {(one.state, one.attempts) for one in waiting} == {(ExperimentState.QUEUED, 0)}
    assert {one.reason for one in waiting} == {world.waits}
    world.waits = None
    world.step()
    assert {world.experiment(one).state for one in experiments} == {ExperimentState.PENDING}


def test_what_a_silent_cluster_was_to_start_waits_until_it_answers(world: World) -> None:
    world.engine.is_away = True
    experiment = world.run()
    assert (experiment.state, experiment.reason) == (ExperimentState.PENDING, "the cluster does not answer")
    assert world.engine.submits == []
    world.engine.is_away = False
    world.step()
    assert len(world.engine.submits) == 1


def test_what_a_silent_cluster_was_to_start_can_be_stopped(world: World) -> None:
    world.engine.is_away = True
    experiment = world.run()
    with world.database.transaction() as tx:
        tx.runs.request_stop(experiment.id, "stopped by ada", world.clock())
    world.step()
    assert world.experiment(experiment).state is ExperimentState.STOPPED


def test_an_attempt_that_can_get_no_more_machines_is_followed_by_another(world: World) -> None:
    experiment = world.run()
    attempt = f"{experiment.id}-1"
    world.begin(world.start(experiment), 1)
    world.engine.over.add(attempt)
    world.engine.lost[attempt] = {0, 1}
    world.step()
    again = world.experiment(experiment)
    assert (again.state, again.attempts) == (ExperimentState.PENDING, 2)
    with world.database.read() as tx:
        assert "the cluster let go of all its machines" in tx.attempts.find(attempt).reason
