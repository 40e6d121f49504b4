"""planning.generation: from facts to the next move."""

from __future__ import annotations

import dataclasses

import pytest

from opengrid.core.protocol import Phase, Stop
from opengrid.core.records import Attempt, AttemptMachine, AttemptState, GenerationPhase, MachineState, RankExit
from opengrid.planning.generation import SETTLE_S, Move, decide, desired_state


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


def move(
    a: Attempt, machines: list[AttemptMachine], exits: list[RankExit] | None = None, **facts: object
) -> Move | None:
    arguments = {"lost": frozenset[int](), "stop_reason": None, **facts}
    return decide(a, machines, exits or [], **arguments)  # type: ignore[arg-type]


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
    assert (step.to, step.generation, step.phase) == (AttemptState.RUNNING, 1, GenerationPhase.PREPARING)


def test_ranks_start_only_when_every_machine_is_prepared() -> None:
    assert move(attempt(), [machine(0, prepared=1), machine(1)]) is None
    step = move(attempt(), [machine(0, prepared=1), machine(1, prepared=1)])
    assert step is not None
    assert (step.phase, step.store_address, step.store_port) == (GenerationPhase.RUNNING, "10.0.0.1", 4000)


RUNNING = {"phase": GenerationPhase.RUNNING}


def test_the_first_failed_exit_ends_the_generation_and_names_the_earliest_rank() -> None:
    step = move(attempt(**RUNNING), [machine(0)], [rank_exit(0, 1, at_ns=20), rank_exit(3, -9, at_ns=10)])
    assert step is not None
    assert (step.phase, step.outcome) == (GenerationPhase.STOPPING, "failed")
    assert step.reason == "rank 3 was killed by SIGKILL"


def test_a_generation_goes_on_while_some_ranks_have_ended_well() -> None:
    assert move(attempt(**RUNNING), [machine(0, ended=1), machine(1)], [rank_exit(0, 0)]) is None


def test_an_attempt_succeeds_when_no_rank_is_left_and_none_failed() -> None:
    step = move(attempt(**RUNNING), [machine(0, ended=1), machine(1, ended=1)], [rank_exit(0, 0), rank_exit(1, 0)])
    assert step is not None
    assert (step.to, step.outcome) == (AttemptState.ENDING, "succeeded")


def test_stopping_waits_for_every_living_machine() -> None:
    stopping = attempt(phase=GenerationPhase.STOPPING, outcome="failed", reason="rank 1 exited with code 1")
    machines = [machine(0, ended=1), machine(1)]
    assert move(stopping, machines) is None
    step = move(stopping, machines, lost=frozenset({1}))
    assert step is not None
    assert (step.to, step.outcome, step.reason) == (AttemptState.ENDING, "failed", "rank 1 exited with code 1")


@pytest.mark.parametrize("phase", [GenerationPhase.PREPARING, GenerationPhase.RUNNING])
def test_a_stop_wins_over_the_failures_it_causes(phase: GenerationPhase) -> None:
    step = move(attempt(phase=phase), [machine(0)], [rank_exit(0, -15)], stop_reason="stopped by ada")
    assert step is not None
    assert step.outcome == "stopped"


def test_a_stop_while_agents_are_missing_ends_the_attempt() -> None:
    step = move(attempt(AttemptState.SUBMITTED), [machine(0, MachineState.WAITING)], stop_reason="stopped by ada")
    assert step is not None
    assert (step.to, step.outcome) == (AttemptState.ENDING, "stopped")


def test_a_lost_machine_ends_the_others_at_once() -> None:
    step = move(attempt(**RUNNING), [machine(0), machine(1)], lost=frozenset({1}))
    assert step is not None
    assert (step.phase, step.outcome) == (GenerationPhase.STOPPING, "lost")
    assert "machine 1" in step.reason


def test_a_machine_that_cannot_prepare_fails_the_attempt_with_its_words() -> None:
    step = move(attempt(), [machine(0, broken="no space left"), machine(1, prepared=1)])
    assert step is not None
    assert (step.to, step.outcome) == (AttemptState.ENDING, "failed")
    assert "no space left" in step.reason


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
