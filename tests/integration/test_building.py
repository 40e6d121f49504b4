"""controller.building: experiments wait for their environment before they are given machines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.records import make_experiments, make_run

from opengrid.controller.building import Building
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.planning.environment import Environment, EnvironmentState
from opengrid.store.database import Database

READY = Environment(state=EnvironmentState.READY)
GOING = Environment(state=EnvironmentState.BUILDING, reason="makes its environment: 2 requirements")
FAILED = Environment(state=EnvironmentState.FAILED, reason="no such package", log_tail="error: no such package")


class World:
    """A store with two queued experiments of one run, and an environment that stands as the test says."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        self.environment, self.looked, self.forgotten = READY, 0, 0
        self.waiting: set[str] | None = None
        self.recorded: list[tuple[str, str]] = []
        self.building = Building(
            self.database,
            look=self._look,
            keep_only=self._keep_only,
            forget_failure=self._forget_failure,
            keep_records=self._keep_records,
            now_us=lambda: 2_000_000,
        )
        self.run = make_run()
        with self.database.transaction() as tx:
            tx.runs.create(self.run, make_experiments(self.run, 2), 1_000_000)

    def _look(self, _: Run) -> Environment:
        self.looked += 1
        return self.environment

    def _keep_only(self, runs: Collection[str]) -> None:
        self.waiting = set(runs)

    def _forget_failure(self, _: Run) -> None:
        self.forgotten += 1

    def _keep_records(self, experiments: Sequence[Experiment]) -> None:
        self.recorded += [(experiment.name, experiment.state.value) for experiment in experiments]

    def experiments(self) -> list[Experiment]:
        with self.database.read() as tx:
            return tx.runs.experiments(self.run.id)

    def states(self) -> list[str]:
        return [experiment.state.value for experiment in self.experiments()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.database.close()


def test_an_environment_that_is_there_moves_nothing(world: World) -> None:
    assert not world.building.build()
    assert world.states() == ["queued", "queued"]
    assert world.looked == 1, "one look for all experiments of a run"


def test_experiments_are_building_until_their_environment_is_there(world: World) -> None:
    world.environment = GOING
    assert world.building.build()
    assert not world.building.build()
    assert world.states() == ["building", "building"]
    assert world.experiments()[0].reason == GOING.reason

    world.environment = READY
    assert world.building.build()
    assert world.states() == ["queued", "queued"]


def test_a_build_that_fails_fails_all_experiments_that_wait_for_it_and_may_be_tried_again(world: World) -> None:
    world.environment = GOING
    world.building.build()
    world.environment = FAILED

    assert world.building.build()

    first = world.experiments()[0]
    assert world.states() == ["failed", "failed"]
    assert first.reason == "its environment: no such package"
    assert first.root_cause is not None
    assert first.root_cause.log_tail == "error: no such package"
    assert world.forgotten == 1
    assert world.recorded == [(each.name, "building") for each in world.experiments()], "before they fail"
    with world.database.transaction() as tx:
        assert tx.runs.move(first, ExperimentState.QUEUED, reason="resumed", now_us=3_000_000)
    world.environment = READY
    assert not world.building.build()


def test_what_shall_stop_is_left_to_be_stopped(world: World) -> None:
    with world.database.transaction() as tx:
        tx.runs.request_stop(world.experiments()[0].id, "by hand", 2_000_000)
    world.environment = GOING

    world.building.build()

    assert world.states() == ["queued", "building"]
    assert world.waiting == {world.run.id}

    with world.database.transaction() as tx:
        tx.runs.request_stop(world.experiments()[1].id, "by hand", 2_000_000)
    world.building.build()

    assert world.waiting == set(), "nobody waits for its environment any more"
