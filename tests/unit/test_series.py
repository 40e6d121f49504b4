"""Points made into series: restarts, several writers, summaries, viewports, names."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.records.scalars import EventFile
from opengrid.planning.scalar_names import labels, series_name
from opengrid.planning.series import (
    POINT,
    Points,
    extend,
    inside,
    merge,
    sample,
    summarise,
)
from opengrid.planning.viewport import Viewport, shortest


def points(*rows: tuple[int, float], file: int = 1) -> Points:
    return np.array([(step, 1000.0 + step, value, file, 0) for step, value in rows], POINT)


def values(series: Points) -> list[tuple[int, float]]:
    return [(int(p["step"]), float(p["value"])) for p in series]


def test_what_a_later_generation_writes_takes_the_place_of_everything_from_its_first_step_on() -> None:
    first, second = points((0, 1), (10, 2), (20, 3), (30, 4)), points((15, 5), (25, 6), file=2)
    merged = merge(np.concatenate([first, second]), {1: (1, 1), 2: (1, 2)})
    assert values(merged) == [(0, 1), (10, 2), (15, 5), (25, 6)]
    late = np.concatenate([second, first])  # the first one's last bytes may come later
    assert values(merge(late, {1: (1, 1), 2: (1, 2)})) == values(merged)


def test_a_training_that_began_from_the_start_again_leaves_nothing_of_the_one_before() -> None:
    both = np.concatenate([points((0, 1), (1, 1), (2, 1)), points((0, 9), file=2)])
    assert values(merge(both, {1: (1, 3), 2: (2, 1)})) == [(0, 9)]


def test_three_generations_are_cut_each_by_those_after_it() -> None:
    parts = [points((0, 1), (5, 1), (9, 1)), points((5, 2), (7, 2), file=2), points((8, 3), file=3)]
    merged = merge(np.concatenate(parts), {1: (1, 1), 2: (1, 2), 3: (2, 1)})
    assert values(merged) == [(0, 1), (5, 2), (7, 2), (8, 3)]


def test_of_several_writers_at_one_step_the_last_stands_and_steps_ascend() -> None:
    both = np.concatenate([points((0, 1), (2, 1)), points((0, 5), (1, 5), file=2)])
    assert values(merge(both, {1: (1, 1), 2: (1, 1)})) == [(0, 5), (1, 5), (2, 1)]


def test_a_summary_is_over_finite_values_and_says_when_the_last_is_none() -> None:
    summary = summarise(points((0, 2.0), (1, math.inf), (2, 1.0), (3, math.nan)))
    assert (summary.points, summary.first_step, summary.last_step, summary.last_us) == (4, 0, 3, 1_003_000_000)
    assert (summary.last, summary.last_text) == (None, "NaN")
    assert (summary.least, summary.least_step, summary.greatest, summary.greatest_step) == (1.0, 2, 2.0, 0)
    nothing = summarise(points((0, math.inf)))
    assert (nothing.last_text, nothing.least, nothing.greatest) == ("Infinity", None, None)


@given(
    st.lists(st.floats(width=32), min_size=2, max_size=30).flatmap(
        lambda found: st.tuples(st.just(found), st.integers(1, len(found) - 1))
    )
)
def test_a_summary_that_is_extended_is_that_of_the_whole(given: tuple[list[float], int]) -> None:
    found, cut = given
    series = points(*enumerate(found))
    whole, extended = summarise(series), extend(summarise(series[:cut]), series[cut:])
    assert extended == whole


def test_a_viewport_holds_the_points_inside_and_one_more_on_either_side() -> None:
    series = points(*((step, 0.0) for step in range(0, 100, 10)))

    def steps(viewport: Viewport) -> list[int]:
        return [step for step, _ in values(inside(series, viewport, origin=1000.0))]

    assert steps(Viewport(start=25, end=45)) == [20, 30, 40, 50]
    assert steps(Viewport(start=30, end=40)) == [20, 30, 40, 50]
    assert steps(Viewport(start=85)) == [80, 90]
    assert steps(Viewport(end=-5)) == [0]
    assert steps(Viewport(axis="time", start=1025, end=1045)) == [20, 30, 40, 50]
    assert steps(Viewport(axis="relative", start=25, end=45)) == [20, 30, 40, 50]
    assert steps(Viewport(start=45, end=25)) == []


def test_a_sample_keeps_first_last_and_extremes_and_what_is_no_number_does_not_hurt() -> None:
    found = np.sin(np.arange(100_000) / 300)
    found[[777, 40_000, 60_000]] = 50.0, -50.0, math.nan
    series = points(*enumerate(found.tolist()))
    drawn = sample(series, Viewport(pixels=500))
    assert 500 <= len(drawn) <= 1000
    assert {0, 777, 40_000, 99_999} <= {step for step, _ in values(drawn)}
    assert (np.diff(drawn["step"]) > 0).all()
    assert len(sample(series, Viewport(pixels=None))) == 100_000
    assert len(sample(series[:900], Viewport(pixels=500))) == 900


def file(number: int, path: str, *, node: int = 0, generation: int = 1, attempt: int = 1) -> EventFile:
    return EventFile(
        experiment_id="e", number=number, attempt=attempt, generation=generation, node=node, path=f"{path}/events.out"
    )


def test_a_lone_writers_series_are_called_as_the_script_calls_them_over_all_starts() -> None:
    files = [
        file(1, "lightning_logs/version_0"),
        file(2, "lightning_logs/version_1", generation=2),
        file(3, "x/y", attempt=2),
    ]
    assert labels(files) == {1: "", 2: "", 3: ""}


def test_folders_of_one_start_are_told_by_what_they_do_not_share() -> None:
    files = [
        file(1, "logs/fit/train"),
        file(2, "logs/fit/validation"),
        file(3, "runs/a", generation=2),
        file(4, "runs/a/b", generation=2),
    ]
    assert labels(files) == {1: "train", 2: "validation", 3: "", 4: "b"}


def test_other_nodes_are_named_and_the_first_is_not() -> None:
    files = [file(1, "runs/a", node=1), file(2, "runs/b", node=3), file(3, "runs/b/c", node=3)]
    assert labels(files) == {1: "", 2: "node 3", 3: "node 3, c"}


def test_the_folders_of_add_hparams_belong_to_the_writers_own() -> None:
    assert labels([file(1, "runs/a"), file(2, "runs/a/1795622450.123456")]) == {1: "", 2: ""}


def test_what_our_own_callback_writes_is_called_as_the_script_calls_it_whoever_else_writes() -> None:
    files = [file(1, ".opengrid"), file(2, "runs/a"), file(3, "runs/b")]
    assert labels(files) == {1: "", 2: "a", 3: "b"}
    assert labels(files[:2]) == {1: "", 2: ""}


def test_a_number_is_as_short_as_its_writer_kept_it() -> None:
    kept = [float(np.float32(value)) for value in (0.1, -3.1415927, 1e-30, 0.0)]
    assert [shortest(value) for value in kept] == [0.1, -3.1415927, 1e-30, 0.0]
    assert [shortest(value) for value in (0.1, 1e300, math.inf, None)] == [0.1, 1e300, math.inf, None]


def test_a_series_carries_its_label() -> None:
    assert (series_name("loss", ""), series_name("loss", "node 1")) == ("loss", "loss (node 1)")
