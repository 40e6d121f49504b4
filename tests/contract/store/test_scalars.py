"""What every store promises about event files and series."""

from __future__ import annotations

import dataclasses

from tests.support.records import T0, make_experiments, make_run

from opengrid.core.records.scalars import EventFile, Scalar
from opengrid.store.database import Database


def make_scalar(experiment_id: str, tag: str, **changes: object) -> Scalar:
    one = Scalar(
        experiment_id=experiment_id,
        run_id="r-brave-otter",
        tag=tag,
        points=10,
        first_step=0,
        last_step=9,
        last_us=T0,
        last=0.1,
        least=0.1,
        least_step=9,
        greatest=1e300,
        greatest_step=0,
    )
    return dataclasses.replace(one, **changes)


def test_files_and_series_are_stored_as_they_are(database: Database) -> None:
    run = make_run()
    (experiment,) = make_experiments(run)
    file = EventFile(experiment_id=experiment.id, number=1, attempt=1, generation=2, node=3, path="a\0b/ü")
    nothing = {"last": None, "last_text": "NaN", "least": None, "least_step": None}
    stored = [make_scalar(experiment.id, "acc", **nothing), make_scalar(experiment.id, "loss")]
    with database.transaction() as tx:
        tx.runs.create(run, [experiment], T0)
        tx.scalars.add_file(file)
        tx.scalars.save(stored)
    read = dataclasses.replace(file, path="a\ufffdb/ü", tags=("a", "b"), offset=1 << 40, points=7, problem="torn")
    with database.transaction() as tx:
        tx.scalars.save_files([read])
        tx.scalars.save([dataclasses.replace(stored[1], points=11)])
    with database.read() as tx:
        assert tx.scalars.files(experiment.id) == [read]
        assert tx.scalars.readable_files() == []
        assert tx.scalars.of_experiment(experiment.id) == [stored[0], dataclasses.replace(stored[1], points=11)]


def test_a_runs_tags_are_counted_over_its_experiments(database: Database) -> None:
    run, other = make_run(), make_run("other")
    first, second = make_experiments(run, 2)
    (stranger,) = make_experiments(other)
    with database.transaction() as tx:
        tx.runs.create(run, [first, second], T0)
        tx.runs.create(other, [stranger], T0)
        tx.scalars.save([make_scalar(first.id, "loss"), make_scalar(first.id, "acc")])
        tx.scalars.save([make_scalar(second.id, "loss", first_step=5, last_step=50, points=1)])
        tx.scalars.save([make_scalar(stranger.id, "loss", run_id=other.id)])
        assert tx.scalars.tags_of_run(run.id) == [("acc", 1, 10, 0, 9), ("loss", 2, 11, 0, 50)]


def test_all_of_it_goes_with_its_experiment(database: Database) -> None:
    run = make_run()
    (experiment,) = make_experiments(run)
    with database.transaction() as tx:
        tx.runs.create(run, [experiment], T0)
        tx.scalars.add_file(EventFile(experiment_id=experiment.id, number=1, attempt=1, generation=1, node=0, path="a"))
        tx.scalars.save([make_scalar(experiment.id, "loss")])
        tx.runs.delete_experiment(experiment.id)
        assert (tx.scalars.files(experiment.id), tx.scalars.of_experiment(experiment.id)) == ([], [])
