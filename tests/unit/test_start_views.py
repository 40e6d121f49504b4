"""What `grid status` tells of the starts of an experiment's ranks."""

from __future__ import annotations

from tests.unit.test_generation import attempt

from opengrid.core.records import Generation, RootCause
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
