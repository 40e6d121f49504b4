"""What `grid status` tells of the starts of an experiment's ranks."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.test_generation import attempt

from opengrid.core.records.attempts import Generation
from opengrid.core.records.experiments import RootCause
from opengrid.services.views import start_views


def generation(number: int, **changes: object) -> Generation:
    return Generation(attempt_id="x-1", number=number, created_us=0, **changes)  # type: ignore[arg-type]


def test_a_start_tells_what_was_lost_since_the_one_before_it() -> None:
    killed = RootCause(summary="rank 3 was killed by SIGKILL", rank=3)
    first = generation(1, started_us=0, ended_us=60_000_000, first_step=0, last_step=70, cause=killed)
    second = generation(2, started_us=60_400_000, first_step=64, last_step=90)
    views = start_views([(attempt(), first), (attempt(), second)])
    assert [(v.lost_s, v.lost_steps, v.cause) for v in views] == [
        (None, None, "rank 3 was killed by SIGKILL"),
        (0.4, 6, None),
    ]


def test_what_is_not_known_is_not_told() -> None:
    views = start_views([(attempt(), generation(1, ended_us=5)), (attempt(), generation(2))])
    assert [(v.lost_s, v.lost_steps) for v in views] == [(None, None), (None, None)]


def test_a_start_that_came_to_nothing_counts_as_time_lost_by_the_next_one() -> None:
    first = generation(1, started_us=0, ended_us=10_000_000, first_step=0, last_step=70)
    never = generation(2, ended_us=12_000_000)
    third = generation(3, started_us=15_000_000, first_step=60)
    views = start_views([(attempt(), start) for start in (first, never, third)])
    assert [(v.lost_s, v.lost_steps) for v in views] == [(None, None), (None, None), (5.0, 10)]


def test_what_ended_an_attempt_from_outside_is_told_of_its_last_start() -> None:
    preempted = attempt(outcome="preempted", reason="machine 1 is being taken away")
    again = replace(attempt(), number=2)
    killed = RootCause(summary="rank 3 was killed by SIGKILL", rank=3)
    starts = [(preempted, generation(1, cause=killed)), (preempted, generation(2)), (again, generation(1))]
    assert [v.cause for v in start_views(starts)] == [killed.summary, "machine 1 is being taken away", None]
