"""planning.generation: from facts to the next move."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from opengrid.core.protocol import Phase, Restore, RestoreFile, Stop
from opengrid.core.records.attempts import (
    Attempt,
    AttemptMachine,
    AttemptState,
    Generation,
    GenerationPhase,
    MachineState,
    RankExit,
)
from opengrid.core.records.clusters import Cluster
from opengrid.core.records.experiments import RootCause
from opengrid.planning.generation import SETTLE_S, decide, desired_state
from opengrid.planning.recovery import Later, Past, replace_within_s

NOW = 1_000_000_000


def attempt(state: AttemptState = AttemptState.RUNNING, **changes: object) -> Attempt:
    base = Attempt(
        id="x-1",
        experiment_id="x",
        number=1,
        state=state,
        version=5,
        generation=1 if state is AttemptState.RUNNING else 0,
        phase=GenerationPhase.PREPARING,
        store_address=None,
        store_port=None,
        outcome=None,
        reason="",
        token_hash="",
        token_expires_us=0,
        created_us=0,
    )
    return dataclasses.replace(base, **changes)


def machine(index: int, state: MachineState = MachineState.PRESENT, **changes: object) -> AttemptMachine:
    base = AttemptMachine(attempt_id="x-1", index=index, state=state, devices=(), address="10.0.0.1", store_port=4000)
    return dataclasses.replace(base, **changes)


def rank_exit(rank: int, exit_code: int, at_ns: int = 0) -> RankExit:
    return RankExit(attempt_id="x-1", generation=1, rank=rank, exit_code=exit_code, at_ns=at_ns)


def move(a: Attempt, machines: list[AttemptMachine], exits: list[RankExit] | None = None, **facts: object) -> Any:
    past = Past(generations=tuple(generation(n) for n in range(1, a.generation + 1)))
    arguments = {"lost": frozenset[int](), "stop_reason": None, "past": past, "now_us": NOW, **facts}
    return decide(a, machines, exits or [], **arguments)  # type: ignore[arg-type]


def generation(number: int, **changes: object) -> Generation:
    base = Generation(attempt_id="x-1", number=number, created_us=NOW)
    return dataclasses.replace(base, **changes)


def test_a_gang_assembles_while_agents_are_missing() -> None:
    waiting = machine(1, MachineState.WAITING)
    first = move(attempt(AttemptState.SUBMITTED), [machine(0), waiting])
    assert first is not None
    assert first.to is AttemptState.ASSEMBLING
    assert "1 of 2 agents" in first.reason
    assert move(attempt(AttemptState.ASSEMBLING), [machine(0), waiting]) is None


def test_the_first_generation_is_prepared_once_all_agents_are_here() -> None:
    step = move(attempt(AttemptState.ASSEMBLING), [machine(0), machine(1)])
    assert step is not None
    assert (step.to, step.changes["generation"], step.changes["phase"]) == (
        AttemptState.RUNNING,
        1,
        GenerationPhase.PREPARING,
    )


def test_ranks_start_only_when_every_machine_is_prepared() -> None:
    assert move(attempt(), [machine(0, prepared=1), machine(1)]) is None
    step = move(attempt(), [machine(0, prepared=1), machine(1, prepared=1)])
    assert step is not None
    assert (step.changes["phase"], step.changes["store_address"], step.changes["store_port"]) == (
        GenerationPhase.RUNNING,
        "10.0.0.1",
        4000,
    )


RUNNING = {"phase": GenerationPhase.RUNNING}


def test_the_first_failed_exit_ends_the_generation_and_names_the_earliest_rank() -> None:
    step = move(attempt(**RUNNING), [machine(0)], [rank_exit(0, 1, at_ns=20), rank_exit(3, -9, at_ns=10)])
    assert step is not None
    assert (step.changes["phase"], step.changes["outcome"]) == (GenerationPhase.STOPPING, "failed")
    assert step.reason == "rank 3 was killed by SIGKILL"


def test_a_generation_goes_on_while_some_ranks_have_ended_well() -> None:
    assert move(attempt(**RUNNING), [machine(0, ended=1), machine(1)], [rank_exit(0, 0)]) is None


def test_an_attempt_succeeds_when_no_rank_is_left_and_none_failed() -> None:
    step = move(attempt(**RUNNING), [machine(0, ended=1), machine(1, ended=1)], [rank_exit(0, 0), rank_exit(1, 0)])
    assert step is not None
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "succeeded")


def test_stopping_waits_for_every_living_machine() -> None:
    stopping = attempt(phase=GenerationPhase.STOPPING, outcome="failed", reason="rank 1 exited with code 1")
    machines = [machine(0, ended=1), machine(1)]
    assert move(stopping, machines) is None
    step = move(stopping, machines, lost=frozenset({1}))
    assert step is not None
    assert (step.to, step.lost) == (None, (1,))
    assert step.changes == {"phase": GenerationPhase.ENDED, "outcome": "lost"}


@pytest.mark.parametrize("phase", [GenerationPhase.PREPARING, GenerationPhase.RUNNING])
def test_a_stop_wins_over_the_failures_it_causes(phase: GenerationPhase) -> None:
    step = move(attempt(phase=phase), [machine(0)], [rank_exit(0, -15)], stop_reason="stopped by ada")
    assert step is not None
    assert step.changes["outcome"] == "stopped"


def test_a_stop_while_agents_are_missing_ends_the_attempt() -> None:
    step = move(attempt(AttemptState.SUBMITTED), [machine(0, MachineState.WAITING)], stop_reason="stopped by ada")
    assert step is not None
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "stopped")


def test_a_lost_machine_ends_the_others_at_once() -> None:
    step = move(attempt(**RUNNING), [machine(0), machine(1)], lost=frozenset({1}))
    assert step is not None
    assert (step.changes["phase"], step.changes["outcome"]) == (GenerationPhase.STOPPING, "lost")
    assert "machine 1" in step.reason


def test_a_machine_that_cannot_prepare_ends_the_generation_with_its_words() -> None:
    step = move(attempt(), [machine(0, broken="no space left", ended=1), machine(1, prepared=1)])
    assert step is not None
    assert step.changes == {"phase": GenerationPhase.ENDED, "outcome": "failed"}
    assert "no space left" in step.reason


def test_what_a_machine_was_refused_with_ends_the_attempt_though_its_agent_is_gone() -> None:
    refused = machine(1, MachineState.WAITING, broken="datastore d:1 is damaged", ended=1)
    step = move(attempt(AttemptState.SUBMITTED), [machine(0), refused], lost=frozenset({1}))
    assert step is not None
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "failed")
    assert step.reason == "machine 1: datastore d:1 is damaged"
    again = move(attempt(), [machine(0), refused], lost=frozenset({1}))
    assert again is not None
    assert again.reason == step.reason


def test_what_may_be_better_the_next_time_is_tried_again_and_told_though_its_agent_is_gone() -> None:
    refused = machine(1, MachineState.PRESENT, broken="the bucket does not answer", is_retryable=True, ended=1)
    for a in (attempt(AttemptState.SUBMITTED), attempt()):
        step = move(a, [machine(0), refused], lost=frozenset({1}))
        assert step is not None
        assert (step.changes["outcome"], step.reason) == ("lost", "machine 1: the bucket does not answer")
    often = Past(generations=(), lost_attempts=3)
    step = move(attempt(AttemptState.SUBMITTED), [machine(0), refused], lost=frozenset({1}), past=often)
    assert step is not None
    assert step.changes["outcome"] == "failed"


def test_what_cannot_start_at_all_is_not_tried_again() -> None:
    for cannot_start, outcome in ((False, "lost"), (True, "failed")):
        past = Past(cannot_start=cannot_start)
        step = move(attempt(AttemptState.SUBMITTED), [machine(0, MachineState.WAITING)], lost=frozenset({0}), past=past)
        assert step is not None
        assert step.changes["outcome"] == outcome


def test_what_broke_in_one_generation_does_not_end_the_next() -> None:
    broken = machine(0, broken="the bucket does not answer", is_retryable=True, ended=1)
    assert move(attempt(generation=2), [broken, machine(1, prepared=2)]) is None


def test_an_attempt_is_over_when_all_living_agents_have_released() -> None:
    ending = attempt(AttemptState.ENDING, outcome="succeeded", reason="done")
    released = machine(0, MachineState.RELEASED)
    assert move(ending, [released, machine(1)]) is None
    step = move(ending, [released, machine(1)], lost=frozenset({1}))
    assert step is not None
    assert step.to is AttemptState.SUCCEEDED


def desired(a: Attempt) -> tuple[Phase, Stop | None]:
    state = desired_state(a, grace_s=15, flush_interval_s=2, now_ns=0)
    return state.phase, state.stop


def test_ranks_get_sigterm_and_grace_from_the_user_but_a_short_settle_after_a_failure() -> None:
    by_user = attempt(phase=GenerationPhase.STOPPING, outcome="stopped")
    failed = attempt(phase=GenerationPhase.STOPPING, outcome="failed")
    assert desired(by_user) == (Phase.STOP, Stop(terminate=True, grace_s=15))
    assert desired(failed) == (Phase.STOP, Stop(terminate=False, grace_s=SETTLE_S))


def test_agents_wait_until_all_are_here_and_are_released_at_the_end() -> None:
    assert desired(attempt(AttemptState.ASSEMBLING))[0] is Phase.WAIT
    assert desired(attempt())[0] is Phase.PREPARE
    assert desired(attempt(phase=GenerationPhase.RUNNING))[0] is Phase.RUN
    assert desired(attempt(AttemptState.ENDING))[0] is Phase.RELEASED
    assert desired(attempt(AttemptState.FAILED))[0] is Phase.RELEASED


def ended(*causes: RootCause, outcome: str = "failed", lived_us: int = 60_000_000, **facts: Any) -> Any:
    """Return what follows generations that failed so, the last one just now."""
    past = Past(
        generations=tuple(
            generation(n, started_us=NOW - lived_us, ended_us=NOW, cause=cause) for n, cause in enumerate(causes, 1)
        ),
        **facts,
    )
    over = attempt(generation=len(causes), phase=GenerationPhase.ENDED, outcome=outcome, reason="it failed")
    lost = MachineState.LOST if outcome == "lost" else MachineState.PRESENT
    return move(over, [machine(0), machine(1, lost)], past=past)


KILLED = RootCause(summary="rank 3 was killed by SIGKILL", rank=3, exit_code=-9, signal="SIGKILL")
RAISED = RootCause(
    summary="rank 0 failed: ValueError: x", rank=0, exit_code=1, exception="ValueError: x", frame="t.py:1"
)
NETWORK = RootCause(
    summary="rank 2 failed: reset", rank=2, exit_code=1, exception="RuntimeError: Connection reset by peer"
)
LOST = RootCause(summary="the agent of machine 1 died", machine=1)


@pytest.mark.parametrize("cause", [KILLED, NETWORK], ids=["killed", "network"])
def test_what_came_from_outside_is_followed_by_another_generation_on_the_same_machines(cause: RootCause) -> None:
    step = ended(cause)
    assert (step.to, step.replace) == (None, ())
    assert step.changes == {
        "generation": 2,
        "phase": GenerationPhase.PREPARING,
        "outcome": None,
        "store_address": None,
        "store_port": None,
    }
    assert step.reason == f"restart 1 of 3: {cause.summary}"


def test_a_lost_machine_alone_is_replaced() -> None:
    step = ended(LOST, outcome="lost")
    assert (step.changes["generation"], step.replace) == (2, (1,))


def test_a_machine_that_is_not_replaced_in_time_sends_the_gang_elsewhere() -> None:
    machines = [machine(0, prepared=2), machine(1, MachineState.WAITING)]
    past = Past(generations=(generation(1), generation(2)), replace_s=90)
    assert move(attempt(generation=2), machines, past=past, now_us=NOW + 90_000_000) is None
    step = move(attempt(generation=2), machines, past=past, now_us=NOW + 90_000_001)
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "lost")
    assert step.reason == "machine 1 was not replaced within 90 s"


def test_a_cluster_that_must_start_a_machine_gets_more_time_for_it_unless_somebody_knows_better() -> None:
    fixed = Cluster(
        name="lab", engine="ray", address="", possible={}, work_dir="/w", python=None, user="me", created_us=0
    )
    scaling = dataclasses.replace(fixed, possible={"4_v100_16gb": 2})
    assert replace_within_s(None) == replace_within_s(fixed) < replace_within_s(scaling)
    assert replace_within_s(dataclasses.replace(scaling, replace_s=7)) == 7


def test_restarts_are_limited_and_the_reason_says_how_many_there_were() -> None:
    step = ended(KILLED, KILLED, KILLED, KILLED)
    assert (step.to, step.changes) == (AttemptState.ENDING, {"outcome": "failed"})
    assert step.reason == "rank 3 was killed by SIGKILL; given up after 3 restarts"
    assert ended(KILLED, max_restarts=0).reason == "rank 3 was killed by SIGKILL"


def test_the_scripts_own_errors_are_retried_only_when_asked_and_never_twice_at_one_place() -> None:
    assert ended(RAISED).to is AttemptState.ENDING
    assert ended(RAISED, max_restarts=2).changes["generation"] == 2
    again = ended(RAISED, RAISED, max_restarts=2)
    assert again.to is AttemptState.ENDING
    assert "the same error at the same place twice" in again.reason
    elsewhere = dataclasses.replace(RAISED, frame="t.py:9")
    assert ended(RAISED, elsewhere, max_restarts=2).changes["generation"] == 3


def test_generations_that_end_at_once_are_followed_by_growing_pauses() -> None:
    assert ended(KILLED, lived_us=100_000).changes["generation"] == 2
    assert ended(KILLED, KILLED, lived_us=100_000, max_restarts=99) == Later(NOW + 1_000_000)
    assert ended(*[KILLED] * 20, lived_us=100_000, max_restarts=99) == Later(NOW + 30_000_000)
    assert ended(*[KILLED] * 20, max_restarts=99).changes["generation"] == 21


def test_generations_that_leave_newer_checkpoints_are_followed_at_once_however_short_they_lived() -> None:
    past = Past(
        max_restarts=99,
        generations=tuple(
            generation(n, started_us=NOW - 100_000, ended_us=NOW, cause=KILLED, restore=_restore(f"{n}"))
            for n in range(1, 9)
        ),
    )
    over = attempt(generation=8, phase=GenerationPhase.ENDED, outcome="failed", reason="it failed")
    assert move(over, [machine(0)], past=past).changes["generation"] == 9


def _restore(digest: str) -> Restore:
    return Restore(files=(RestoreFile(node=None, path="last.pt", size=1, sha256=digest, modified_us=0),))


def test_after_a_restart_of_the_computer_only_auto_resume_queues_it_again() -> None:
    assert ended(LOST, outcome="lost", is_new_boot=True).changes["outcome"] == "failed"
    step = ended(LOST, outcome="lost", is_new_boot=True, auto_resume=True)
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "lost")


def test_a_machine_that_goes_away_ends_the_attempt_as_preempted_once_all_ranks_have_ended() -> None:
    leaving = [machine(0), machine(1, preempted=True)]
    step = move(attempt(**RUNNING), leaving)
    assert step.changes == {"phase": GenerationPhase.STOPPING, "outcome": "preempted"}
    assert desired(attempt(**step.changes)) == (Phase.STOP, Stop(terminate=True, grace_s=15))
    stopping = attempt(**step.changes, reason=step.reason)
    step = move(stopping, [dataclasses.replace(m, ended=1) for m in leaving])
    step = move(dataclasses.replace(stopping, **step.changes), leaving)
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "preempted")


def test_a_machine_that_goes_before_its_grace_is_over_was_preempted_all_the_same() -> None:
    gone = [machine(0, ended=1), machine(1, MachineState.PRESENT, preempted=True)]
    stopping = attempt(phase=GenerationPhase.STOPPING, outcome="preempted", reason="machine 1 is being taken away")
    step = move(stopping, gone, lost=frozenset({1}))
    assert (step.changes["outcome"], step.lost) == ("preempted", (1,))
    sudden = move(attempt(**RUNNING), gone, lost=frozenset({1}))
    assert sudden.changes["outcome"] == "preempted"


def test_later_generations_look_for_a_checkpoint_before_their_ranks_start() -> None:
    prepared = [machine(0, prepared=2), machine(1, prepared=2)]
    assert move(attempt(generation=2), prepared).changes == {"phase": GenerationPhase.RESTORING}
    restoring = attempt(generation=2, phase=GenerationPhase.RESTORING)
    nothing = Past(generations=(generation(1), generation(2, restore=Restore())))
    assert move(restoring, prepared, past=nothing).changes["phase"] is GenerationPhase.RUNNING
    file = RestoreFile(node=None, path="last.pt", size=1, sha256="", modified_us=0)
    there = Past(generations=(generation(1), generation(2, restore=Restore(checkpoint="last.pt", files=(file,)))))
    assert move(restoring, prepared, past=there) is None
    restored = [dataclasses.replace(m, restored=2) for m in prepared]
    assert move(restoring, restored, past=there).reason == "goes on from last.pt"


def test_a_replacement_that_does_not_come_makes_way_for_another_attempt() -> None:
    waiting = [machine(0, prepared=2), machine(1, MachineState.WAITING)]
    past = Past(generations=(generation(1), generation(2, created_us=NOW - 61_000_000)))
    step = move(attempt(generation=2), waiting, past=past)
    assert (step.to, step.changes["outcome"]) == (AttemptState.ENDING, "lost")
