"""Sweeps through the controller, with a fake engine: --parallel, --fail_fast and --max_time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.test_controller import World

from opengrid.core.names import experiment_name
from opengrid.core.protocol import Ended, Exited, Released
from opengrid.core.records.experiments import Experiment, ExperimentState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def sweep(world: World, count: int, **options: object) -> list[Experiment]:
    """Queue a run of one-rank experiments with these fields in its spec."""
    first = world.run(machines=1)  # lends its plan and spec
    with world.database.read() as tx:
        run = tx.runs.find_by_id(first.run_id)
    run = dataclasses.replace(run, id="s", name="sweep", spec=dataclasses.replace(run.spec, **options))
    blank = dataclasses.replace(first, state=ExperimentState.QUEUED, version=0, reason="", attempts=0, generations=0)
    members = [
        dataclasses.replace(blank, id=f"se{i}", run_id="s", index=i, name=experiment_name("sweep", i))
        for i in range(count)
    ]
    with world.database.transaction() as tx:
        tx.runs.create(run, members, world.clock())
    world.step()
    return members


def states(world: World, members: list[Experiment]) -> list[str]:
    return [world.experiment(e).state.value for e in members]


def fail(world: World, experiment: Experiment, exception: str, frame: str) -> None:
    (agent,) = world.start(world.experiment(experiment))
    exited = Exited(generation=1, rank=0, exit_code=1, at_ns=0, exception=exception, frame=frame)
    world.tell(agent, exited, Ended(generation=1), Released())


def test_parallel_caps_what_runs_at_once_and_says_so(world: World) -> None:
    members = sweep(world, 4, parallel=2)
    assert states(world, members) == ["pending", "pending", "queued", "queued"]
    assert {world.experiment(e).reason for e in members[2:]} == {"waits: the run's --parallel 2 are running"}
    (agent,) = world.start(world.experiment(members[1]))
    world.tell(agent, Exited(generation=1, rank=0, exit_code=0, at_ns=0), Ended(generation=1), Released())
    assert states(world, members) == ["pending", "succeeded", "pending", "queued"]


def test_fail_fast_stops_the_rest_when_the_first_three_fail_alike(world: World) -> None:
    members = sweep(world, 6, parallel=4, fail_fast=True)
    for number in range(2):
        fail(world, members[number], f"ValueError: bad lr 0.{number}", "train.py:3 in main")
    assert states(world, members) == ["failed", "failed", "pending", "pending", "pending", "pending"]
    (running,) = world.start(world.experiment(members[3]))
    fail(world, members[2], "ValueError: bad lr 0.2", "train.py:3 in main")
    world.tell(running, Exited(generation=1, rank=0, exit_code=-15, at_ns=0), Ended(generation=1), Released())
    for member in members[4:]:
        world.tell(world.hello(world.experiment(member), 0), Released())
    assert states(world, members) == ["failed", "failed", "failed", "stopped", "stopped", "stopped"]
    why = world.experiment(members[5]).reason
    assert why.startswith("--fail_fast: the first 3 experiments failed alike: ")
    assert "ValueError" in why


@pytest.mark.parametrize(
    ("last", "fail_fast"),
    [(("KeyError: 'x'", "train.py:3 in main"), True), (("ValueError: bad lr", "train.py:9 in main"), True),
     (("ValueError: bad lr", "train.py:3 in main"), False)],
    ids=["another exception", "another place", "not asked"],
)  # fmt: skip
def test_what_fails_differently_goes_on(world: World, last: tuple[str, str], fail_fast: bool) -> None:
    members = sweep(world, 4, fail_fast=fail_fast)
    for member in members[:2]:
        fail(world, member, "ValueError: bad lr", "train.py:3 in main")
    fail(world, members[2], *last)
    assert states(world, members) == ["failed", "failed", "failed", "pending"]
    assert world.experiment(members[3]).stop_requested is None


def test_max_time_counts_from_the_first_start(world: World) -> None:
    early, late = sweep(world, 2, max_time_s=5400.0)
    (agent,) = world.start(world.experiment(early))
    assert states(world, [early, late]) == ["running", "pending"]
    world.now += 5399 * 1_000_000
    world.step()
    assert world.experiment(early).stop_requested is None
    world.now += 2 * 1_000_000
    world.step()
    assert world.experiment(late).stop_requested is None, "what has not started has used no time"
    world.tell(agent, Exited(generation=1, rank=0, exit_code=0, at_ns=0), Ended(generation=1), Released())
    ended = world.experiment(early)
    assert (ended.state.value, ended.reason) == ("stopped", "its --max_time of 1:30:00 is over")
