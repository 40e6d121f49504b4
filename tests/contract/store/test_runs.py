"""What every store promises about runs and experiments."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import T0, make_attempt, make_exit, make_experiments, make_machines, make_run, make_spec

from opengrid.core.errors import Conflict, InvalidValue, NotFound
from opengrid.core.records.attempts import AttemptState
from opengrid.core.records.experiments import EXPERIMENT_MOVES, Event, Experiment, ExperimentState, RootCause, Run
from opengrid.core.spec import Program, ProgramKind
from opengrid.store.database import Database
from opengrid.store.run_list import RunFilter

E = ExperimentState


def stored(
    database: Database, name: str = "brave-otter", number: int = 1, *, at_us: int = T0, user: str = "ada"
) -> Run:
    run = make_run(name, at_us=at_us, user=user, experiments=number)
    with database.transaction() as tx:
        tx.runs.create(run, make_experiments(run, number), at_us)
    return run


def one(database: Database, name: str = "brave-otter-exp0") -> Experiment:
    with database.read() as tx:
        return tx.runs.experiment(name)


def moved(database: Database, *states: ExperimentState, name: str = "brave-otter-exp0", at_us: int = T0) -> Experiment:
    for state in states:
        with database.transaction() as tx:
            assert tx.runs.move(tx.runs.experiment(name), state, reason=f"to {state.value}", now_us=at_us)
    return one(database, name)


def test_what_is_created_is_found_whole(database: Database) -> None:
    run = stored(database, number=3)
    with database.read() as tx:
        found = tx.runs.find("brave-otter")
        assert found == dataclasses.replace(run, counts={E.QUEUED: 3})
        assert tx.runs.find_by_id(run.id) == found
        assert tx.runs.experiments(run.id) == make_experiments(run, 3)
        assert tx.runs.experiment("brave-otter-exp2") == make_experiments(run, 3)[2]
        assert tx.runs.experiment_by_id(f"{run.id}e1") == make_experiments(run, 3)[1]
        assert tx.runs.taken("brave-otter")
        assert not tx.runs.taken("calm-otter")


def test_every_experiment_begins_with_a_queued_event(database: Database) -> None:
    run = stored(database, number=2)
    with database.read() as tx:
        for experiment in tx.runs.experiments(run.id):
            assert tx.runs.events(experiment.id) == [
                Event(
                    at_us=T0,
                    experiment_id=experiment.id,
                    attempt=None,
                    generation=None,
                    kind="state",
                    before=None,
                    after="queued",
                    reason="",
                )
            ]


def test_a_taken_name_is_a_conflict_and_changes_nothing(database: Database) -> None:
    first = stored(database)
    other = dataclasses.replace(make_run(), id="another")
    with pytest.raises(Conflict, match="brave-otter"), database.transaction() as tx:
        tx.runs.create(other, make_experiments(other, 5), T0)
    with database.read() as tx:
        assert [run.id for run in tx.runs.list()] == [first.id]
        assert len(tx.runs.experiments_in([E.QUEUED])) == 1


def test_a_run_without_experiments_can_be_stored(database: Database) -> None:
    stored(database, number=0)
    with database.read() as tx:
        assert tx.runs.find("brave-otter").counts == {}
        assert tx.runs.count(RunFilter(active=True)) == 0


def test_a_wrong_name_is_not_found_and_a_like_one_offered(database: Database) -> None:
    stored(database, number=2)
    with database.read() as tx:
        with pytest.raises(NotFound, match="brave-oter") as run:
            tx.runs.find("brave-oter")
        assert run.value.hint == "did you mean brave-otter?"
        with pytest.raises(NotFound) as experiment:
            tx.runs.experiment("brave-oter-exp0")
        assert experiment.value.hint is not None
        assert "brave-otter-exp0" in experiment.value.hint
        with pytest.raises(NotFound) as nothing:
            tx.runs.find("zzz")
        assert nothing.value.hint == "see `grid history`"
        for find in (tx.runs.find_by_id, tx.runs.experiment_by_id):
            with pytest.raises(NotFound):
                find("nosuch")


@pytest.mark.parametrize("name", ["brave-otter", "brave-otter-exp7"])
def test_who_names_a_run_or_too_high_an_index_is_told_the_experiments(database: Database, name: str) -> None:
    stored(database, number=2)
    with database.read() as tx, pytest.raises(NotFound) as error:
        tx.runs.experiment(name)
    assert error.value.hint == "did you mean brave-otter-exp0 or brave-otter-exp1?"


def test_runs_are_listed_newest_first_by_page_and_user_and_activity(database: Database) -> None:
    for i in range(5):
        stored(database, f"run-{i}", number=2, at_us=T0 + i, user="ada" if i % 2 else "bob")
    moved(database, E.STOPPED, name="run-1-exp0")
    moved(database, E.STOPPED, name="run-3-exp0")
    moved(database, E.FAILED, name="run-3-exp1")
    with database.read() as tx:

        def names(limit: int = 100, offset: int = 0, **filters: object) -> list[str]:
            chosen = RunFilter(**filters)  # pyright: ignore[reportArgumentType]
            return [run.name for run in tx.runs.list(chosen, limit=limit, offset=offset)]

        assert names() == ["run-4", "run-3", "run-2", "run-1", "run-0"]
        assert names(limit=2, offset=1) == ["run-3", "run-2"]
        assert names(user="ada") == ["run-3", "run-1"]
        assert names(active=True) == ["run-4", "run-2", "run-1", "run-0"]
        assert names(active=False) == ["run-3"]
        assert names(active=True, user="ada") == ["run-1"]
        assert names(offset=9) == []
        assert tx.runs.count() == 5
        assert tx.runs.count(RunFilter(active=True)) == 4
        assert tx.runs.count(RunFilter(active=False, user="ada")) == 1
        assert tx.runs.find("run-3").counts == {E.STOPPED: 1, E.FAILED: 1}
        assert tx.runs.find("run-1").counts == {E.STOPPED: 1, E.QUEUED: 1}


def listed(database: Database, sort: str = "-created_at", **filters: object) -> list[str]:
    with database.read() as tx:
        return [run.name for run in tx.runs.list(RunFilter(**filters), sort=sort)]  # pyright: ignore[reportArgumentType]


def store_run(database: Database, name: str, at_us: int = T0, **spec: object) -> None:
    run = dataclasses.replace(make_run(name, at_us=at_us), spec=make_spec(**spec))
    with database.transaction() as tx:
        tx.runs.create(run, make_experiments(run, 2), T0)


def test_runs_are_found_by_words_in_what_people_remember_of_them(database: Database) -> None:
    program = Program(kind=ProgramKind.SCRIPT, target="src/Vae.py")
    store_run(database, "calm-fox", description="100% of the data, take_2")
    store_run(database, "brave-otter", T0 + 1, program=program)
    store_run(database, "shy-hare", T0 + 2, labels={"team": "Vision"})
    assert listed(database, search="fox") == ["calm-fox"]
    assert listed(database, search="VAE") == ["brave-otter"]
    assert listed(database, search="vision") == listed(database, search="hare team") == ["shy-hare"]
    assert listed(database, search="100%") == listed(database, search="take_2") == ["calm-fox"]
    assert listed(database, search="take%2") == listed(database, search="fox hare") == []
    assert listed(database, search="ada") == ["shy-hare", "brave-otter", "calm-fox"]
    assert listed(database, search="bundle") == listed(database, search="grid_search") == []


def test_runs_are_chosen_by_states_and_time_and_sorted_by_anything(database: Database) -> None:
    for i in range(3):
        store_run(database, f"run-{i}", T0 + i)
    moved(database, E.FAILED, name="run-0-exp0")
    moved(database, E.FAILED, name="run-1-exp0")
    moved(database, E.FAILED, name="run-1-exp1")
    assert listed(database, states=(E.FAILED,)) == ["run-1", "run-0"]
    assert listed(database, states=(E.QUEUED, E.RUNNING)) == ["run-2", "run-0"]
    assert listed(database, since_us=T0 + 1) == ["run-2", "run-1"]
    assert listed(database, since_us=T0, until_us=T0 + 2) == ["run-1", "run-0"]
    assert listed(database, "-failed") == ["run-1", "run-0", "run-2"]
    assert listed(database, "queued") == ["run-1", "run-0", "run-2"]
    assert listed(database, "run") == listed(database, "created_at") == ["run-0", "run-1", "run-2"]
    assert listed(database, "experiments") == ["run-2", "run-1", "run-0"]
    with pytest.raises(InvalidValue, match="cannot be sorted by 'spec'"):
        listed(database, "-spec")


def test_a_run_says_why_its_oldest_waiting_experiment_waits(database: Database) -> None:
    store_run(database, "calm-fox")
    with database.transaction() as tx:
        first, second = tx.runs.experiments(tx.runs.find("calm-fox").id)
        tx.runs.set_reason(second.id, "waits for 8 GPUs")
        assert tx.runs.find("calm-fox").waiting is None
        tx.runs.set_reason(first.id, "waits behind brave-otter-exp0")
        assert tx.runs.find("calm-fox").waiting == "waits behind brave-otter-exp0"
        tx.runs.move(tx.runs.experiment_by_id(first.id), E.STOPPED, reason="enough", now_us=T0)
        assert tx.runs.find("calm-fox").waiting == "waits for 8 GPUs"


def test_what_runs_can_be_chosen_by_comes_most_common_first(database: Database) -> None:
    store_run(database, "run-0", labels={"team": "b"})
    store_run(database, "run-1", labels={"team": "b", "a": ""})
    store_run(database, "run-2", labels={"team": "a"})
    stored(database, "run-3", user="bob")
    with database.read() as tx:
        assert tx.runs.users(9) == ["ada", "bob"]
        assert tx.runs.users(1) == ["ada"]
        assert tx.runs.labels(2) == [("team", "b"), ("a", "")]


def test_experiments_in_states_come_oldest_first(database: Database) -> None:
    stored(database, "late", number=2, at_us=T0 + 5)
    stored(database, "early", number=2, at_us=T0)
    moved(database, E.PENDING, name="late-exp0")
    moved(database, E.FAILED, name="early-exp0")
    with database.read() as tx:
        assert [e.name for e in tx.runs.experiments_in([E.QUEUED, E.PENDING])] == [
            "early-exp1",
            "late-exp0",
            "late-exp1",
        ]
        assert [e.name for e in tx.runs.experiments_in([E.FAILED])] == ["early-exp0"]
        assert tx.runs.experiments_in([]) == []


def test_a_move_is_recorded_with_its_event(database: Database) -> None:
    stored(database)
    with database.transaction() as tx:
        before = tx.runs.experiment("brave-otter-exp0")
        assert tx.runs.move(before, E.PENDING, reason="2 agents started", now_us=T0 + 1, attempt=1)
    after = one(database)
    assert after == dataclasses.replace(before, state=E.PENDING, version=1, reason="2 agents started")
    with database.read() as tx:
        assert tx.runs.events(before.id)[-1] == Event(
            at_us=T0 + 1,
            experiment_id=before.id,
            attempt=1,
            generation=None,
            kind="state",
            before="queued",
            after="pending",
            reason="2 agents started",
        )


def test_a_move_from_what_is_no_longer_true_does_nothing(database: Database) -> None:
    stored(database)
    seen = one(database)
    moved(database, E.PENDING)
    with database.transaction() as tx:
        assert not tx.runs.move(seen, E.STOPPED, reason="too late", now_us=T0)
        assert len(tx.runs.events(seen.id)) == 2
    moved(database, E.QUEUED)  # the same state as seen, but another version
    with database.transaction() as tx:
        assert not tx.runs.move(seen, E.STOPPED, reason="too late", now_us=T0)
    assert one(database).state is E.QUEUED


def test_a_deleted_experiment_does_not_move(database: Database) -> None:
    stored(database)
    seen = one(database)
    with database.transaction() as tx:
        tx.runs.delete_experiment(seen.id)
    with database.transaction() as tx:
        assert not tx.runs.move(seen, E.STOPPED, reason="", now_us=T0)


@pytest.mark.parametrize("to", list(E))
def test_only_allowed_moves_are_made(database: Database, to: ExperimentState) -> None:
    stored(database)
    seen = one(database)
    if to in EXPERIMENT_MOVES[E.QUEUED]:
        assert moved(database, to).state is to
    else:
        with pytest.raises(ValueError, match=f"from queued to {to.value}"), database.transaction() as tx:
            tx.runs.move(seen, to, reason="", now_us=T0)
        assert one(database) == seen


def test_started_is_the_first_time_running_and_ended_the_last_end(database: Database) -> None:
    stored(database)
    moved(database, E.PENDING)
    assert moved(database, E.RUNNING, at_us=T0 + 1).started_us == T0 + 1
    again = moved(database, E.QUEUED, E.PENDING, E.RUNNING, at_us=T0 + 2)
    assert (again.started_us, again.ended_us) == (T0 + 1, None)
    assert moved(database, E.FAILED, at_us=T0 + 3).ended_us == T0 + 3


def test_a_failure_keeps_its_cause_until_it_is_tried_again(database: Database) -> None:
    stored(database)
    cause = RootCause(
        summary="rank 3 exited with code 1",
        rank=3,
        exit_code=1,
        exception="ValueError: bad lr \udcff\0",
        log_tail="Traceback …\n",
        victims=(0, 1),
    )
    with database.transaction() as tx:
        seen = tx.runs.experiment("brave-otter-exp0")
        tx.runs.request_stop(seen.id, "stopped by ada", T0)
        tx.runs.move(seen, E.FAILED, reason=cause.summary, now_us=T0 + 9, exit_code=1, root_cause=cause)
    failed = one(database)
    assert (failed.exit_code, failed.root_cause, failed.ended_us) == (1, cause, T0 + 9)
    again = moved(database, E.QUEUED)
    assert (again.exit_code, again.root_cause, again.ended_us, again.stop_requested) == (None, None, None, None)


def test_a_request_to_stop_survives_a_return_to_the_queue(database: Database) -> None:
    stored(database)
    seen = moved(database, E.PENDING)
    with database.transaction() as tx:
        assert tx.runs.request_stop(seen.id, "stopped by ada", T0)
    moved(database, E.QUEUED)
    with database.read() as tx:
        assert [e.id for e in tx.runs.stop_requested()] == [seen.id]


def test_a_stop_is_asked_once_and_only_of_what_goes_on(database: Database) -> None:
    stored(database, number=2)
    with database.transaction() as tx:
        first, second = tx.runs.experiments(tx.runs.find("brave-otter").id)
        assert tx.runs.request_stop(first.id, "stopped by ada", T0 + 1)
        assert not tx.runs.request_stop(first.id, "stopped by bob", T0 + 2)
        assert [(e.id, e.stop_requested) for e in tx.runs.stop_requested()] == [(first.id, "stopped by ada")]
        assert tx.runs.experiment_by_id(first.id).version == first.version
        note = tx.runs.events(first.id)[-1]
        assert (note.kind, note.at_us, note.reason) == ("note", T0 + 1, "stop requested: stopped by ada")
        assert not tx.runs.request_stop("nosuch", "", T0)
    moved(database, E.STOPPED)
    moved(database, E.STOPPED, name=second.name)
    with database.transaction() as tx:
        assert tx.runs.stop_requested() == []
        assert not tx.runs.request_stop(second.id, "", T0)


def test_a_reason_to_wait_is_no_move(database: Database) -> None:
    stored(database)
    seen = one(database)
    with database.transaction() as tx:
        tx.runs.set_reason(seen.id, "waits for 8 GPUs")
    with database.transaction() as tx:
        assert tx.runs.experiment_by_id(seen.id) == dataclasses.replace(seen, reason="waits for 8 GPUs")
        assert len(tx.runs.events(seen.id)) == 1
        assert tx.runs.move(seen, E.PENDING, reason="", now_us=T0)


def test_events_keep_the_order_in_which_they_were_written(database: Database) -> None:
    stored(database)
    seen = one(database)
    for i in range(20):
        with database.transaction() as tx:
            tx.runs.note(
                Event(
                    at_us=T0 - i,  # a clock that was set back must not turn history round
                    experiment_id=seen.id,
                    attempt=1,
                    generation=2,
                    kind="launch",
                    before=None,
                    after=None,
                    reason=str(i),
                )
            )
    with database.read() as tx:
        assert [e.reason for e in tx.runs.events(seen.id)] == ["", *map(str, range(20))]
        assert tx.runs.events("nosuch") == []


def test_the_newest_rehearsal_of_what_has_not_ended_is_found(database: Database) -> None:
    stored(database, number=3)
    with database.transaction() as tx:
        for reason, name in (("old", "exp0"), ("new", "exp0"), ("of what has ended", "exp1")):
            id = tx.runs.experiment(f"brave-otter-{name}").id
            tx.runs.note(Event(at_us=T0, experiment_id=id, attempt=1, generation=1, kind="rehearsal", reason=reason))
            tx.runs.note(Event(at_us=T0, experiment_id=id, reason="something else"))
    moved(database, E.STOPPED, name="brave-otter-exp1")
    with database.read() as tx:
        assert [event.reason for event in tx.runs.last_rehearsals()] == ["new"]


def test_experiments_count_their_attempts_and_generations(database: Database) -> None:
    stored(database, number=2)
    with database.transaction() as tx:
        first, _ = tx.runs.experiments_in([E.QUEUED])
        tx.attempts.create(make_attempt(first, 1, generation=3, state=AttemptState.LOST), [])
        tx.attempts.create(make_attempt(first, 2, generation=1), [])
    with database.read() as tx:
        assert [(e.attempts, e.generations) for e in tx.runs.experiments(first.run_id)] == [(2, 4), (0, 0)]
        assert (tx.runs.experiment(first.name).attempts, tx.runs.experiments_in([E.QUEUED])[0].generations) == (2, 4)


@pytest.mark.parametrize("whole_run", [True, False])
def test_deleting_takes_along_everything_below(database: Database, whole_run: bool) -> None:
    kept, run = stored(database, "kept"), stored(database, number=2)
    with database.transaction() as tx:
        for experiment in tx.runs.experiments_in([E.QUEUED]):
            attempt = make_attempt(experiment)
            tx.attempts.create(attempt, make_machines(attempt))
            tx.attempts.add_exit(make_exit(attempt))
    with database.transaction() as tx:
        if whole_run:
            tx.runs.delete_run(run.id)
        else:
            for experiment in tx.runs.experiments(run.id):
                tx.runs.delete_experiment(experiment.id)
    with database.read() as tx:
        assert tx.runs.taken("brave-otter") is not whole_run
        assert [e.name for e in tx.runs.experiments_in([E.QUEUED])] == ["kept-exp0"]
        gone = make_attempt(make_experiments(run)[0])
        assert [a.experiment_id for a in tx.attempts.active()] == [f"{kept.id}e0"]
        assert (tx.attempts.machines(gone.id), tx.attempts.exits(gone.id, 1)) == ([], [])
        assert tx.runs.events(gone.experiment_id) == []
        assert len(tx.runs.events(f"{kept.id}e0")) == 1
    with database.transaction() as tx:
        tx.runs.delete_run("nosuch")
        tx.runs.delete_experiment("nosuch")


def test_a_deleted_name_is_free_again(database: Database) -> None:
    run = stored(database)
    with database.transaction() as tx:
        tx.runs.delete_run(run.id)
    stored(database)


def test_any_text_of_the_world_is_stored(database: Database) -> None:
    odd = "ünï ☃ 🚀 \udcff \0 '\"\\ %s :name\n"
    run = dataclasses.replace(
        make_run(), spec=make_spec(description=odd, shell={"LS_COLORS": odd}, environment={"A": odd}), user="ada"
    )
    experiment = dataclasses.replace(
        make_experiments(run)[0], arguments=(odd, ""), params={odd: [1, 2.5, None, {"a": odd}]}, reason=odd
    )
    with database.transaction() as tx:
        tx.runs.create(run, [experiment], T0)
    with database.read() as tx:
        found = tx.runs.experiment(experiment.name)
        assert tx.runs.find(run.name).spec == run.spec
        assert (found.arguments, found.params) == (experiment.arguments, experiment.params)
        assert found.reason == odd.replace("\0", "\ufffd").replace("\udcff", "?")
        with pytest.raises(NotFound):
            tx.runs.find(odd)
