"""Event files taken from agents, read, and asked for: on a real store and folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tests.support.events import records, scalar, scalars, torn, version
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.core.errors import InvalidValue, NotFound, Superseded
from opengrid.core.records.attempts import AttemptState
from opengrid.core.records.experiments import ExperimentState
from opengrid.services import event_files, new_points
from opengrid.services import table as services_table
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.documents.scalars import ExperimentScalars, SeriesAnswer, SeriesRequest
from opengrid.services.event_files import EventFiles
from opengrid.services.growing import OffsetMismatch
from opengrid.services.scalar_reader import ScalarReader
from opengrid.services.scalars import Scalars
from opengrid.services.table import Table, TableDocument, TableRequest
from opengrid.store.database import Database

NAME = "brave-otter-exp0"


class World:
    """A run of two experiments, each with an attempt on two machines; its event files come at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        run = make_run()
        self.experiments = make_experiments(run, 2)
        with self.database.transaction() as tx:
            tx.runs.create(run, self.experiments, T0)
            for experiment in self.experiments:
                self.attempt(tx, experiment, 1)
        self.changed: list[str] = []
        self.some = threading.Event()
        self.restart()

    def attempt(self, tx: object, experiment: object, number: int) -> None:
        attempt = make_attempt(experiment, number, state=AttemptState.RUNNING, generation=1)
        tx.attempts.create(attempt, make_machines(attempt))

    def restart(self) -> None:
        """Be as a server that has just started."""
        self.files = EventFiles(self.database, self.folder / "events")
        self.reader = ScalarReader(self.database, self.files, changed=self.hear)
        self.scalars = Scalars(self.database, self.files, self.reader)

    def hear(self, experiment_id: str) -> None:
        self.changed.append(experiment_id)
        self.some.set()

    def send(
        self,
        data: bytes,
        path: str = "runs/a/events.out.tfevents.1",
        *,
        node: int = 0,
        generation: int = 1,
        attempt: int = 1,
        experiment: int = 0,
        offset: int = 0,
    ) -> int:
        agent = AgentIdentity(attempt_id=f"{self.experiments[experiment].id}-{attempt}", machine=node)
        return self.reader.receive(agent, node=node, path=path, generation=generation, offset=offset, data=data)

    def shown(self) -> ExperimentScalars:
        return self.scalars.of_experiment(NAME)

    def tags(self) -> list[str]:
        return [one.tag for one in self.shown().tags]

    def ask(self, *tags: str, **more: object) -> SeriesAnswer:
        return self.scalars.series(SeriesRequest(experiments=[NAME], tags=list(tags), **more))

    def line(self, tag: str) -> dict[int, float | None]:
        (one,) = self.ask(tag).series
        return dict(zip(one.steps, one.values, strict=True))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def test_what_was_sent_can_be_drawn_and_is_summarised(world: World) -> None:
    world.send(records([version(), *(scalar("val_loss", step, 1.0 / (step + 1)) for step in range(10))]))
    (one,) = world.shown().tags
    assert (one.tag, one.goal, one.points, one.first_step, one.last_step) == ("val_loss", "min", 10, 0, 9)
    assert (one.best, one.best_step, one.max, one.max_step) == (pytest.approx(0.1), 9, 1.0, 0)
    assert one.last_at == "1970-01-01T00:16:49.000Z"
    (series,) = world.ask("val_loss", "none").series
    assert (series.steps, series.times, series.start) == (list(range(10)), [1000.0 + s for s in range(10)], 1000.0)
    assert series.values == pytest.approx([1 / (step + 1) for step in range(10)])
    assert world.scalars.tags_of_run("brave-otter").tags[0].points == 10


def test_bytes_come_once_however_often_they_are_sent(world: World) -> None:
    data = scalars("loss", range(5))
    assert world.send(data[:30]) == 30
    with pytest.raises(OffsetMismatch) as refused:
        world.send(data)
    assert refused.value.size == 30
    world.send(data[30:], offset=30)
    assert list(world.line("loss")) == [0, 1, 2, 3, 4]


def test_the_end_of_a_record_may_come_later_and_the_server_may_start_anew_in_between(world: World) -> None:
    data = scalars("loss", range(1, 6))
    for cut in range(0, len(data), 7):
        world.send(data[cut : cut + 7], offset=cut)
        world.shown()
        world.restart()
    assert world.shown().tags[0].points == 5
    assert world.line("loss") == {step: float(step) for step in range(1, 6)}


