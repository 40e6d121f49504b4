"""Records for tests: whole, plausible, and changed where a test cares."""

from __future__ import annotations

import dataclasses

from opengrid.core.gang import Gang, Node, Plan
from opengrid.core.names import experiment_name
from opengrid.core.records.artifacts import Artifact
from opengrid.core.records.attempts import (
    Attempt,
    AttemptMachine,
    AttemptState,
    GenerationPhase,
    MachineState,
    RankExit,
)
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source

#: When everything begins: 2026-01-01 in microseconds.
T0 = 1_767_225_600_000_000


def make_gang(nodes: int = 2, ranks: int = 4) -> Gang:
    """Return a gang of one node per machine."""
    return Gang(nodes=tuple(Node(index=i, machine=i, gpus=ranks, cpus=2 * ranks, ranks=ranks) for i in range(nodes)))


def make_plan(gang: Gang | None = None, experiments: int = 1) -> Plan:
    """Return a plan of simulated machines."""
    gang = gang or make_gang()
    return Plan(
        gang=gang,
        instance_type="4_v100_16gb",
        gpus=gang.world_size,
        experiments=experiments,
        simulated=True,
        price_per_hour=9.17,
        python="/usr/bin/python3",
        source="/home/ada/vae (3 files)",
        reason="",
    )


def make_spec(**changes: object) -> RunSpec:
    """Return a request to run a script."""
    spec = RunSpec(
        program=Program(kind=ProgramKind.SCRIPT, target="train.py", arguments=("--lr", "0.1")),
        source=Source(bundle="ab" * 32, root="/home/ada/vae"),
        shell={"PATH": "/usr/bin", "HOME": "/home/ada"},
    )
    return dataclasses.replace(spec, **changes)


def make_run(name: str = "brave-otter", *, at_us: int = T0, user: str = "ada", experiments: int = 1) -> Run:
    """Return a run; its id is made of its name."""
    return Run(
        id=f"r-{name}",
        name=name,
        user=user,
        spec=make_spec(),
        plan=make_plan(experiments=experiments),
        created_us=at_us,
    )


def make_experiments(run: Run, number: int = 1, **changes: object) -> list[Experiment]:
    """Return a run's queued experiments."""
    one = Experiment(
        id="",
        run_id=run.id,
        index=0,
        name="",
        arguments=("--lr", "0.1"),
        typed=("--lr", "0.1"),
        params={"lr": 0.1},
        state=ExperimentState.QUEUED,
        version=0,
        reason="",
        exit_code=None,
        root_cause=None,
        stop_requested=None,
        created_us=run.created_us,
        started_us=None,
        ended_us=None,
    )
    return [
        dataclasses.replace(one, id=f"{run.id}e{i}", index=i, name=experiment_name(run.name, i), **changes)
        for i in range(number)
    ]


def make_attempt(experiment: Experiment, number: int = 1, **changes: object) -> Attempt:
    """Return an attempt that was just created."""
    attempt = Attempt(
        id=f"{experiment.id}-{number}",
        experiment_id=experiment.id,
        number=number,
        state=AttemptState.CREATED,
        version=0,
        generation=0,
        phase=GenerationPhase.PREPARING,
        store_address=None,
        store_port=None,
        outcome=None,
        reason="",
        token_hash="cd" * 32,
        token_expires_us=T0 + 600_000_000,
        created_us=T0,
    )
    return dataclasses.replace(attempt, **changes)


def make_machines(attempt: Attempt, number: int = 2) -> list[AttemptMachine]:
    """Return an attempt's machines before any agent said hello."""
    return [
        AttemptMachine(attempt_id=attempt.id, index=i, state=MachineState.WAITING, devices=(("GPU-1", "GPU-2"), ()))
        for i in range(number)
    ]


def make_exit(attempt: Attempt, rank: int = 0, exit_code: int = 0, generation: int = 1) -> RankExit:
    """Return how a rank ended."""
    return RankExit(
        attempt_id=attempt.id, generation=generation, rank=rank, exit_code=exit_code, at_ns=T0 * 1000 + rank
    )


def make_artifact(experiment_id: str, path: str, **changes: object) -> Artifact:
    """Return a file that node 0 wrote."""
    one = Artifact(
        experiment_id=experiment_id,
        node=0,
        path=path,
        version=1,
        attempt=1,
        digest="ab" * 32,
        size=3,
        modified_us=T0,
        collected_us=T0,
    )
    return dataclasses.replace(one, **changes)
