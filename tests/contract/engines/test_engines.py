"""What the controller may rely on, whichever engine a cluster has."""

from __future__ import annotations

import dataclasses

from tests.contract.engines.conftest import GANG, Bench, request_of
from tests.support.processes import wait_until

ALL = frozenset(range(GANG.machines))


def _submit(bench: Bench, attempt: str) -> None:
    bench.engine.submit(bench.engine.render(request_of(attempt)))
    wait_until(lambda: bench.here(attempt) == dict.fromkeys(ALL, 1), "all agents say hello")


def _gone(bench: Bench, attempt: str) -> frozenset[int]:
    return bench.engine.gone([(attempt, GANG.machines)])[attempt]


def test_a_gang_is_rendered_as_a_value_with_one_agent_per_machine(bench: Bench, attempt: str) -> None:
    submission = bench.engine.render(request_of(attempt))
    assert submission == bench.engine.render(request_of(attempt))
    assert [agent.machine for agent in submission.agents] == sorted(ALL)
    assert {agent.ticket.token for agent in submission.agents} == {"ticket-token"}
    assert bench.here(attempt) == {}


def test_a_gang_lives_through_a_second_submit_a_restart_and_the_death_of_one_agent(bench: Bench, attempt: str) -> None:
    # One story, because on a real cluster each gang costs seconds.
    _submit(bench, attempt)
    assert _gone(bench, attempt) == frozenset()

    bench.engine.submit(bench.engine.render(request_of(attempt)))  # a server was killed before it wrote the first down
    assert _gone(bench, attempt) == frozenset()

    bench.restart()
    bench.engine.inventory()  # it has looked around
    assert _gone(bench, attempt) == frozenset()
    assert bench.here(attempt) == dict.fromkeys(ALL, 1)  # no second copies
    assert not bench.engine.is_over(attempt)

    bench.kill(attempt, 1)
    wait_until(lambda: _gone(bench, attempt) == {1}, "the dead agent is gone, the other not")
    assert not bench.engine.is_new_boot(attempt)

    submission = bench.engine.render(request_of(attempt))
    missing = tuple(agent for agent in submission.agents if agent.machine == 1)
    bench.engine.submit(dataclasses.replace(submission, agents=missing))
    assert _gone(bench, attempt) == frozenset()  # it is being started
    wait_until(lambda: bench.here(attempt) == {0: 1, 1: 2}, "its replacement says hello")
    assert _gone(bench, attempt) == frozenset()

    bench.engine.cancel(attempt, GANG.machines)
    wait_until(lambda: _gone(bench, attempt) == ALL, "everything of a cancelled attempt is gone")
    bench.engine.cancel(attempt, GANG.machines)  # again
    bench.engine.forget(attempt)
    bench.engine.forget(attempt)


def test_several_attempts_are_asked_about_at_once(bench: Bench, attempt: str) -> None:
    _submit(bench, attempt)
    asked = bench.engine.gone([(attempt, GANG.machines), (attempt, 1)])
    assert asked == {attempt: frozenset()}
    bench.engine.cancel(attempt, GANG.machines)
    wait_until(lambda: _gone(bench, attempt) == ALL, "everything of a cancelled attempt is gone")
    bench.engine.forget(attempt)


def test_an_inventory_says_what_there_is(bench: Bench) -> None:
    inventory = bench.engine.inventory()
    machines = getattr(inventory, "machines", (inventory,))
    assert machines
    assert all(machine.cpus >= 1 for machine in machines)


def test_an_interpreter_is_told_without_starting_anything(bench: Bench) -> None:
    import sys

    found = bench.engine.interpreter(sys.executable, {"PATH": "/usr/bin:/bin"})
    assert found.path in ("", "/python", sys.executable)
