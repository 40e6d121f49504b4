"""What `grid` shows: tables at 80 columns and in pipes, JSON, logs, questions, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_api import Asked, FakeApi
from tests.support.typed import Typist

from opengrid.cli import output
from opengrid.cli.main import _COMMANDS
from opengrid.cli.main import grid as group
from opengrid.cli.output import Column

NAME = "calm-fox-7-exp0"


def run_row(**changes: Any) -> dict[str, Any]:
    return {
        "run": "calm-fox-7",
        "created_at": "2026-11-23T10:00:00.000Z",
        "user": "ada",
        "labels": {},
        "experiments": 3,
        "queued": 1,
        "running": 1,
        "completed": 1,
        "stopped": 0,
        "failed": 0,
        **changes,
    }


def experiment(**changes: Any) -> dict[str, Any]:
    return {
        "experiment": NAME,
        "run": "calm-fox-7",
        "state": "succeeded",
        "reason": "all ranks exited with 0",
        "stopping": False,
        "exit_code": 0,
        "command": "train.py --lr 0.1 --layers [1, 2]",
        "source": {"line": "/home/ada/code at 0123456789 (3 files, 1.2 KiB)"},
        "gpus": 8,
        "machines": 2,
        "nodes": 2,
        "gpus_per_node": 4,
        "world_size": 8,
        "arguments": [],
        "params": {"lr": 0.1, "layers": [1, 2], "model": "bert"},
        "created_at": "2026-11-23T10:00:00.000Z",
        "started_at": "2026-11-23T10:00:02.500Z",
        "ended_at": "2026-11-24T11:02:23.500Z",
        "instance_type": "4_v100_16gb",
        "simulated": True,
        "devices": "",
        "hourly_cost": 0.0,
        "cost": 0.0,
        "attempts": 1,
        "generations": 1,
        **changes,
    }


def test_status_lists_active_runs_and_counts_the_others(api: FakeApi, grid: Typist) -> None:
    document = {"runs": [run_row(), run_row(run="b", running=0)], "total": 2, "not_active": 4}
    api.on("GET", "/api/v1/runs", document)
    header, first, second, *rest = grid("status").out.splitlines()
    assert header.split() == [
        *("Run", "Status", "Duration", "Experiments", "Running", "Queued", "Completed", "Failed", "Stopped")
    ]
    assert first.split()[:2] == ["calm-fox-7", "running"]
    assert first.split()[3:] == ["3", "1", "1", "1", "0", "0"]
    assert second.split()[:2] == ["b", "queued"]
    assert rest == ["", "4 runs not active: `grid history`"]
    assert api.asked[0].query["active"] == "true"
    assert grid("status", "-o", "json").json == {"runs": document["runs"]}
    assert "Created By" in grid("status", "--global").out


def test_history_takes_as_many_pages_as_there_are(api: FakeApi, grid: Typist) -> None:
    rows = [run_row(run=f"run-{n}") for n in range(2500)]

    def page(asked: Asked) -> Any:
        start = int(asked.query["offset"])
        return {"runs": rows[start : start + 1000], "total": 2500, "not_active": 2500}

    api.on("GET", "/api/v1/runs", page)
    assert [row["run"] for row in grid("history", "-o", "json").json["runs"]] == [row["run"] for row in rows]
    shown = grid("history").out.splitlines()
    assert shown[0].split() == ["Run", "Created", "At", "Experiments", "Failed", "Stopped", "Completed"]
    assert shown[1].split() == ["run-0", "2026-11-23", "10:00:00", "3", "0", "0", "1"]


def test_a_run_shows_its_experiments_with_a_column_for_every_parameter(api: FakeApi, grid: Typist) -> None:
    waiting = experiment(
        experiment="calm-fox-7-exp1", state="queued", reason="needs 8 GPUs", started_at=None, ended_at=None, params={}
    )
    document = {"run": "calm-fox-7", "etag": "x", "experiments": [experiment(), waiting]}
    api.on("GET", "/api/v1/runs/calm-fox-7", document)
    lines = grid("status", "calm-fox-7").out.splitlines()
    more = ("lr   layers  model", "0.1  [1, 2]  bert")
    assert lines[:2] == [
        f"Experiment       Command                            Status     Queued Duration  Run Duration  {more[0]}",
        f"calm-fox-7-exp0  train.py --lr 0.1 --layers [1, 2]  succeeded  0d-00:00:02      1d-01:02:21   {more[1]}",
    ]
    assert lines[2].split()[-4:] == ["-", "-", "-", "-"]
    assert lines[-1] == "calm-fox-7-exp1 queued: needs 8 GPUs"
    assert grid("-o", "json", "status", "calm-fox-7").json == {
        "run": "calm-fox-7",
        "experiments": document["experiments"],
    }


def test_an_experiment_shows_what_happened_and_when(api: FakeApi, grid: Typist) -> None:
    event = {"at": "2026-11-23T10:00:02.500Z", "kind": "state", "attempt": 1, "generation": 1}
    events = [
        {**event, "from": None, "to": "queued", "reason": ""},
        {**event, "from": "queued", "to": "running", "reason": "all 8 ranks started"},
        {**event, "kind": "launch", "from": None, "to": None, "reason": "machine 0: 4 ranks started"},
    ]
    document = experiment(work_dir="/home/ada/work", events=events)
    api.on("GET", f"/api/v1/experiments/{NAME}", document)
    assert grid("status", NAME).out.splitlines() == [
        "experiment  calm-fox-7-exp0",
        "status      succeeded: all ranks exited with 0",
        "command     train.py --lr 0.1 --layers [1, 2]",
        "code        /home/ada/code at 0123456789 (3 files, 1.2 KiB)",
        "machines    2 × 4_v100_16gb (SIMULATED on CPUs)",
        "nodes       2 × 4 GPUs, 8 ranks in all",
        "created     2026-11-23 10:00:00",
        "queued      0d-00:00:02",
        "ran         1d-01:02:21",
        "cost        $0.00",
        "folder      /home/ada/work",
        "",
        "Time      Event             Reason",
        "10:00:02  queued",
        "10:00:02  queued → running  all 8 ranks started",
        "10:00:02  launch            machine 0: 4 ranks started",
    ]
    assert grid("status", NAME, "-o", "json").json == document


def test_watch_and_json_do_not_go_together(grid: Typist) -> None:
    done = grid("status", "--watch", "-o", "json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_value")


def test_watching_a_run_draws_it_until_it_has_ended(api: FakeApi, grid: Typist) -> None:
    rows = [experiment(state="running", ended_at=None), experiment()]
    api.on(
        "GET",
        "/api/v1/runs/calm-fox-7",
        lambda _: {"run": "calm-fox-7", "etag": str(len(rows)), "experiments": [rows.pop(0)]},
    )
    shown = grid("status", "--watch", "calm-fox-7").out
    assert shown.index("running") < shown.index("succeeded")


def test_tables_fit_80_columns_with_short_titles_and_folded_cells() -> None:
    columns = [
        Column(title="Experiment", may_wrap=True),
        Column(title="Command", may_wrap=True),
        Column(title="Status"),
        Column(title="Queued Duration", short="Queued"),
        Column(title="Run Duration", short="Run"),
        Column(title="lr", is_number=True),
    ]
    rows = [
        ["calm-fox-7-exp0", "train.py --data /somewhere --lr 0.1", "succeeded", "0d-00:00:02", "1d-01:02:21", "0.1"],
        ["calm-fox-7-exp1", "train.py", "queued", "0d-00:00:02", "-", "0.01"],
    ]
    fitted = output.fitted_table(columns, rows, 80, colours=False)
    assert fitted.splitlines() == [
        "Experiment      Command                   Status    Queued      Run           lr",
        "calm-fox-7-exp0 train.py --data           succeeded 0d-00:00:02 1d-01:02:21  0.1",
        "                /somewhere --lr 0.1",
        "calm-fox-7-exp1 train.py                  queued    0d-00:00:02 -           0.01",
    ]
    assert "Queued Duration" in output.fitted_table(columns, rows, 200, colours=False)


def test_states_have_colours_where_there_are_colours() -> None:
    table = output.fitted_table([Column(title="Status")], [["failed"]], 80, colours=True)
    assert "\x1b[31mfailed" in table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0d-00:00:00"), (141.9, "0d-00:02:21"), (90061, "1d-01:01:01"), (-5, "0d-00:00:00")],
)
def test_durations_are_days_and_a_clock(seconds: float | None, text: str) -> None:
    assert output.duration_text(seconds) == text


def log_query(api: FakeApi) -> dict[str, str]:
    return api.only("GET", f"/api/v1/experiments/{NAME}/logs").query


def test_logs_of_a_finished_experiment_are_its_last_100_lines(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}", experiment())
    api.on("GET", f"/api/v1/experiments/{NAME}/logs", b"[rank 0] \xff no end")
    done = grid("logs", NAME)
    assert (done.code, done.raw, done.err) == (0, b"[rank 0] \xff no end", "")
    query = log_query(api)
    assert (query["tail"], query["prefix"], query["times"]) == ("100", "true", "false")
    assert "follow" not in query


def test_a_runs_name_means_its_first_experiment_which_is_said(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}", experiment())
    api.on("GET", f"/api/v1/experiments/{NAME}/logs", b"")
    assert NAME in grid("logs", "calm-fox-7").err


def test_a_running_experiment_is_followed_to_its_end(api: FakeApi, grid: Typist) -> None:
    left = [experiment(state="running"), experiment()]
    api.on("GET", f"/api/v1/experiments/{NAME}", lambda _: left.pop(0) if len(left) > 1 else left[0])
    api.on("GET", f"/api/v1/experiments/{NAME}/logs", b"line\n")
    done = grid("logs", NAME)
    assert (done.code, done.out) == (0, "line\n")
    assert "succeeded" in done.err
    assert log_query(api)["follow"] == "true"


def test_options_of_logs_reach_the_server(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}", experiment(state="running"))
    api.on("GET", f"/api/v1/experiments/{NAME}/logs", b"")
    grid("logs", NAME, "--rank", "2", "-t", "--tail_lines", "5", "--attempt", "1", "--generation", "3")
    query = {"rank": "2", "times": "true", "tail": "5", "attempt": "1", "generation": "3", "prefix": "false"}
    assert log_query(api) == query


def test_logs_as_json_are_the_servers_document(api: FakeApi, grid: Typist) -> None:
    document = {"experiment": NAME, "lines": [{"rank": 0, "stream": "stdout", "at": "…", "text": "x"}]}
    api.on("GET", f"/api/v1/experiments/{NAME}/logs", document)
    assert grid("-o", "json", "logs", NAME).json == document
    assert log_query(api)["format"] == "json"


def failed(**changes: Any) -> dict[str, Any]:
    cause = {
        "cause": "rank 5 left early: it exited with code 0",
        "rank": 5,
        "node": 1,
        "machine": 1,
        "exit_code": 0,
        "signal": None,
        "exception": None,
        "frame": None,
        "hint": "all ranks must make the same steps",
        "log_tail": "",
        "victims": [0, 1, 2, 3, 4, 6, 7],
        "memory": {"peak_mib": 812, "available_mib": None},
    }
    return experiment(state="failed", reason=cause["cause"], exit_code=1, root_cause=cause, **changes)


def test_why_shows_the_card_alone(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}", failed())
    done = grid("why", NAME)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "calm-fox-7-exp0 failed with exit code 1",
        "  rank 5 left early: it exited with code 0",
        "  missing rank: 5 (node 1, machine 1)",
        "  memory: 812 MiB at most",
        "  ranks 0-4, 6-7 followed",
        "",
        "  hint: all ranks must make the same steps",
        "",
        "  the rest: grid logs calm-fox-7-exp0 --rank 5",
    ]
    assert done.out.strip() in grid("status", NAME).out
    whole = grid("why", NAME, "-o", "json").json
    assert whole == {
        "experiment": NAME,
        "state": "failed",
        "reason": "rank 5 left early: it exited with code 0",
        "root_cause": failed()["root_cause"],
    }


def test_why_of_a_run_is_about_its_first_experiment_that_failed(api: FakeApi, grid: Typist) -> None:
    members = [experiment(), failed(experiment="calm-fox-7-exp1"), failed(experiment="calm-fox-7-exp2")]
    api.on("GET", "/api/v1/runs/calm-fox-7", lambda _: {"run": "calm-fox-7", "etag": "x", "experiments": members})
    done = grid("why", "calm-fox-7")
    assert done.out.startswith("calm-fox-7-exp1 failed")
    assert "calm-fox-7-exp1 is its first that failed" in done.err
    del members[1:]
    done = grid("why", "calm-fox-7")
    assert done.out == "calm-fox-7-exp0 has not failed: succeeded, all ranks exited with 0\n"
    assert "none has failed" in done.err


def test_why_of_what_has_not_failed_says_what_it_does(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}", experiment(state="running", reason="all 8 ranks started"))
    done = grid("why", NAME)
    assert (done.code, done.out) == (0, "calm-fox-7-exp0 has not failed: running, all 8 ranks started\n")
    assert grid("why", NAME, "-o", "json").json["root_cause"] is None


@pytest.mark.parametrize("options", [(), ("-l", "5"), ("-f",)])
def test_logs_of_a_failed_experiment_end_with_its_cause(api: FakeApi, grid: Typist, options: tuple[str, ...]) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}", failed())
    api.on("GET", f"/api/v1/experiments/{NAME}/logs", b"line\n")
    done = grid("logs", *options, NAME)
    assert (done.code, done.out) == (0, "line\n")
    assert done.err == (
        "calm-fox-7-exp0 failed: rank 5 left early: it exited with code 0\nmore about that: grid why calm-fox-7-exp0\n"
    )


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["run", "a", "b"], {"run": ["a", "b"]}),
        (["experiment", "a-exp0"], {"experiment": ["a-exp0"]}),
        (["a", "a-exp1", "b"], {"run": ["a", "b"], "experiment": ["a-exp1"]}),
    ],
)
def test_stop_takes_kinds_or_reads_them_off_the_names(
    api: FakeApi, grid: Typist, words: list[str], kinds: dict[str, list[str]]
) -> None:
    api.on("POST", "/api/v1/stop", {"stopped": ["x"], "already": ["y"]})
    done = grid("cancel", *words)
    assert done.out.splitlines()[:1] == ["stopping x"]
    assert "y had ended before" in done.out
    assert {asked.document["kind"]: asked.document["names"] for asked in api.asked} == kinds


@pytest.mark.parametrize("words", [["run"], ["run", "a-exp0"], ["experiment", "a"], []])
def test_stop_refuses_names_of_the_other_kind_and_none(api: FakeApi, grid: Typist, words: list[str]) -> None:
    assert grid("stop", *words).code == 2
    assert not api.asked


def test_delete_needs_an_answer_or_yes(
    api: FakeApi, grid: Typist, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.on("POST", "/api/v1/delete", {"deleted": [NAME]})
    (tmp_path / "nothing").write_text("")
    with (tmp_path / "nothing").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        refused = grid("delete", "run", "calm-fox-7")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert not api.asked
    assert grid("delete", "run", "calm-fox-7", "--yes").out == f"deleted {NAME}\n"
    assert grid("delete", "run", "calm-fox-7", "--yes", "-o", "json").json == {"deleted": [NAME]}


def test_instance_types_as_table_and_json(api: FakeApi, grid: Typist) -> None:
    row = {
        "name": "4_v100_16gb",
        "cloud": "p3.8xlarge",
        "on_demand": 12.85,
        "spot": None,
        "cpus": 32,
        "gpus": 4,
        "memory_gb": 244,
        "accelerator": "V100 (16 GB)",
    }
    api.on("GET", "/api/v1/instance-types", {"instance_types": [row]})
    assert grid("instance-types").out.splitlines() == [
        "Type         Cloud Name  On-Demand $/h  Spot $/h  CPU  GPU  Memory  Accelerator",
        "4_v100_16gb  p3.8xlarge          12.85         -   32    4  244 GB  V100 (16 GB)",
    ]
    assert grid("instance_types", "-o", "json").json == {"instance_types": [row]}


def datastore_row(**changes: object) -> dict[str, object]:
    return {
        "name": "stl10",
        "version": 2,
        "state": "succeeded",
        "reason": "",
        "may_go_on": False,
        "kind": "copied",
        "files": 2,
        "size": 3000,
        "source": "/data",
        "digest": "d",
        "user": "ada",
        "created_at": "2026-11-23T10:00:00.000Z",
        **changes,
    }


@pytest.mark.parametrize(
    "source", ["nowhere", "empty", "gs://bucket/x", "http://x/a.zip --no_copy", "empty --name Bad_Name", "-- -empty"]
)
def test_bad_sources_of_datastores_are_refused_before_anything_is_made(
    api: FakeApi, grid: Typist, tmp_path: Path, source: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert grid("datastore", "create", *source.split()).code == 2
    assert not api.asked


def test_datastore_alone_lists_what_is_whole_and_counts_the_rest(api: FakeApi, grid: Typist) -> None:
    rows = [datastore_row(version=3, state="processing"), datastore_row()]
    api.on("GET", "/api/v1/datastores", {"datastores": rows})
    done = grid("datastore")
    lines = done.out.splitlines()
    assert lines == [
        "Name   Version  Status     Kind    Files     Size  Created At",
        "stl10        2  succeeded  copied      2  2.9 KiB  2026-11-23 10:00:00",
    ]
    assert done.err == "1 not whole: --show-incomplete lists them\n`grid datastore resume` goes on with stl10:3\n"
    assert grid("datastore", "list").out.splitlines() == lines
    assert grid("datastore", "-o", "json").json == {"datastores": rows[1:]}
    assert grid("datastore", "--show-incomplete", "-o", "json").json == {"datastores": rows}
    api.on("GET", "/api/v1/datastores", {"datastores": [datastore_row(version=3, state="failed"), datastore_row()]})
    assert grid("datastore").err == "1 not whole: --show-incomplete lists them\n"
    api.on("GET", "/api/v1/datastores", {"datastores": rows})
    shown = grid("datastore", "list", "--show_incomplete").out.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [["stl10", "3", "processing"], ["stl10", "2", "succeeded"]]


def test_datastore_show_says_who_uses_it_and_what_is_in_it(api: FakeApi, grid: Typist) -> None:
    uses = [
        {"run": "calm-fox-7", "active": True, "experiments": ["calm-fox-7-exp0"]},
        {"run": "old-owl-1", "active": False, "experiments": []},
    ]
    document = {**datastore_row(), "used_by": uses, "protection": "copies", "location": "/x"}
    api.on("GET", "/api/v1/datastores/stl10", document)
    files = [{"path": "a\nb", "size": 3000, "sha256": "ab" * 32}]
    api.on("GET", "/api/v1/datastores/stl10/2/files", {"files": files, "total": 5, "size": 3000})
    done = grid("datastore", "show", "stl10")
    assert "used by     calm-fox-7 (calm-fox-7-exp0), old-owl-1 (ended)" in done.out
    assert "a\\nb  2.9 KiB  abababababab" in done.out
    assert done.out.endswith("and 4 more files: --all shows them\n")
    assert grid("datastore", "show", "grid:stl10", "-o", "json").json == {**document, "file_list": files}


def test_datastore_delete_asks_first_and_says_what_is_free_again(api: FakeApi, grid: Typist) -> None:
    api.on("DELETE", "/api/v1/datastores/stl10/2", {"deleted": [2], "freed": 3000})
    assert (grid("datastore", "delete", "--name", "stl10", "--version", "2").code, api.asked) == (2, [])
    done = grid("datastore", "delete", "stl10:2", "--yes")
    assert done.out == "deleted stl10:2; 2.9 KiB are free again\n"
    done = grid("datastore", "delete", "--name", "stl10", "--version", "2", "--yes", "-o", "json")
    assert done.json == {"name": "stl10", "deleted": [2], "freed": 3000}


@pytest.mark.parametrize("words", ["", "a --name b", "stl10:x", "stl10:0", "Bad", "stl10:"])
def test_datastore_delete_wants_one_name(api: FakeApi, grid: Typist, words: str) -> None:
    assert (grid("datastore", "delete", "--yes", *words.split()).code, api.asked) == (2, [])


def test_datastore_verify_fails_on_damage_and_says_how_to_repair_it(api: FakeApi, grid: Typist) -> None:
    api.on("GET", "/api/v1/datastores/stl10", {**datastore_row(), "used_by": []})
    api.on("POST", "/api/v1/datastores/stl10/2/verify", {"files": 2, "damaged": ["a"], "repaired": ["b"]})
    done = grid("datastore", "verify", "stl10")
    assert done.out == "repaired: b\ndamaged: a\nstl10:2: 2 files, 1 damaged\n"
    assert done.code == 1
    assert "from its source again" in done.err


def test_datastore_verify_says_of_a_reference_that_its_source_has_changed(api: FakeApi, grid: Typist) -> None:
    api.on("GET", "/api/v1/datastores/stl10", {**datastore_row(), "kind": "referenced", "source": "s3://b/x"})
    api.on("POST", "/api/v1/datastores/stl10/2/verify", {"files": 2, "damaged": ["a"], "repaired": []})
    done = grid("datastore", "verify", "stl10")
    assert (done.code, done.out) == (1, "changed: a\nstl10:2: 2 files, 1 changed\n")
    assert done.err == "hint: create stl10 from s3://b/x again: that is another version\n"


def test_errors_of_the_server_keep_message_hint_and_exit_code(api: FakeApi, grid: Typist) -> None:
    error = {"code": "not_found", "message": "there is no run nosuch", "hint": "did you mean calm-fox-7?"}
    api.on("GET", "/api/v1/runs/nosuch", (404, {"error": error}))
    done = grid("status", "nosuch")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == ["error: there is no run nosuch", "hint: did you mean calm-fox-7?"]
    assert grid("status", "nosuch", "-o", "json").json == {"error": error}
    api.on("GET", "/api/v1/runs/nosuch", (500, {"error": {"code": "failed", "message": "oh", "hint": None}}))
    assert grid("status", "nosuch").code == 1


def test_debug_shows_requests_and_tracebacks(api: FakeApi, grid: Typist) -> None:
    done = grid("status", "nosuch", "--debug")
    assert "GET http://127.0.0.1" in done.err
    assert "Traceback" in done.err
    assert "Traceback" not in grid("status", "nosuch").err


def test_an_unknown_command_names_the_nearest(grid: Typist) -> None:
    done = grid("statsu")
    assert (done.code, "grid status" in done.err) == (2, True)


def test_version_needs_no_server(api: FakeApi, grid: Typist) -> None:
    assert grid("version").out.startswith("opengrid ")
    assert grid("version", "-o", "json").json.keys() == {"version"}
    assert not api.asked


def test_server_status_tells_where_it_is_and_starts_none(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    document = json.loads((tmp_path / "home" / "server.json").read_text())
    shown = grid("server", "status", "-o", "json").json
    assert shown == {key: document[key] for key in ("pid", "url", "version", "started_at", "home")}
    (tmp_path / "home" / "server.json").unlink()
    done = grid("server", "status")
    assert done.code == 1
    assert not (tmp_path / "home" / "server.json").exists()
    assert grid("server", "stop", "-o", "json").json == {"stopped": False, "pid": None}


def test_the_help_lists_every_command_with_its_own_line() -> None:
    import click

    context = click.Context(group)
    for name, (_, _, line) in _COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200) == line


@pytest.mark.parametrize("command", ["--help", "status", "version"])
def test_commands_load_nothing_heavy(api: FakeApi, grid: Typist, command: str) -> None:
    api.on("GET", "/api/v1/runs", {"runs": [run_row()], "total": 1, "not_active": 0})
    code = (
        "import sys\nfrom opengrid.cli.main import main\n"
        f"try: main([{command!r}])\n"
        "except SystemExit as left: assert left.code == 0\n"
        "heavy = 'rich pydantic fastapi sqlalchemy numpy asyncio http.client opengrid.core.spec'.split()\n"
        "print(sorted(set(heavy) & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]", done


def test_a_reader_that_leaves_ends_the_command_quietly(api: FakeApi, grid: Typist) -> None:
    rows = [run_row(run=f"run-{n}") for n in range(999)]
    api.on("GET", "/api/v1/runs", {"runs": rows, "total": 999, "not_active": 999})
    command = subprocess.Popen(
        [sys.executable, "-m", "opengrid.cli", "history"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.read(10)
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(60) in (0, 141)  # 0 when all of it fitted into the pipe


def test_names_that_cannot_be_shown_are_no_error(api: FakeApi, grid: Typist) -> None:
    api.on("GET", "/api/v1/runs", {"runs": [run_row(run="\udce4→")], "total": 1, "not_active": 1})
    done = subprocess.run(
        [sys.executable, "-m", "opengrid.cli", "history"],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0
    assert b"\\udce4" in done.stdout


def test_a_table_of_wide_signs_stays_aligned_and_one_too_narrow_for_anything_stays_readable() -> None:
    columns = [Column(title="Name", may_wrap=True), Column(title="N", is_number=True)]
    assert output.plain_table(columns, [["実験", "1"], ["plain", "22"]]).splitlines() == [
        "Name    N",
        "実験    1",
        "plain  22",
    ]
    narrow = output.fitted_table(columns, [["a-name-without-any-space", "1"]], 5, colours=False)
    assert "".join(line.split()[0] for line in narrow.splitlines()[1:]) == "a-name-without-any-space"
