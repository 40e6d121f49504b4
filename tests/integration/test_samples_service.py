"""Samples taken from agents by offset, and asked for: on a real store and folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.records.attempts import AttemptState
from opengrid.core.samples import Quantity, Sample, encode
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.documents.scalars import SeriesAnswer, SeriesRequest
from opengrid.services.growing import OffsetMismatch
from opengrid.services.log_files import LogFiles
from opengrid.services.samples import Samples
from opengrid.store.database import Database

NAME = "brave-otter-exp0"


class World:
    """A run of one experiment: 2 nodes with 4 ranks and 4 GPUs each, on two machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        run = make_run()
        (self.experiment,) = make_experiments(run, 1)
        with self.database.transaction() as tx:
            tx.runs.create(run, [self.experiment], T0)
        self.samples = Samples(self.database, folder / "logs")
        self.sizes: dict[object, int] = {}

    def attempt(self, number: int) -> None:
        attempt = make_attempt(self.experiment, number, state=AttemptState.RUNNING, generation=1)
        with self.database.transaction() as tx:
            tx.attempts.create(attempt, make_machines(attempt))

    def send(self, at_s: float, *samples: Sample, attempt: int = 1, generation: int = 1, machine: int = 0) -> None:
        agent = AgentIdentity(attempt_id=f"{self.experiment.id}-{attempt}", machine=machine)
        key = attempt, generation, machine
        size = self.sizes.get(key, 0)
        self.sizes[key] = self.samples.append(agent, generation, offset=size, data=encode(at_s, samples))

    def ask(self, *tags: str, **more: object) -> SeriesAnswer:
        return self.samples.series(SeriesRequest(experiments=[NAME], tags=list(tags), **more))

    def points(self, tag: str, **more: object) -> list[tuple[int, float, float | None]]:
        (one,) = self.ask(tag, **more).series
        return list(zip(one.steps, one.times, one.values, strict=True))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.attempt(1)
    yield made
    made.database.close()


def cpu(rank: int, value: float) -> Sample:
    return Sample(Quantity.RANK_CPU, rank, value)


def test_a_series_goes_on_over_generations_and_attempts(world: World) -> None:
    world.send(10.0, cpu(5, 1.0), cpu(6, 9.0), machine=1)
    world.send(20.0, cpu(5, 2.0), cpu(6, 9.0), machine=1)
    world.send(30.0, cpu(5, 3.0), machine=1, generation=2)
    world.attempt(2)
    world.send(40.0, cpu(5, 4.0), machine=1, attempt=2)
    assert world.points("rank/5/cpu") == [(0, 10.0, 1.0), (1, 20.0, 2.0), (2, 30.0, 3.0), (3, 40.0, 4.0)]
    assert [one.tag for one in world.ask("rank/5/cpu", "rank/0/cpu", "rank/99/cpu", "gpu/5/use").series] == [
        "rank/5/cpu"
    ]
    seen = world.points("rank/5/cpu", x="relative", min=9.0, max=11.0)
    assert [time for _, time, _ in seen] == [10.0, 20.0, 30.0]  # with a neighbour on either side


def test_only_what_came_after_a_cursor_is_told_and_it_is_to_be_appended(world: World) -> None:
    world.send(10.0, cpu(0, 1.0), Sample(Quantity.GPU_USE, 0, 50.0))
    before = world.ask("rank/0/cpu").cursors
    assert world.ask("rank/0/cpu", since=before).series == []
    world.send(20.0, cpu(0, 2.0), cpu(1, 7.0))
    world.send(30.0, cpu(0, 3.0), generation=2)
    first, second = world.ask("rank/0/cpu", "rank/1/cpu", since=before).series
    assert (first.steps, first.values, first.is_append, first.start) == ([1, 2], [2.0, 3.0], True, 10.0)
    assert (second.values, second.is_append) == ([7.0], False)


def test_what_comes_late_of_an_earlier_generation_is_no_append(world: World) -> None:
    world.send(10.0, cpu(0, 1.0))
    world.send(30.0, cpu(0, 3.0), generation=2)
    before = world.ask("rank/0/cpu").cursors
    world.send(20.0, cpu(0, 2.0))
    answer = world.ask("rank/0/cpu", since=before)
    assert answer.reset == [NAME]
    assert (answer.series[0].values, answer.series[0].is_append) == ([1.0, 2.0, 3.0], False)


def test_now_is_the_last_moment_of_each_machine_in_the_newest_start(world: World) -> None:
    assert world.samples.now(NAME).series == []
    world.send(10.0, cpu(0, 1.0))
    world.send(20.0, cpu(0, 55.5), Sample(Quantity.MACHINE_MEMORY, 0, 1 << 30), generation=2)
    world.send(19.0, cpu(4, 60.0), Sample(Quantity.GPU_MEMORY, 4, 1 << 20), machine=1, generation=2)
    world.send(21.0, cpu(4, 70.0), machine=1, generation=2)
    rows = world.samples.now(NAME).series
    assert [(row.name, row.value, row.unit) for row in rows] == [
        ("machine/0/memory", 1 << 30, "B"),
        ("rank/0/cpu", 55.5, "%"),
        ("rank/4/cpu", 70.0, "%"),
    ]
    assert rows[1].at == "1970-01-01T00:00:20.000Z"


def test_a_record_that_has_not_come_whole_waits_and_a_repeated_upload_is_refused(world: World) -> None:
    agent = AgentIdentity(attempt_id=f"{world.experiment.id}-1", machine=0)
    data = encode(10.0, [cpu(0, 1.0)]) + encode(20.0, [cpu(0, 2.0)])
    world.samples.append(agent, 1, offset=0, data=data[:20])
    assert world.points("rank/0/cpu") == [(0, 10.0, 1.0)]
    with pytest.raises(OffsetMismatch):
        world.samples.append(agent, 1, offset=0, data=data)
    world.samples.append(agent, 1, offset=20, data=data[20:])
    assert len(world.points("rank/0/cpu")) == 2


def test_samples_of_kinds_that_this_version_does_not_know_are_left_alone(world: World) -> None:
    agent = AgentIdentity(attempt_id=f"{world.experiment.id}-1", machine=0)
    data = encode(10.0, [cpu(0, 1.0)])
    world.samples.append(agent, 1, offset=0, data=data[:8] + b"\xff\xff" + data[10:] + data)
    assert [row.name for row in world.samples.now(NAME).series] == ["rank/0/cpu"]


def test_they_are_no_logs_and_go_with_them(world: World) -> None:
    world.send(10.0, cpu(0, 1.0))
    logs = LogFiles(world.folder / "logs")
    assert logs.streams(f"{world.experiment.id}-1") == []
    logs.delete(f"{world.experiment.id}-1")
    assert world.ask("rank/0/cpu").series == []
    shutil.rmtree(world.folder / "logs")
    assert world.samples.now(NAME).series == []


@pytest.mark.parametrize("request_", [{"tags": ["loss"]}, {"tags": [], "since": {NAME: "nonsense"}}])
def test_what_is_no_series_and_no_cursor_is_refused(world: World, request_: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        world.samples.series(SeriesRequest(experiments=[NAME], **request_))
    with pytest.raises(NotFound):
        world.samples.now("no-such-run-exp0")
