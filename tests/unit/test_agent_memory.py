"""What the server remembers of agents: right whatever order things come in, and no more than it needs."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest
from tests.support.records import make_attempt, make_experiments, make_run

from opengrid.core.records.attempts import Attempt, AttemptState
from opengrid.services.agent_memory import AgentIdentity, AgentMemory

FIRST = AgentIdentity(attempt_id="e1-1", machine=0)


def _attempt(id: str = "e1-1", version: int = 1, state: AttemptState = AttemptState.RUNNING) -> Attempt:
    return make_attempt(make_experiments(make_run())[0], id=id, version=version, state=state)


def _unknown() -> NoReturn:
    raise LookupError


def test_a_session_is_read_once_and_ends_with_the_agent_that_is_replaced() -> None:
    memory = AgentMemory()
    assert memory.whose("old", lambda: FIRST) == FIRST
    assert memory.whose("old", _unknown) == FIRST
    memory.remember_session("new", FIRST)
    assert memory.whose("new", _unknown) == FIRST
    with pytest.raises(LookupError):
        memory.whose("old", _unknown)


def test_a_reader_who_is_late_does_not_bring_an_older_state_back() -> None:
    memory = AgentMemory()
    assert memory.standing("e1-1") is None
    memory.remember_grace("e1-1", 15.0)
    memory.attempt_moved(_attempt(version=3, state=AttemptState.LOST))
    assert memory.attempt_moved(_attempt(version=2)).version == 3
    standing = memory.standing("e1-1")
    assert standing is not None
    assert (standing[0].version, standing[1]) == (3, 15.0)


def test_the_clock_of_a_machine_comes_from_its_fastest_message_until_another_agent_takes_its_place() -> None:
    memory = AgentMemory()
    memory.remember_session("old", FIRST)
    assert [memory.skew_ns(FIRST, seen) for seen in (50, 20, 70)] == [50, 20, 20]
    memory.remember_session("old", FIRST)
    assert memory.skew_ns(FIRST, 90) == 20
    memory.remember_session("new", FIRST)
    assert memory.skew_ns(FIRST, 90) == 90


def test_what_has_ended_is_forgotten_in_the_end_with_all_that_belongs_to_it() -> None:
    memory = AgentMemory(kept_ended=2)
    for number in range(4):
        agent = AgentIdentity(attempt_id=f"e{number}-1", machine=0)
        memory.remember_session(f"session {number}", agent)
        memory.heard(agent, 5)
        memory.attempt_moved(_attempt(agent.attempt_id, state=AttemptState.SUCCEEDED))
    assert [bool(memory.heard_us(f"e{number}-1")) for number in range(4)] == [False, False, True, True]
    with pytest.raises(LookupError):
        memory.whose("session 0", _unknown)
    assert memory.whose("session 3", _unknown).attempt_id == "e3-1"


def test_a_thousand_agents_may_say_hello_at_once() -> None:
    memory, failures = AgentMemory(), list[BaseException]()

    def greet(start: int) -> None:
        try:
            for number in range(start, 4000, 4):
                agent = AgentIdentity(attempt_id=f"e{number % 7}-1", machine=number)
                memory.remember_session(f"session {number}", agent)
                memory.heard(agent, number)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=greet, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(len(memory.heard_us(f"e{number}-1")) for number in range(7)) == 4000
