"""`grid metrics` against a server that answers what the test says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.fake_api import FakeApi
from tests.support.typed import Typist

from opengrid.cli.output import Column, kept_columns

NAME = "calm-fox-7-exp0"
SCALARS = f"/api/v1/experiments/{NAME}/scalars"
TABLE = "/api/v1/runs/calm-fox-7/table"


def row(tag: str, **changes: Any) -> dict[str, Any]:
    one = {"tag": tag, "goal": "min", "points": 20, "first_step": 0, "last_step": 19, "last_at": None, "last": 0.25}
    ends = {"min": 1e-9, "min_step": 7, "max": None, "max_step": None, "best": 1e-9, "best_step": 7, "text": None}
    return {**one, **ends, **changes}


def scalars(*rows: dict[str, Any], problems: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"experiment": NAME, "tags": list(rows), "problems": list(problems), "cursor": "0.1"}


def series(tag: str, values: list[float | None], not_finite: list[Any]) -> dict[str, Any]:
    steps = list(range(len(values)))
    times = [1000.5 + step for step in steps]
    about = {"experiment": NAME, "tag": tag, "start": 1000.5, "total": len(values), "is_append": False}
    return {**about, "steps": steps, "times": times, "values": values, "not_finite": not_finite}


def test_an_experiments_metrics_are_a_table_and_what_could_not_be_read_is_named(api: FakeApi, grid: Typist) -> None:
    problem = {"node": 1, "path": "runs/x", "reason": "at byte 7: torn"}
    api.on("GET", SCALARS, scalars(row("loss"), row("val/acc", last=None, text="NaN"), problems=(problem,)))
    typed = grid("metrics", NAME)
    assert typed.code == 0
    assert typed.out.splitlines() == [
        "Metric   Last  Step    Min  At  Max  At  Points",
        "loss     0.25    19  1e-09   7    -   -      20",
        "val/acc   NaN    19  1e-09   7    -   -      20",
    ]
    assert "note: node 1, runs/x: at byte 7: torn" in typed.err
    assert json.loads(grid("metrics", NAME, "-o", "json").out)["tags"][0]["tag"] == "loss"


def test_names_that_a_script_chose_do_not_steer_the_terminal(api: FakeApi, grid: Typist) -> None:
    api.on("GET", SCALARS, scalars(row("new\nline"), row("\x1b[2Jü\0")))
    names = [line.split("  ")[0] for line in grid("metrics", NAME).out.splitlines()]
    assert names == ["Metric", r"new\nline", r"\x1b[2Jü\x00"]


def test_no_metrics_so_far_is_said(api: FakeApi, grid: Typist) -> None:
    api.on("GET", SCALARS, scalars())
    typed = grid("metrics", NAME)
    assert (typed.code, typed.out) == (0, "")
    assert f"{NAME} has no metrics so far" in typed.err


def test_every_point_is_written_as_csv_and_as_short_as_the_writer_kept_it(api: FakeApi, grid: Typist) -> None:
    api.on("GET", SCALARS, scalars(row("loss"), row("acc")))
    values = [0.10000000149011612, None, 1e300, 0.1]
    api.on(
        "POST", "/api/v1/scalars", {"series": [series("loss", values, [[1, "-Infinity"]])], "cursors": {}, "reset": []}
    )
    typed = grid("metrics", NAME, "--tag", "loss", "--csv")
    assert typed.out.splitlines() == [
        "tag,step,time,value",
        "loss,0,1000.5,0.1",
        "loss,1,1001.5,-Infinity",
        "loss,2,1002.5,1e+300",
        "loss,3,1003.5,0.1",
    ]
    assert api.only("POST", "/api/v1/scalars").document == {"experiments": [NAME], "tags": ["loss"], "pixels": None}
    assert grid("metrics", NAME, "--tag", "loss").out.splitlines()[1:3] == [
        "loss       0  1000.5        0.1",
        "loss       1  1001.5  -Infinity",
    ]


def test_a_metric_that_is_none_is_offered_another_one(api: FakeApi, grid: Typist) -> None:
    api.on("GET", SCALARS, scalars(row("val_loss")))
    typed = grid("metrics", NAME, "--tag", "val_los")
    assert typed.code == 2
    assert "has no metric 'val_los'" in typed.err
    assert "did you mean 'val_loss'?" in typed.err
    api.on("GET", SCALARS, scalars(row("val_loss"), row("new\nline")))
    assert r"there is val_loss, new\nline" in grid("metrics", NAME, "--tag", "zzz").err


def test_a_runs_metrics_are_a_table_of_its_experiments(api: FakeApi, grid: Typist) -> None:
    experiment = {"experiment": NAME, "state": "running", "params": {"lr": 0.1, "bias": True}}
    rows = [{**experiment, "metrics": {"loss": row("loss")}}, {**experiment, "params": {"lr": None}, "metrics": {}}]
    columns = {"params": ["lr", "bias"], "metrics": [{"tag": "loss", "goal": "min"}]}
    unknown = ["metric:los", "param:warmup_ratio"]
    table = {"run": "calm-fox-7", "total": 3, "columns": columns, "unknown": unknown, "experiments": rows}
    api.on("GET", TABLE, table)
    typed = grid("metrics", "calm-fox-7", "--sort", "metric:loss", "--desc", "--filter", "param:lr<1")
    assert typed.out.splitlines() == [
        "Experiment       Status   lr    bias  loss",
        "calm-fox-7-exp0  running  0.1   true  0.25",
        "calm-fox-7-exp0  running  null  -        -",
    ]
    assert "the first 2 of 3 experiments" in typed.err
    assert "no experiment of calm-fox-7 has metric:los: did you mean 'metric:loss'?" in typed.err
    assert "no experiment of calm-fox-7 has param:warmup_ratio: there is param:lr, param:bias, metric:loss" in typed.err
    query = api.only("GET", TABLE).query
    assert (query["sort"], query["order"], query["filter"]) == ("metric:loss", "desc", "param:lr<1")
    assert "metric" not in query


def test_a_runs_csv_is_the_servers(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"{TABLE}.csv", b"experiment\nx-exp0\n")
    assert grid("metrics", "calm-fox-7", "--csv").out == "experiment\nx-exp0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((NAME, "--sort", "state"), "are for the experiments of a run"),
        ((NAME, "--csv", "-o", "json"), "exclude each other"),
    ],
)
def test_options_that_do_not_fit_are_said(api: FakeApi, grid: Typist, arguments: tuple[str, ...], message: str) -> None:
    typed = grid("metrics", *arguments)
    assert typed.code == 2
    assert message in typed.out + typed.err


SYSTEM = f"/api/v1/experiments/{NAME}/system"


def measured(name: str, value: float, unit: str) -> dict[str, Any]:
    subject, number, quantity = name.split("/")
    about = {"subject": subject, "number": int(number), "quantity": quantity}
    return {"name": name, **about, "unit": unit, "value": value, "at": "2026-01-01T00:00:00.000Z"}


def test_what_an_experiment_uses_of_its_machines_is_a_table_by_machine_rank_and_gpu(api: FakeApi, grid: Typist) -> None:
    rows = [
        measured("machine/0/cpu", 54.4, "%"),
        measured("machine/0/received", 1536.0, "B/s"),
        measured("rank/0/cpu", 130.0, "%"),
        measured("rank/0/memory", 3 << 30, "B"),
        measured("gpu/0/use", 97.0, "%"),
    ]
    api.on("GET", SYSTEM, {"experiment": NAME, "series": rows})
    typed = grid("metrics", NAME, "--system")
    assert typed.out.splitlines() == [
        "Of           Use   Memory   Received  Sent  Read  Written",
        "machine 0   54 %        -  1.5 KiB/s     -     -        -",
        "rank 0     130 %  3.0 GiB          -     -     -        -",
        "gpu 0       97 %        -          -     -     -        -",
    ]
    assert json.loads(grid("metrics", NAME, "--system", "-o", "json").out)["series"] == rows


def test_every_sample_is_written_as_csv(api: FakeApi, grid: Typist) -> None:
    api.on("GET", SYSTEM, {"experiment": NAME, "series": [measured("rank/0/cpu", 5.0, "%")]})
    found = {"series": [series("rank/0/cpu", [4.5, 5.0], [])], "cursors": {}, "reset": []}
    api.on("POST", "/api/v1/system", found)
    typed = grid("metrics", NAME, "--system", "--csv")
    assert typed.out.splitlines() == ["tag,step,time,value", "rank/0/cpu,0,1000.5,4.5", "rank/0/cpu,1,1001.5,5.0"]
    assert api.only("POST", "/api/v1/system").document["tags"] == ["rank/0/cpu"]
    typed = grid("metrics", NAME, "--system", "--tag", "rank/0/cpuu")
    assert typed.code == 2
    assert "has no series 'rank/0/cpuu'" in typed.err
    assert "rank/0/cpu" in typed.err


def test_before_anything_is_measured_and_of_a_whole_run_it_is_said(api: FakeApi, grid: Typist) -> None:
    api.on("GET", SYSTEM, {"experiment": NAME, "series": []})
    typed = grid("metrics", NAME, "--system")
    assert (typed.code, typed.out) == (0, "")
    assert "nothing was measured" in typed.err
    typed = grid("metrics", "calm-fox-7", "--system")
    assert typed.code == 2
    assert "calm-fox-7-exp0" in typed.err


def test_a_narrow_terminal_shows_the_metrics_that_come_first_and_none_that_would_be_folded() -> None:
    columns = [Column(title="Experiment"), Column(title="name", may_wrap=True)]
    columns += [Column(title=f"metric{number}", is_number=True, may_drop=True) for number in range(4)]
    rows = [[NAME, "a long value of a parameter", "0.25", "1", "2", "3"]]
    assert kept_columns(columns, rows, 200) == list(range(6))
    assert kept_columns(columns, rows, len(NAME) + 1 + 8 + 2 * (1 + len("metric0"))) == [0, 1, 2, 3]
    assert kept_columns(columns, rows, 5) == [0, 1]


def test_metrics_of_a_run_are_in_the_servers_order_and_those_asked_for_in_the_askers(
    api: FakeApi, grid: Typist
) -> None:
    metrics = {"a": row("a"), "loss": row("loss")}
    experiment = {"experiment": NAME, "state": "running", "params": {}, "metrics": metrics}
    columns = {"params": [], "metrics": [{"tag": "loss", "goal": "min"}, {"tag": "a", "goal": "max"}]}
    table = {"run": "calm-fox-7", "total": 1, "columns": columns, "unknown": [], "experiments": [experiment]}
    api.on("GET", TABLE, table)
    assert grid("metrics", "calm-fox-7").out.splitlines()[0] == "Experiment       Status   loss     a"
    asked = grid("metrics", "calm-fox-7", "--tag", "a", "--tag", "loss").out
    assert asked.splitlines()[0] == "Experiment       Status      a  loss"
