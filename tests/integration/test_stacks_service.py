"""The server's side of stacks on a real store: who can be asked, which answers count, and what is forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.protocol import RankStacks, Stacks
from opengrid.core.records.attempts import AttemptState, GenerationPhase
from opengrid.core.records.experiments import ExperimentState
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.stacks import Asked, StackRequests, stacks_view
from opengrid.store.database import Database

NAME = "brave-otter-exp0"
TEXT = 'Current thread 0x01 (most recent call first):\n  File "/w/train.py", line 3 in main\n'


class World:
    """An experiment of 2 machines with 4 ranks each, and a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        self.now_us = T0
        self.requests = self.restarted()

    def restarted(self) -> StackRequests:
        return StackRequests(self.database, now_us=lambda: self.now_us)

    def add(
        self,
        state: ExperimentState = ExperimentState.RUNNING,
        attempt: AttemptState | None = AttemptState.RUNNING,
        phase: GenerationPhase = GenerationPhase.RUNNING,
    ) -> None:
        run = make_run()
        experiments = make_experiments(run, state=state)
        with self.database.transaction() as tx:
            tx.runs.create(run, experiments, T0)
            if attempt is not None:
                made = make_attempt(experiments[0], state=attempt, phase=phase, generation=1)
                tx.attempts.create(made, make_machines(made))

    def answer(self, asked: Asked, machine: int, number: int, *ranks: RankStacks) -> None:
        agent = AgentIdentity(attempt_id=asked.attempt_id, machine=machine)
        self.requests.take(agent, Stacks(number=number, ranks=ranks))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def test_requests_have_rising_numbers_while_somebody_waits_and_none_otherwise(world: World) -> None:
    world.add()
    asked = world.requests.find(NAME)
    assert world.requests.number(asked.attempt_id) == 0
    with world.requests.asking(asked) as first:
        with world.requests.asking(asked) as second:
            assert second > first > 0
            assert world.requests.number(asked.attempt_id) == second
        assert world.requests.number(asked.attempt_id) == second  # the first still waits
    assert world.requests.number(asked.attempt_id) == 0
    with world.requests.asking(asked) as third:
        assert third > second
    world.now_us += 1_000_000
    with world.restarted().asking(asked) as fourth:
        assert fourth > third


def test_a_later_requests_answers_count_for_an_earlier_one_and_not_the_other_way(world: World) -> None:
    world.add()
    asked = world.requests.find(NAME)
    with world.requests.asking(asked) as first, world.requests.asking(asked) as second:
        world.answer(asked, 0, first)
        world.answer(asked, 1, second)
        assert world.requests.answers(asked, first).keys() == {0, 1}
        assert world.requests.answers(asked, second).keys() == {1}


def test_an_answer_that_nobody_waits_for_is_not_kept(world: World) -> None:
    world.add()
    asked = world.requests.find(NAME)
    world.answer(asked, 0, T0 + 999)
    with world.requests.asking(asked) as number:
        assert not world.requests.answers(asked, number)


@pytest.mark.parametrize(
    ("state", "attempt", "phase", "words"),
    [
        (ExperimentState.QUEUED, None, GenerationPhase.PREPARING, "is queued"),
        (ExperimentState.FAILED, AttemptState.FAILED, GenerationPhase.ENDED, "is failed"),
        (ExperimentState.RUNNING, AttemptState.RUNNING, GenerationPhase.PREPARING, "started or ended"),
        (ExperimentState.RUNNING, AttemptState.ENDING, GenerationPhase.RUNNING, "started or ended"),
    ],
)
def test_only_running_ranks_can_be_asked(
    world: World, state: ExperimentState, attempt: AttemptState | None, phase: GenerationPhase, words: str
) -> None:
    world.add(state, attempt, phase)
    with pytest.raises(Conflict, match=words):
        world.requests.find(NAME)
    with pytest.raises(NotFound):
        world.requests.find("brave-otter-exp9")


def test_all_ranks_are_named_also_those_of_a_machine_that_says_nothing(world: World) -> None:
    world.add()
    asked = world.requests.find(NAME)
    ranks = (
        RankStacks(rank=0, text=TEXT, folder="/w"),
        RankStacks(rank=1, reason="it has ended"),
        RankStacks(rank=2, text="garbage\n"),
        RankStacks(rank=3, text=TEXT, folder="/w"),
        RankStacks(rank=4, text=TEXT, folder="/w"),  # of another machine: not this one's to tell
    )
    document = dataclasses.asdict(stacks_view(asked, {0: Stacks(number=1, ranks=ranks)}))
    assert document == {
        "experiment": NAME,
        "groups": [
            {
                "ranks": [0, 3],
                "top": "main (train.py:3)",
                "frames": [{"file": "train.py", "line": 3, "function": "main"}],
                "threads": [],
            }
        ],
        "silent": [
            {"rank": 1, "reason": "it has ended"},
            {"rank": 2, "reason": "its answer holds no stack"},
            *({"rank": rank, "reason": "the agent of machine 1 did not answer within 6 s"} for rank in range(4, 8)),
        ],
    }
