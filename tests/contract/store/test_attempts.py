"""What every store promises about attempts."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import T0, make_attempt, make_exit, make_experiments, make_machines, make_run

from opengrid.core.errors import NotFound
from opengrid.core.records.attempts import ATTEMPT_MOVES, Attempt, AttemptState, GenerationPhase, MachineState, RankExit
from opengrid.core.records.experiments import Event
from opengrid.store.database import Database

A, P = AttemptState, GenerationPhase


@pytest.fixture
def attempt(database: Database) -> Attempt:
    """A stored attempt on two machines."""
    run = make_run()
    [experiment] = make_experiments(run)
    attempt = make_attempt(experiment)
    with database.transaction() as tx:
        tx.runs.create(run, [experiment], T0)
        tx.attempts.create(attempt, make_machines(attempt))
    return attempt


def events_of(database: Database, attempt: Attempt) -> list[Event]:
    with database.read() as tx:
        return tx.runs.events(attempt.experiment_id)[1:]


def test_what_is_created_is_found_whole(database: Database, attempt: Attempt) -> None:
    with database.read() as tx:
        assert tx.attempts.find(attempt.id) == attempt
        assert tx.attempts.active() == [attempt]
        assert tx.attempts.of_experiment(attempt.experiment_id) == [attempt]
        assert tx.attempts.machines(attempt.id) == make_machines(attempt)
        assert tx.attempts.machine(attempt.id, 1) == make_machines(attempt)[1]


def test_what_does_not_exist_is_not_found(database: Database, attempt: Attempt) -> None:
    with database.read() as tx:
        with pytest.raises(NotFound, match="nosuch"):
            tx.attempts.find("nosuch")
        with pytest.raises(NotFound, match="machine 2"):
            tx.attempts.machine(attempt.id, 2)
        assert tx.attempts.machines("nosuch") == []
        assert tx.attempts.of_experiment("nosuch") == []
        assert tx.attempts.machine_of_session("nosuch") is None


def test_attempts_come_by_number_and_active_ones_oldest_first(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        experiment = tx.runs.experiment_by_id(attempt.experiment_id)
        third = make_attempt(experiment, 3, created_us=T0 - 1)
        second = make_attempt(experiment, 2, state=A.FAILED)
        for other in (third, second):
            tx.attempts.create(other, [])
        assert [a.number for a in tx.attempts.of_experiment(experiment.id)] == [1, 2, 3]
        assert [a.number for a in tx.attempts.active()] == [3, 1]


def test_attempts_to_stop_have_no_outcome_yet(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        assert tx.attempts.to_stop() == []
        assert tx.runs.request_stop(attempt.experiment_id, "stopped by ada", T0)
        assert tx.attempts.to_stop() == [attempt]
        assert tx.attempts.move(attempt, now_us=T0, outcome="stopped")
        assert tx.attempts.to_stop() == []


def test_a_move_returns_the_new_record_and_writes_an_event(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        moved = tx.attempts.move(attempt, now_us=T0 + 1, to=A.SUBMITTED, reason="2 agents started")
        assert moved == dataclasses.replace(attempt, state=A.SUBMITTED, version=1, reason="2 agents started")
        assert tx.attempts.find(attempt.id) == moved
    assert events_of(database, attempt) == [
        Event(
            at_us=T0 + 1,
            experiment_id=attempt.experiment_id,
            attempt=1,
            generation=None,
            kind="attempt",
            before="created",
            after="submitted",
            reason="2 agents started",
        )
    ]


def test_a_generation_and_its_phases_are_written_down(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        moved = tx.attempts.move(attempt, now_us=T0, to=A.SUBMITTED, reason="s")
        assert moved
        moved = tx.attempts.move(moved, now_us=T0, to=A.RUNNING, generation=1, phase=P.PREPARING, reason="all here")
        assert moved
        moved = tx.attempts.move(
            moved, now_us=T0, phase=P.RUNNING, store_address="10.0.0.1", store_port=4711, reason="prepared"
        )
        assert moved
        moved = tx.attempts.move(moved, now_us=T0, phase=P.STOPPING, outcome="failed", reason="rank 3")
        assert moved
        moved = tx.attempts.move(moved, now_us=T0, generation=2, phase=P.PREPARING, reason="again")
        assert moved
        assert tx.attempts.find(attempt.id) == moved
        assert (moved.version, moved.store_address, moved.store_port, moved.outcome) == (5, "10.0.0.1", 4711, "failed")
    assert [(e.kind, e.generation, e.before, e.after, e.reason) for e in events_of(database, attempt)] == [
        ("attempt", None, "created", "submitted", "s"),
        ("attempt", 1, "submitted", "running", "all here"),
        ("generation", 1, None, "preparing", "all here"),
        ("generation", 1, "preparing", "running", "prepared"),
        ("generation", 1, "running", "stopping", "rank 3"),
        ("generation", 2, None, "preparing", "again"),
    ]


def test_a_move_from_what_is_no_longer_true_does_nothing(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        assert tx.attempts.move(attempt, now_us=T0, token_hash="ff", token_expires_us=7)
    with database.transaction() as tx:
        assert tx.attempts.move(attempt, now_us=T0, to=A.FAILED, reason="late") is None
        found = tx.attempts.find(attempt.id)
    assert (found.state, found.version, found.token_hash, found.token_expires_us) == (A.CREATED, 1, "ff", 7)
    assert events_of(database, attempt) == []


def test_without_a_reason_the_former_one_stays(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        moved = tx.attempts.move(attempt, now_us=T0, reason="because")
        assert moved
        moved = tx.attempts.move(moved, now_us=T0, outcome="lost")
        assert moved
        assert moved.reason == "because"
        assert tx.attempts.find(attempt.id) == moved


@pytest.mark.parametrize("to", list(A))
def test_only_allowed_moves_are_made(database: Database, attempt: Attempt, to: AttemptState) -> None:
    with database.transaction() as tx:
        if to in ATTEMPT_MOVES[A.CREATED]:
            moved = tx.attempts.move(attempt, now_us=T0 + 5, to=to, reason="")
            assert moved
            assert moved.ended_us == (T0 + 5 if to.is_terminal else None)
            assert bool(tx.attempts.active()) is not to.is_terminal
        else:
            with pytest.raises(ValueError, match=f"from created to {to.value}"):
                tx.attempts.move(attempt, now_us=T0, to=to, reason="")
            assert tx.attempts.find(attempt.id) == attempt


def test_what_may_not_change_is_refused(database: Database, attempt: Attempt) -> None:
    with database.transaction() as tx:
        with pytest.raises(ValueError, match="number"):
            tx.attempts.move(attempt, now_us=T0, number=2)
        with pytest.raises(ValueError, match="colour"):
            tx.attempts.update_machine(attempt.id, 0, colour="red")
        assert tx.attempts.machines(attempt.id) == make_machines(attempt)


def test_a_machine_takes_what_its_agent_tells(database: Database, attempt: Attempt) -> None:
    told: dict[str, object] = {
        "state": MachineState.PRESENT,
        "devices": (("GPU-9",),),
        "session_hash": "ee",
        "hostname": "h1",
        "address": "10.0.0.2",
        "facts_seen": 1 << 40,
        "prepared": 1,
        "store_port": 4711,
        "started": 2,
        "ended": 3,
        "met": False,
        "broken": "no python",
    }
    with database.transaction() as tx:
        first, second = tx.attempts.machines(attempt.id)
        tx.attempts.update_machine(attempt.id, 1, **told)
    with database.transaction() as tx:
        changed = dataclasses.replace(second, **told)
        assert tx.attempts.machines(attempt.id) == [first, changed]
        assert tx.attempts.machine_of_session("ee") == changed
        tx.attempts.update_machine(attempt.id, 1, met=True, broken=None)
        tx.attempts.update_machine(attempt.id, 1)
        assert (tx.attempts.machine(attempt.id, 1).met, tx.attempts.machine(attempt.id, 1).broken) == (True, None)
        with pytest.raises(NotFound):
            tx.attempts.update_machine(attempt.id, 2, prepared=1)


def test_the_first_word_on_an_exit_counts(database: Database, attempt: Attempt) -> None:
    whole = RankExit(
        attempt_id=attempt.id,
        generation=1,
        rank=3,
        exit_code=-9,
        at_ns=T0 * 1000 + 123,
        exception="ValueError: \0",
        frame="train.py:12 in main",
        log_tail="caf\udce9",
        peak_mib=812,
        available_mib=20_000,
        oom_killed=True,
    )
    with database.transaction() as tx:
        assert tx.attempts.add_exit(whole)
        assert not tx.attempts.add_exit(dataclasses.replace(whole, exit_code=0))
        assert tx.attempts.add_exit(make_exit(attempt, rank=0))
        assert tx.attempts.add_exit(make_exit(attempt, rank=3, generation=2))
    with database.read() as tx:
        found = tx.attempts.exits(attempt.id, 1)
        assert [e.rank for e in found] == [0, 3]
        assert found[1] == dataclasses.replace(whole, exception="ValueError: \ufffd", log_tail="caf?")
        assert len(tx.attempts.exits(attempt.id, 2)) == 1
        assert tx.attempts.exits(attempt.id, 3) == []


def test_the_time_in_which_an_experiment_has_machines_is_that_of_each_machine_of_all_its_attempts(
    database: Database, attempt: Attempt
) -> None:
    second = 1_000_000

    def at(seconds: int) -> int:
        return T0 + seconds * second

    def seconds(by: int) -> float:
        with database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            assert type(experiment.held_us) is int  # what is computed of it is a float
            assert tx.runs.held_us(experiment.run_id, at(by)) == experiment.machine_us(at(by))
            return experiment.machine_us(at(by)) / second

    assert seconds(by=1000) == 0  # it waits for machines that nobody has started
    with database.transaction() as tx:
        tx.attempts.gain_machine(attempt.id, 0, at(1000))
        tx.attempts.gain_machine(attempt.id, 1, at(1010))
    assert seconds(by=1020) == 20 + 10
    with database.transaction() as tx:
        tx.attempts.lose_machine(attempt.id, 1, at(1020))
        tx.attempts.lose_machine(attempt.id, 1, at(1025), state=MachineState.WAITING)  # which it has lost already
    assert seconds(by=1040) == 40 + 10
    with database.transaction() as tx:
        tx.attempts.lose_machine(attempt.id, 1, at(1040))  # what should have replaced it never came
        for state in (A.SUBMITTED, A.LOST):
            tx.attempts.move(tx.attempts.find(attempt.id), now_us=at(1050), to=state)
    assert seconds(by=9000) == 50 + 10
    with database.transaction() as tx:
        again = make_attempt(tx.runs.experiment_by_id(attempt.experiment_id), 2, created_us=at(9000))
        tx.attempts.create(again, make_machines(again))
        tx.attempts.gain_machine(again.id, 1, at(9100))
    assert seconds(by=9103) == 50 + 10 + 3
