"""Sweeps through the controller, with a fake engine: the cap of --parallel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.integration.test_controller import World

from opengrid.core.names import experiment_name
from opengrid.core.protocol import Ended, Exited, Released
from opengrid.core.records import ExperimentState


def test_parallel_caps_what_runs_at_once_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = world.run(machines=1)  # lends its plan and spec
    with world.database.read() as tx:
        run = tx.runs.find_by_id(first.run_id)
    run = dataclasses.replace(run, id="s", name="sweep", spec=dataclasses.replace(run.spec, parallel=2))
    blank = dataclasses.replace(first, state=ExperimentState.QUEUED, version=0, reason="", attempts=0, generations=0)
    members = [
        dataclasses.replace(blank, id=f"se{i}", run_id="s", index=i, name=experiment_name("sweep", i)) for i in range(4)
    ]
    with world.database.transaction() as tx:
        tx.runs.create(run, members, world.clock())
    world.step()
    states = [world.experiment(e) for e in members]
    assert [e.state.value for e in states] == ["pending", "pending", "queued", "queued"]
    assert {e.reason for e in states[2:]} == {"waits: the run's --parallel 2 are running"}
    (agent,) = world.start(states[1])
    world.tell(agent, Exited(generation=1, rank=0, exit_code=0, at_ns=0), Ended(generation=1), Released())
    assert [world.experiment(e).state.value for e in members] == ["pending", "succeeded", "pending", "queued"]