def test_points_of_a_server_that_died_before_it_had_noted_them_do_not_count_twice(world: World) -> None:
    world.send(scalars("loss", range(3)))
    world.shown()
    points = world.folder / "events" / world.experiments[0].id / "points"
    with points.open("ab") as file:
        file.write(os.urandom(99))
    world.send(scalars("loss", range(3, 5)), offset=len(scalars("loss", range(3))))
    assert world.line("loss") == {step: float(step) for step in range(5)}


def test_a_thread_reads_what_comes_and_what_had_come_before_it_began(world: World) -> None:
    world.send(scalars("loss", range(3)))
    world.restart()
    world.reader.start()
    try:
        assert world.some.wait(30)
        world.some.clear()
        world.send(scalars("loss", range(3)), experiment=1)
        assert world.some.wait(30)
    finally:
        world.reader.close()
    assert world.changed == [experiment.id for experiment in world.experiments]
    with world.database.read() as tx:
        assert [tag for tag, *_ in tx.scalars.tags_of_run("r-brave-otter")] == ["loss"]


def test_a_resumed_trainings_points_take_the_place_of_those_it_did_again(world: World) -> None:
    world.send(scalars("loss", range(0, 40, 10)), "lightning_logs/version_0/tfevents.1")
    world.shown()
    world.send(scalars("loss", range(15, 26, 5), 100.0), "lightning_logs/version_1/tfevents.2", generation=2)
    assert world.line("loss") == {0: 0.0, 10: 10.0, 15: 115.0, 20: 120.0, 25: 125.0}
    (one,) = world.shown().tags
    assert (one.tag, one.points, one.last, one.max) == ("loss", 5, 125.0, 125.0)
    with world.database.transaction() as tx:
        world.attempt(tx, world.experiments[0], 2)
    world.send(scalars("loss", [20], 500.0), "lightning_logs/version_0/tfevents.1", attempt=2)
    assert list(world.line("loss").items())[-2:] == [(15, 115.0), (20, 520.0)]
    assert world.shown().tags[0].points == 4


def test_several_nodes_and_folders_keep_their_own_series(world: World) -> None:
    world.send(scalars("loss", range(3)), "logs/train/tfevents.1")
    assert world.tags() == ["loss"]
    world.send(scalars("loss", range(3), 10.0), "logs/validation/tfevents.1")
    world.send(scalars("loss", range(3), 20.0), "logs/train/tfevents.1", node=1)
    assert world.tags() == ["loss (node 1)", "loss (train)", "loss (validation)"]
    assert world.line("loss (node 1)")[0] == 20.0
    assert world.ask("loss").series == []


def test_only_what_came_since_is_answered_and_a_restart_replaces_the_series(world: World) -> None:
    data = scalars("loss", range(0, 40, 10))
    world.send(data)
    first = world.ask("loss")
    cursor = first.cursors[NAME]
    assert world.ask("loss", since={NAME: cursor}).series == []
    more = scalars("loss", [40, 50]) + scalars("other", [0])
    world.send(more, offset=len(data))
    grown = world.ask("loss", "other", since={NAME: cursor})
    assert [(s.tag, s.steps, s.is_append) for s in grown.series] == [
        ("loss", [40, 50], True),
        ("other", [0], False),
    ]
    world.send(scalars("loss", [25]), "runs/b/tfevents.2", generation=2)
    (replaced,) = world.ask("loss", "other", since=grown.cursors).series
    assert (replaced.steps, replaced.is_append) == ([0, 10, 20, 25], False)
    world.send(scalars("loss", [26]), "runs/c/tfevents.3", generation=2)
    renamed = world.ask("loss", "loss (b)", since=grown.cursors)
    assert renamed.reset == [NAME]
    assert [s.tag for s in renamed.series] == ["loss", "loss (b)"]


def table(world: World, **more: object) -> TableDocument:
    given = {"sort": "index", "descending": False, "filters": [], "search": "", "metrics": None, **more}
    page = {name: given.pop(name, default) for name, default in (("limit", 100), ("offset", 0))}
    return Table(world.database, now_us=lambda: T0).page("brave-otter", TableRequest.parse(**given), **page)


