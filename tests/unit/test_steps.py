"""What a machine does next."""

from __future__ import annotations

import pytest

from opengrid.core.protocol import Desired, Phase, Stop
from opengrid.node.steps import AskToEnd, Clear, Own, Prepare, Release, Skip, Stage, Start, Step, next_step


def _desired(phase: Phase, generation: int = 1, stop: Stop | None = None) -> Desired:
    return Desired(version=1, generation=generation, phase=phase, stop=stop)


IDLE, IDLE_1 = Own(), Own(generation=1)
PREPARING = Own(generation=1, stage=Stage.PREPARING)
PREPARED = Own(generation=1, stage=Stage.PREPARED)
RUNNING = Own(generation=1, stage=Stage.RUNNING, living=2)
EMPTY = Own(generation=1, stage=Stage.RUNNING, living=0)
CLEARING = Own(generation=1, stage=Stage.CLEARING)
RELEASING = Own(generation=1, stage=Stage.RELEASING)
STOP = Stop(terminate=True, grace_s=15.0)


@pytest.mark.parametrize(
    ("own", "desired", "step"),
    [
        (IDLE, _desired(Phase.WAIT, 0), None),
        (IDLE, _desired(Phase.PREPARE), Prepare(1)),
        (IDLE, _desired(Phase.RUN), Prepare(1)),  # the answer that said prepare was lost
        (IDLE, _desired(Phase.STOP), Skip(1)),
        (IDLE, _desired(Phase.RELEASED, 0), Release()),
        (PREPARING, _desired(Phase.PREPARE), None),
        (PREPARING, _desired(Phase.PREPARE, 2), None),
        (PREPARING, _desired(Phase.RELEASED), Release()),
        (PREPARED, _desired(Phase.PREPARE), None),
        (PREPARED, _desired(Phase.RUN), Start()),
        (PREPARED, _desired(Phase.STOP, stop=STOP), Clear()),
        (PREPARED, _desired(Phase.PREPARE, 2), Clear()),
        (PREPARED, _desired(Phase.RELEASED), Clear()),
        (RUNNING, _desired(Phase.RUN), None),
        (RUNNING, _desired(Phase.WAIT), None),
        (RUNNING, _desired(Phase.STOP, stop=STOP), AskToEnd(STOP, 115.0)),
        (RUNNING, _desired(Phase.PREPARE, 2), Clear()),
        (RUNNING, _desired(Phase.RELEASED), Clear()),
        (EMPTY, _desired(Phase.RUN), Clear()),
        (CLEARING, _desired(Phase.PREPARE, 2), None),
        (IDLE_1, _desired(Phase.PREPARE), None),  # it has ended already
        (IDLE_1, _desired(Phase.RUN), None),
        (IDLE_1, _desired(Phase.STOP, stop=STOP), None),
        (IDLE_1, _desired(Phase.PREPARE, 2), Prepare(2)),
        (IDLE_1, _desired(Phase.RELEASED), Release()),
        (RELEASING, _desired(Phase.RELEASED), None),
        (RUNNING, _desired(Phase.STOP, 0, STOP), None),  # older than what it does
    ],
)
def test_a_machine_does_what_leads_to_what_it_shall_be(own: Own, desired: Desired, step: Step | None) -> None:
    assert next_step(own, desired, now=100.0) == step


def test_ranks_that_were_asked_to_end_are_killed_after_their_grace() -> None:
    asked = Own(generation=1, stage=Stage.RUNNING, living=1, asked=STOP, kill_at=115.0)
    assert next_step(asked, _desired(Phase.STOP, stop=STOP), now=114.9) is None
    assert next_step(asked, _desired(Phase.STOP, stop=STOP), now=115.0) == Clear()


def test_a_second_stop_can_shorten_the_grace_but_not_extend_it() -> None:
    asked = Own(generation=1, stage=Stage.RUNNING, living=1, asked=STOP, kill_at=115.0)
    at_once, longer = Stop(terminate=True, grace_s=0.0), Stop(terminate=True, grace_s=60.0)
    assert next_step(asked, _desired(Phase.STOP, stop=at_once), now=101.0) == AskToEnd(at_once, 101.0)
    assert next_step(asked, _desired(Phase.STOP, stop=longer), now=101.0) == AskToEnd(longer, 115.0)
