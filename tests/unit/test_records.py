"""The states of experiments and attempts, and the moves between them."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import pytest

from opengrid.core.records.attempts import ATTEMPT_MOVES, AttemptState
from opengrid.core.records.experiments import EXPERIMENT_MOVES, ExperimentState

S = TypeVar("S", bound=Enum)
E = ExperimentState
A = AttemptState


def reachable(moves: dict[S, frozenset[S]], start: S) -> set[S]:
    found, new = {start}, [start]
    while new:
        for state in moves[new.pop()] - found:
            found.add(state)
            new.append(state)
    return found


def test_every_state_has_its_moves() -> None:
    assert set(EXPERIMENT_MOVES) == set(E)
    assert set(ATTEMPT_MOVES) == set(A)


def test_no_move_leads_nowhere() -> None:
    assert all(state not in to for state, to in EXPERIMENT_MOVES.items())
    assert all(state not in to for state, to in ATTEMPT_MOVES.items())


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    assert reachable(EXPERIMENT_MOVES, E.QUEUED) == set(E)
    assert reachable(ATTEMPT_MOVES, A.CREATED) == set(A)
    for state in E:
        assert any(end.is_terminal for end in reachable(EXPERIMENT_MOVES, state))
    for state in A:
        assert any(end.is_terminal for end in reachable(ATTEMPT_MOVES, state))


def test_an_ended_attempt_never_moves() -> None:
    for state in A:
        assert state.is_terminal == (ATTEMPT_MOVES[state] == frozenset())
    assert {s for s in A if s.is_terminal} == {A.SUCCEEDED, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}


def test_an_ended_experiment_is_only_ever_tried_again() -> None:
    assert {s for s in E if s.is_terminal} == {E.SUCCEEDED, E.FAILED, E.STOPPED}
    assert EXPERIMENT_MOVES[E.SUCCEEDED] == frozenset()
    assert EXPERIMENT_MOVES[E.FAILED] == EXPERIMENT_MOVES[E.STOPPED] == {E.QUEUED}


@pytest.mark.parametrize("state", [E.QUEUED, E.BUILDING, E.PENDING, E.RUNNING])
def test_an_experiment_can_be_stopped_or_fail_at_any_time(state: ExperimentState) -> None:
    assert {E.STOPPED, E.FAILED} <= EXPERIMENT_MOVES[state]


@pytest.mark.parametrize("state", [E.BUILDING, E.PENDING, E.RUNNING])
def test_an_experiment_can_return_to_the_queue(state: ExperimentState) -> None:
    assert E.QUEUED in EXPERIMENT_MOVES[state]


@pytest.mark.parametrize("state", [A.CREATED, A.SUBMITTED, A.ASSEMBLING, A.RUNNING, A.ENDING])
def test_an_attempt_can_be_stopped_fail_or_be_lost_at_any_time(state: AttemptState) -> None:
    assert {A.STOPPED, A.FAILED, A.LOST} <= ATTEMPT_MOVES[state]


def test_attempts_go_forward_only() -> None:
    order = [A.CREATED, A.SUBMITTED, A.ASSEMBLING, A.RUNNING, A.ENDING]
    for i, state in enumerate(order):
        assert not ATTEMPT_MOVES[state] & set(order[: i + 1])


def test_only_an_ending_attempt_succeeds() -> None:
    assert [state for state in A if A.SUCCEEDED in ATTEMPT_MOVES[state]] == [A.ENDING]