def test_a_runs_table_has_hyperparameters_and_metrics_as_columns(world: World) -> None:
    world.send(records([scalar("val_loss", 1, 0.5), scalar("acc", 1, math.nan)]))
    world.send(scalars("val_loss", [1, 2]), experiment=1)
    world.reader.catch_up([e.id for e in world.experiments])
    document = table(world, sort="metric:val_loss", descending=True)
    assert (document.total, document.columns.params) == (2, ["lr"])
    assert [(column.tag, column.goal) for column in document.columns.metrics] == [("val_loss", "min"), ("acc", "max")]
    first, second = document.experiments
    assert (first.experiment, second.experiment) == ("brave-otter-exp1", "brave-otter-exp0")
    assert (first.metrics["val_loss"].best, first.metrics["val_loss"].last) == (1.0, 2.0)
    assert (second.metrics["acc"].last, second.metrics["acc"].text) == (None, "NaN")
    one = table(world, sort="metric:val_loss", metrics=["acc"], limit=1, offset=1).experiments
    assert [(row.experiment, list(row.metrics)) for row in one] == [("brave-otter-exp1", [])]
    nothing = table(world, filters=["metric:val_loss>9"])
    assert (nothing.total, nothing.experiments, nothing.columns.params) == (0, [], ["lr"])
    assert document.unknown == nothing.unknown == []
    odd = table(world, sort="metric:val_los:last", filters=["param:x=1", "metric:acc<1"], metrics=["acc", "f1"])
    assert odd.unknown == ["param:x", "metric:val_los", "metric:f1"]


def test_the_whole_table_is_written_as_csv(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_table, "_PAGE", 1)
    world.send(records([scalar("acc", 1, 0.1), scalar("acc", 2, math.inf), scalar('a,"b"', 1, 2.0)]))
    world.reader.catch_up([e.id for e in world.experiments])
    request = TableRequest.parse(sort="index", descending=True, filters=[], search="", metrics=None)
    lines = "".join(Table(world.database, now_us=lambda: T0).csv("brave-otter", request)).splitlines()
    assert lines == [
        'experiment,state,duration_s,param:lr,acc:last,acc:best,"a,""b"":last","a,""b"":best"',
        "brave-otter-exp1,queued,,0.1,,,,",
        "brave-otter-exp0,queued,,0.1,Infinity,0.1,2.0,2.0",
    ]
    with pytest.raises(NotFound):
        Table(world.database, now_us=lambda: T0).csv("none", request)


def test_what_is_no_number_is_said_in_words(world: World) -> None:
    found = [1.0, math.nan, math.inf, -math.inf]
    world.send(records(scalar("loss", step, value) for step, value in enumerate(found)))
    (series,) = world.ask("loss").series
    assert series.values == [1.0, None, None, None]
    assert series.not_finite == [(1, "NaN"), (2, "Infinity"), (3, "-Infinity")]
    (one,) = world.shown().tags
    assert (one.last, one.text, one.min, one.max) == (None, "-Infinity", 1.0, 1.0)
    json.dumps(dataclasses.asdict(one), allow_nan=False)


def test_a_damaged_file_is_read_up_to_the_damage_and_that_is_said(world: World) -> None:
    data = scalars("loss", range(1, 11))
    world.send(torn(data, 4))
    assert list(world.line("loss")) == [1, 2, 3, 4]
    (problem,) = world.shown().problems
    at = len(data) // 10 * 4
    assert problem.reason == (
        f"at byte {at}: the length of a record does not fit its checksum; what follows is left out"
    )
    world.send(scalars("loss", [50]), offset=len(data))
    assert list(world.line("loss")) == [1, 2, 3, 4]
    world.send(scalars("acc", [1]), "runs/a/tfevents.2")
    assert world.tags() == ["acc", "loss"]


def test_records_that_are_not_what_was_written_are_left_out_and_that_is_said(world: World) -> None:
    data = bytearray(scalars("loss", range(1, 11)))
    size = len(data) // 10
    data[size * 3 + 20] ^= 1
    world.send(bytes(data[: size * 5]))
    assert list(world.line("loss")) == [1, 2, 3, 5]
    (problem,) = world.shown().problems
    assert problem.reason == f"in the record at byte {size * 3} the content does not fit the checksum: left out"
    data[size * 6 + 20] ^= 1
    world.send(bytes(data[size * 5 :]), offset=size * 5)
    assert list(world.line("loss")) == [1, 2, 3, 5, 6, 8, 9, 10]
    (problem,) = world.shown().problems
    assert problem.reason.startswith(f"in the record at byte {size * 3} and in 1 more the content does not fit")


