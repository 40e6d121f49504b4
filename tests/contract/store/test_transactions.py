"""What every store promises about transactions: whole or nothing, one writer, many readers, few statements."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from tests.support.records import T0, make_attempt, make_exit, make_experiments, make_machines, make_run

from opengrid.core.errors import InvalidValue
from opengrid.core.records.attempts import AttemptState
from opengrid.core.records.experiments import ExperimentState
from opengrid.store.database import Database
from opengrid.store.run_list import RunFilter

E = ExperimentState
#: Longest wait for another thread.
_PATIENCE_S = 30.0


def store_run(database: Database, name: str = "brave-otter", number: int = 1) -> None:
    run = make_run(name)
    with database.transaction() as tx:
        tx.runs.create(run, make_experiments(run, number), T0)


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Collect every statement that is sent meanwhile, but for the ones that frame a transaction."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        statement = str(arguments[2])
        if not statement.startswith(("BEGIN", "SELECT pg_advisory_xact_lock")):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_an_exception_leaves_nothing_behind(database: Database) -> None:

    def write_and_fail() -> None:
        with database.transaction() as tx:
            run = make_run()
            tx.runs.create(run, make_experiments(run, 2), T0)
            tx.data.next_version("stl10", "ada", "/data", T0)
            tx.accounts.ensure_user("ada", "aa", T0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as tx:
        assert tx.runs.list() == []
        assert tx.runs.experiments_in(list(E)) == []
        assert tx.data.list() == []
        assert tx.accounts.user_of_token("aa") is None


def test_a_failing_statement_leaves_nothing_half_made(database: Database) -> None:
    run = make_run()
    experiments = make_experiments(run, 3)
    twice = [*experiments, dataclasses.replace(experiments[1], id="other")]  # the last has a name that is taken
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.runs.create(run, twice, T0)
    with database.read() as tx:
        assert tx.runs.list() == []
        assert tx.runs.experiments_in([E.QUEUED]) == []
        assert tx.runs.events(experiments[0].id) == []


def test_nothing_hangs_in_the_air(database: Database) -> None:
    nowhere = make_attempt(make_experiments(make_run())[0])
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.attempts.create(nowhere, make_machines(nowhere))
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.attempts.add_exit(make_exit(nowhere))


def test_reading_cannot_write(database: Database) -> None:
    store_run(database)
    with database.read() as tx:
        experiment = tx.runs.experiment("brave-otter-exp0")
    # Which error it is says the database: SQLite's is explained as one that cannot be written.
    with pytest.raises(Exception, match=r"readonly|read-only|cannot be written"), database.read() as tx:
        tx.runs.move(experiment, E.STOPPED, reason="", now_us=T0)
    with database.read() as tx:
        assert tx.runs.experiment(experiment.name) == experiment
    with database.transaction() as tx:  # and the connection has not been spoiled
        assert tx.runs.move(experiment, E.STOPPED, reason="", now_us=T0)


def test_a_reader_sees_one_snapshot_and_waits_for_nobody(database: Database) -> None:
    store_run(database)
    with database.read() as reader:
        before = reader.runs.experiment("brave-otter-exp0")
        with database.transaction() as tx:
            tx.runs.move(before, E.PENDING, reason="", now_us=T0)
            with database.read() as other:  # what is not committed is not seen
                assert other.runs.experiment("brave-otter-exp0") == before
        assert reader.runs.experiment("brave-otter-exp0") == before
        assert [e.after for e in reader.runs.events(before.id)] == ["queued"]
    with database.read() as reader:
        assert reader.runs.experiment("brave-otter-exp0").state is E.PENDING


@pytest.mark.parametrize("same_store", [True, False], ids=["two-threads", "two-processes-worth"])
def test_of_two_competing_moves_one_wins(database: Database, store_url: str, same_store: bool) -> None:
    store_run(database)
    other = database if same_store else Database.open(store_url)
    with database.read() as tx:
        seen = tx.runs.experiment("brave-otter-exp0")
        attempt = make_attempt(seen)
    with database.transaction() as tx:
        tx.attempts.create(attempt, [])
    both_there = threading.Barrier(2, timeout=_PATIENCE_S)

    def compete(store: Database, to: ExperimentState) -> tuple[bool, bool]:
        both_there.wait()
        with store.transaction() as tx:
            won = tx.runs.move(seen, to, reason=to.value, now_us=T0)
            return won, tx.attempts.move(attempt, now_us=T0, to=AttemptState.STOPPED) is not None

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(compete, database, E.PENDING)
        second = threads.submit(compete, other, E.STOPPED)
        outcomes = sorted([first.result(_PATIENCE_S), second.result(_PATIENCE_S)])
    assert outcomes == [(False, False), (True, True)]
    with database.read() as tx:
        found = tx.runs.experiment(seen.name)
        assert found.version == 1
        assert [e.after for e in tx.runs.events(seen.id) if e.kind == "state"] == ["queued", found.state.value]
    if not same_store:
        other.close()


def test_what_a_writer_has_read_stays_true_until_it_commits(database: Database, store_url: str) -> None:
    store_run(database)
    with database.transaction() as tx:
        attempt = make_attempt(tx.runs.experiment("brave-otter-exp0"))
        tx.attempts.create(attempt, make_machines(attempt))
    stores = [database, Database.open(store_url)]

    def count(number: int) -> None:
        with stores[number % 2].transaction() as tx:
            seen = tx.attempts.machine(attempt.id, 0).facts_seen
            tx.attempts.update_machine(attempt.id, 0, facts_seen=seen + 1)

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(count, range(60)))
    stores[1].close()
    with database.read() as tx:
        assert tx.attempts.machine(attempt.id, 0).facts_seen == 60


def test_many_threads_read_while_others_write(database: Database) -> None:
    store_run(database, number=10)

    def read(_: int) -> int:
        with database.read() as tx:
            return len(tx.runs.experiments_in(list(E)))

    def write(number: int) -> int:
        with database.transaction() as tx:
            tx.runs.set_reason(f"r-brave-ottere{number % 10}", f"reason {number}")
        return 10

    with ThreadPoolExecutor(40) as threads:
        answers = [threads.submit(read if i % 4 else write, i) for i in range(200)]
        assert {answer.result(_PATIENCE_S) for answer in answers} == {10}


def test_a_thousand_experiments_take_as_many_statements_as_one(database: Database) -> None:
    def statements(name: str, number: int) -> list[int]:
        run = make_run(name)
        counts: list[int] = []
        with counted_statements() as seen, database.transaction() as tx:
            tx.runs.create(run, make_experiments(run, number), T0)
        counts.append(len(seen))
        with counted_statements() as seen, database.read() as tx:
            assert len(tx.runs.experiments(run.id)) == number
        counts.append(len(seen))
        with counted_statements() as seen, database.transaction() as tx:
            tx.runs.delete_run(run.id)
        counts.append(len(seen))
        return counts

    one = statements("one", 1)
    assert statements("many", 1000) == one
    assert one == [4, 1, 1]


def test_a_page_of_runs_takes_two_statements(database: Database) -> None:
    for i in range(30):
        store_run(database, f"run-{i}", 3)
    with counted_statements() as seen, database.read() as tx:
        assert len(tx.runs.list(RunFilter(active=True, user="ada"))) == 30
        assert len(seen) == 3  # the runs, their counts, and why they wait
        tx.runs.count(RunFilter(active=True))
        assert len(seen) == 4


def test_a_repeated_write_that_changes_nothing_is_none(database: Database) -> None:
    """Reasons are said again in every pass of the controller."""
    store_run(database)
    with database.transaction() as tx:
        tx.runs.set_reason("r-brave-ottere0", "waits")
        tx.accounts.ensure_user("ada", "aa", T0)
        with counted_statements() as seen:
            tx.accounts.ensure_user("ada", "aa", T0)
        assert [s.split()[0] for s in seen] == ["SELECT"]


def test_a_number_that_is_none_is_refused_on_both_databases(database: Database) -> None:
    run = make_run()
    [experiment] = make_experiments(run)
    with pytest.raises(InvalidValue, match="infinite"), database.transaction() as tx:
        tx.runs.create(run, [dataclasses.replace(experiment, params={"lr": float("inf")})], T0)
    with database.read() as tx:
        assert tx.runs.list() == []


def test_a_fault_of_ours_is_not_dressed_up(database: Database) -> None:
    store_run(database)
    with pytest.raises(DBAPIError), database.transaction() as tx:
        tx.attempts.create(make_attempt(make_experiments(make_run("nosuch"))[0]), [])
