"""What runs and experiments cost, as the API tells it."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import T0, make_experiments, make_run

from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.services.views import experiment_view, run_summary_view, run_view

MINUTE = 60_000_000


def made(cost_per_hour: float, **changes: object) -> tuple[Run, Experiment]:
    run = make_run()
    run = dataclasses.replace(run, plan=dataclasses.replace(run.plan, simulated=False, cost_per_hour=cost_per_hour))
    [experiment] = make_experiments(run, 1, **changes)
    return run, experiment


def test_an_experiment_costs_by_the_time_in_which_it_had_machines_each_for_itself() -> None:
    # Two machines: one attempt had both for half an hour, the next one has one of them since T0.
    run, experiment = made(25.7, holding=1, held_us=60 * MINUTE - T0)
    seen = experiment_view(run, experiment, now_us=T0 + 90 * MINUTE)
    assert (seen.machines, seen.hourly_cost, seen.cost) == (2, 25.7, pytest.approx(25.7 / 2 * 2.5))
    run, experiment = made(25.7, held_us=60 * MINUTE)
    assert experiment_view(run, experiment, now_us=T0 + 90 * MINUTE).cost == pytest.approx(25.7 / 2)


def test_an_experiment_that_has_no_machine_yet_costs_nothing() -> None:
    run, experiment = made(25.7, attempts=1)
    assert experiment_view(run, experiment, now_us=T0 + 90 * MINUTE).cost == 0


def test_own_and_simulated_machines_cost_nothing() -> None:
    run, experiment = made(0.0, holding=2, held_us=30 * MINUTE - 2 * T0)
    seen = experiment_view(run, experiment, now_us=T0 + 90 * MINUTE)
    assert (seen.hourly_cost, seen.cost) == (0.0, 0.0)


def test_a_run_costs_an_hour_what_runs_of_it_and_so_far_what_all_of_it_has_cost() -> None:
    run, _ = made(10.0)
    run = dataclasses.replace(run, counts={ExperimentState.RUNNING: 3, ExperimentState.QUEUED: 4})
    assert run_view(run).hourly_cost == 30.0
    assert run_summary_view(run, None, None, 2 * 6 * MINUTE).cost == pytest.approx(1.0)