def test_a_file_that_ends_in_the_middle_is_named_once_nothing_can_follow(world: World) -> None:
    world.send(scalars("loss", range(1, 3))[:-5])
    assert world.shown().problems == []
    (experiment,) = [e for e in world.experiments if e.name == NAME]
    with world.database.transaction() as tx:
        tx.runs.move(experiment, ExperimentState.FAILED, reason="", now_us=T0)
    (problem,) = world.shown().problems
    assert problem.reason.startswith("it ends in the middle of a record: its last ")


def test_a_file_without_scalars_changes_no_names(world: World) -> None:
    world.send(scalars("loss", range(3)), "runs/a/tfevents.1")
    world.send(records([version()]), "hparams/tfevents.1")
    assert world.tags() == ["loss"]


def test_a_record_larger_than_a_piece_is_passed_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_points, "_PIECE", 1000)
    image = Summary.Value(tag="image", image=Summary.Image(encoded_image_string=bytes(2500)))
    data = records([Event(step=1, summary=Summary(value=[image])), scalar("loss", 1, 0.5)])
    for at in range(0, len(data), 400):
        world.send(data[at : at + 400], offset=at)
        world.shown()
    assert world.line("loss") == {1: 0.5}


@pytest.mark.parametrize(
    ("node", "path"),
    [(1, "a/tfevents"), (0, "../tfevents"), (0, "/etc/tfevents"), (0, "a//tfevents"), (0, ""), (0, "x" * 5000)],
)
def test_what_is_no_file_of_the_agents_own_is_refused(world: World, node: int, path: str) -> None:
    agent = AgentIdentity(attempt_id=f"{world.experiments[0].id}-1", machine=0)
    with pytest.raises(InvalidValue):
        world.reader.receive(agent, node=node, path=path, generation=1, offset=0, data=b"x")


def test_names_of_all_kinds_are_only_names(world: World) -> None:
    for path in ("a b/tfevents", "ü\n/tfevents", "-rf/tfevents\\xff", "é/" * 300 + "tfevents"):
        world.send(scalars("loss", [1]), path)
    assert len(world.tags()) == 4
    assert {entry.name for entry in (world.folder / "events" / world.experiments[0].id).iterdir()} == {
        *("1", "2", "3", "4", "points")
    }


def test_a_loop_that_makes_files_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_files, "MOST_FILES", 2)
    for number in range(2):
        world.send(b"", f"tfevents.{number}")
    with pytest.raises(InvalidValue, match="at most 2 event files"):
        world.send(b"", "tfevents.2")


def test_an_attempt_that_is_over_or_gone_sends_nothing(world: World) -> None:
    with world.database.transaction() as tx:
        attempt = tx.attempts.find(f"{world.experiments[0].id}-1")
        tx.attempts.move(attempt, to=AttemptState.LOST, now_us=T0)
    with pytest.raises(Superseded):
        world.send(b"x")
    with world.database.transaction() as tx:
        tx.runs.delete_experiment(world.experiments[1].id)
    with pytest.raises(Superseded):
        world.send(b"x", experiment=1)


def test_files_go_with_their_experiment(world: World) -> None:
    world.send(scalars("loss", range(3)))
    world.shown()
    with world.database.transaction() as tx:
        tx.runs.delete_experiment(world.experiments[0].id)
    world.files.delete([world.experiments[0].id])
    assert list((world.folder / "events").iterdir()) == []
    world.reader.catch_up([world.experiments[0].id])
    with pytest.raises(NotFound):
        world.shown()


def test_a_cursor_that_is_none_and_an_experiment_that_is_none_are_named(world: World) -> None:
    with pytest.raises(InvalidValue, match="'what' is no cursor"):
        world.ask("loss", since={NAME: "what"})
    with pytest.raises(NotFound):
        world.scalars.series(SeriesRequest(experiments=["brave-otter-exp9"], tags=["loss"]))
