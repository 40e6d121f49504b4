"""services.experiments: what a viewer sees of machines, nodes and ranks at each moment of an attempt."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import make_attempt, make_exit, make_experiments, make_gang, make_machines, make_run

from opengrid.core.records.attempts import AttemptState, GenerationPhase, MachineState, RankExit
from opengrid.services.experiments import Placement, placed

RUNNING = {"state": AttemptState.RUNNING, "generation": 1, "phase": GenerationPhase.RUNNING}


def placement(
    *,
    started: int = 0,
    ended: int = 0,
    machine: MachineState = MachineState.PRESENT,
    exits: dict[int, int] | None = None,
    **attempt: object,
) -> Placement:
    made = make_attempt(make_experiments(make_run())[0], **attempt)
    machines = [
        dataclasses.replace(m, state=machine, hostname=f"box{m.index}", started=started, ended=ended)
        for m in make_machines(made)
    ]
    left: dict[int, RankExit] = {rank: make_exit(made, rank, code) for rank, code in (exits or {}).items()}
    return Placement(attempt=made, machines=tuple(machines), exits=left, silent={1: 1_767_225_600_000_000})


def states(seen: Placement | None) -> set[str]:
    return {rank.state for machine in placed(make_gang(), seen, {}) for node in machine.nodes for rank in node.ranks}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (None, {"waiting"}),
        (placement(), {"waiting"}),
        (placement(**{**RUNNING, "phase": GenerationPhase.PREPARING}), {"starting"}),
        (placement(**{**RUNNING, "phase": GenerationPhase.RESTORING}), {"starting"}),
        (placement(**RUNNING), {"starting"}),
        (placement(**RUNNING, started=1), {"running"}),
        (placement(**RUNNING, machine=MachineState.WAITING), {"waiting"}),
        (placement(**RUNNING, started=1, machine=MachineState.LOST), {"ended"}),
        (placement(**RUNNING, started=1, exits={0: 0, 1: 1, 2: -9}), {"running", "succeeded", "failed", "killed"}),
        (placement(**{**RUNNING, "phase": GenerationPhase.STOPPING}, started=1, ended=1), {"ended"}),
        (placement(**{**RUNNING, "generation": 2}, started=1), {"starting"}),
        (placement(**{**RUNNING, "state": AttemptState.LOST}, started=1), {"ended"}),
    ],
)
def test_ranks_are_seen_in_the_state_that_facts_tell(seen: Placement | None, expected: set[str]) -> None:
    assert states(seen) == expected


def test_every_rank_stands_on_its_node_and_machine_with_the_devices_there() -> None:
    seen = placed(make_gang(2, 2), placement(**RUNNING, started=1), {"GPU-1": "NVIDIA H100"})
    assert [(m.machine, m.hostname, [n.node for n in m.nodes]) for m in seen] == [(0, "box0", [0]), (1, "box1", [1])]
    assert [[(r.rank, r.local_rank) for r in m.nodes[0].ranks] for m in seen] == [[(0, 0), (1, 1)], [(2, 0), (3, 1)]]
    assert [(d.uuid, d.name) for d in seen[0].nodes[0].devices] == [("GPU-1", "NVIDIA H100"), ("GPU-2", "")]
    assert [m.unreachable_since for m in seen] == [None, "2026-01-01T00:00:00.000Z"]
