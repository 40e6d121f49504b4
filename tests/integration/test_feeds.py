"""What viewers are told of: exactly the rows that changed, on a real store; and the stream over real HTTP."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_artifact, make_attempt, make_experiments, make_machines, make_run
from tests.support.server import listening

from opengrid.client.http import Http
from opengrid.core.errors import InvalidValue
from opengrid.core.records.experiments import Experiment
from opengrid.core.records.experiments import ExperimentState as E
from opengrid.core.records.scalars import Scalar
from opengrid.services.documents.changes import Gone, Hint, RunChange, RunsChange
from opengrid.services.feeds import (
    Feed,
    HintFeed,
    LogsFeed,
    RunFeed,
    RunsFeed,
    artifacts_version,
    experiment_version,
    scalars_version,
)
from opengrid.services.log_files import LogFiles
from opengrid.services.logs import Logs
from opengrid.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    yield opened
    opened.close()


def add(database: Database, name: str, number: int = 2) -> None:
    run = make_run(name)
    with database.transaction() as tx:
        tx.runs.create(run, make_experiments(run, number), T0)


def make_scalar(experiment: Experiment) -> Scalar:
    return Scalar(
        experiment_id=experiment.id,
        tag="loss",
        run_id=experiment.run_id,
        points=3,
        first_step=0,
        last_step=2,
        last_us=T0,
        last=0.5,
        last_text=None,
        least=0.5,
        least_step=2,
        greatest=1.0,
        greatest_step=0,
    )


def move(database: Database, name: str, *states: E) -> None:
    for state in states:
        with database.transaction() as tx:
            assert tx.runs.move(tx.runs.experiment(name), state, reason=f"to {state.value}", now_us=T0)


def rows(change: object) -> dict[str, tuple[int, ...]]:
    assert isinstance(change, RunsChange)
    assert not change.refetch
    return {row.run: (row.queued, row.running, row.completed) for row in change.runs}


def test_the_list_tells_of_runs_that_are_new_move_end_or_go(database: Database) -> None:
    add(database, "old-owl")
    feed = RunsFeed(database, "runs")
    assert feed.look() is None
    assert feed.look() is None
    add(database, "calm-fox")
    assert rows(feed.look()) == {"calm-fox": (2, 0, 0)}
    move(database, "calm-fox-exp0", E.PENDING)
    assert rows(feed.look()) == {"calm-fox": (2, 0, 0)}
    move(database, "calm-fox-exp0", E.RUNNING, E.SUCCEEDED)
    move(database, "old-owl-exp0", E.STOPPED)
    assert rows(feed.look()) == {"calm-fox": (1, 0, 1), "old-owl": (1, 0, 0)}
    move(database, "calm-fox-exp1", E.STOPPED)
    assert rows(feed.look()) == {"calm-fox": (0, 0, 1)}
    assert feed.look() is None
    with database.transaction() as tx:
        tx.runs.set_reason(tx.runs.experiment("old-owl-exp1").id, "waits for memory")
    change = feed.look()
    assert isinstance(change, RunsChange)
    assert [(row.run, row.waiting) for row in change.runs] == [("old-owl", "waits for memory")]
    with database.transaction() as tx:
        tx.runs.delete_run(tx.runs.find("calm-fox").id)
    change = feed.look()
    assert isinstance(change, RunsChange)
    assert (change.runs, change.total) == ([], 1)


def test_more_than_anybody_shows_is_not_sent(database: Database) -> None:
    feed = RunsFeed(database, "runs")
    feed.look()
    for i in range(201):
        add(database, f"run-{i}", 1)
    change = feed.look()
    assert isinstance(change, RunsChange)
    assert (change.refetch, change.runs, change.total) == (True, [], 201)


def test_a_run_tells_of_its_experiments_that_changed(database: Database) -> None:
    add(database, "calm-fox", 3)
    feed = RunFeed(database, "run:calm-fox", "calm-fox", now_us=lambda: T0)
    assert feed.look() is None
    move(database, "calm-fox-exp1", E.PENDING)
    change = feed.look()
    assert isinstance(change, RunChange)
    assert [(row.experiment, row.state) for row in change.experiments] == [("calm-fox-exp1", "pending")]
    with database.transaction() as tx:
        attempt = make_attempt(tx.runs.experiment("calm-fox-exp1"))
        tx.attempts.create(attempt, make_machines(attempt))
    change = feed.look()
    assert isinstance(change, RunChange)
    assert [(row.experiment, row.attempts) for row in change.experiments] == [("calm-fox-exp1", 1)]
    with database.transaction() as tx:
        tx.runs.delete_experiment(tx.runs.experiment("calm-fox-exp0").id)
    change = feed.look()
    assert isinstance(change, RunChange)
    assert (change.experiments, change.total) == ([], 2)
    with database.transaction() as tx:
        tx.runs.delete_run(tx.runs.find("calm-fox").id)
    assert feed.look() == Gone(topic="run:calm-fox")
    assert feed.look() is None


def is_hinted(feed: Feed) -> bool:
    change = feed.look()
    assert change is None or isinstance(change, Hint)
    return change is not None


def test_an_experiment_hints_at_whatever_changes_about_it_and_nothing_else(database: Database) -> None:
    add(database, "calm-fox")
    name = "calm-fox-exp0"
    feed = HintFeed(database, "experiment", experiment_version(name), pause_s=0)
    files = HintFeed(database, "artifacts", artifacts_version(name), pause_s=0)
    assert not is_hinted(feed)
    assert not is_hinted(files)
    move(database, "calm-fox-exp1", E.PENDING)
    assert not is_hinted(feed)
    move(database, name, E.PENDING)
    assert is_hinted(feed)
    with database.transaction() as tx:
        experiment = tx.runs.experiment(name)
        attempt = make_attempt(experiment)
        tx.attempts.create(attempt, make_machines(attempt))
        tx.runs.set_reason(experiment.id, "waits for 2 agents")
    assert is_hinted(feed)
    with database.transaction() as tx:
        tx.attempts.update_machine(attempt.id, 1, facts_seen=1)
    assert is_hinted(feed)
    assert not is_hinted(feed)
    artifact = make_artifact(experiment.id, "model.ckpt")
    for digest in ("ab" * 32, "cd" * 32):
        with database.transaction() as tx:
            tx.artifacts.save([dataclasses.replace(artifact, digest=digest)])
        assert is_hinted(files)
    assert not is_hinted(files)
    with database.transaction() as tx:
        tx.runs.delete_experiment(experiment.id)
    assert feed.look() == Gone(topic="experiment")


def test_new_points_are_hinted_at_for_the_experiment_and_its_run(database: Database) -> None:
    add(database, "calm-fox")
    feeds = {
        name: HintFeed(database, name, scalars_version(name), pause_s=0)
        for name in ("calm-fox", "calm-fox-exp0", "calm-fox-exp1")
    }
    assert {name for name, feed in feeds.items() if is_hinted(feed)} == set()
    with database.transaction() as tx:
        experiment = tx.runs.experiment("calm-fox-exp0")
        tx.scalars.save([make_scalar(experiment)])
    assert {name for name, feed in feeds.items() if is_hinted(feed)} == {"calm-fox", "calm-fox-exp0"}


def test_logs_hint_at_growth_and_let_agents_know_that_somebody_reads(database: Database, tmp_path: Path) -> None:
    add(database, "calm-fox")
    files = LogFiles(tmp_path / "logs")
    logs, told = Logs(database, files), list[str]()
    feed = LogsFeed(logs, "logs:calm-fox-exp0", "calm-fox-exp0", told.append)
    assert feed.look() is None
    with database.transaction() as tx:
        experiment = tx.runs.experiment("calm-fox-exp0")
        attempt = make_attempt(experiment)
        tx.attempts.create(attempt, make_machines(attempt))
    assert is_hinted(feed)
    assert told == [attempt.id]
    assert logs.is_followed(experiment.id)
    assert f"logs:{attempt.id}" in feed.keys
    files.append(attempt.id, 1, 0, "stdout", offset=0, data=b"line\n", index="0:1")
    assert is_hinted(feed)
    assert not is_hinted(feed)
    feed.close()
    assert not logs.is_followed(experiment.id)


def test_a_browser_hears_of_a_new_run_over_http(tmp_path: Path) -> None:
    with listening(tmp_path) as server:
        http = Http(server.url, token=server.token)
        with http.stream("GET", "/api/v1/stream", query={"topic": "runs"}, timeout_s=30) as blocks:
            seen = next(blocks).decode()
            assert "event: ready\n" in seen
            run = make_run("calm-fox")
            with server.database.transaction() as tx:  # to be stopped: otherwise this server would start it
                tx.runs.create(run, make_experiments(run, 1), T0)
                tx.runs.request_stop(tx.runs.experiment("calm-fox-exp0").id, "stopped", T0)
            while "event: change" not in seen or not seen.endswith("\n\n"):
                seen += next(blocks).decode()
        change = json.loads(seen.rstrip().rpartition("data: ")[2])
        assert (change["topic"], change["total"]) == ("runs", 1)
        with pytest.raises(InvalidValue, match="nosuch"):
            http.request("GET", "/api/v1/stream", query={"topic": "nosuch"})
