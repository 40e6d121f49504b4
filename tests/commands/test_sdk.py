"""The Python SDK: what it asks for, and how its handles look."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from tests.commands.test_cli_run import CREATED, PLAN, taking_blobs
from tests.support.fake_api import Asked, FakeApi, serving

from opengrid import Actions, Grid, GridError
from opengrid.cli.run import run as command
from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.spec import Framework, Program, ProgramKind, RunSpec, Source, Strategy
from opengrid.sdk.grid import words_of
from opengrid.sdk.request import RunOptions, Shell, make_spec, options_of


def experiment(state: str, number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "experiment": f"calm-fox-7-exp{number}", "run": "calm-fox-7", "state": state, "reason": "",
        "params": {"lr": 0.1}, "command": "train.py --lr 0.1", "machines": 2, "instance_type": "4_v100_16gb",
        "world_size": 8, "simulated": True, **more,
    }  # fmt: skip


def run(*states: str) -> dict[str, Any]:
    members = [experiment(state, number) for number, state in enumerate(states)]
    return {"run": "calm-fox-7", "etag": "-".join(states), "experiments": members}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.py").write_text("")
    monkeypatch.chdir(folder)
    with serving(tmp_path / "home") as api:
        api.on("POST", "/api/v1/plan", {"plan": PLAN})
        api.on("POST", "/api/v1/runs", (201, CREATED))
        api.on("GET", "/api/v1/runs/calm-fox-7", run("queued"))
        yield api


@pytest.fixture
def grid(api: FakeApi) -> Iterator[Grid]:
    with Grid(home=api.home) as grid:
        yield grid


def one_after_the_other(*documents: dict[str, Any]) -> Any:
    left = list(documents)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--lr 0.1 'a b'", ("--lr", "0.1", "a b")),
        (["--lr", 0.1, Path("/x")], ("--lr", "0.1", "/x")),
        ({"lr": [0.1, 0.2], "-v": True, "--name": "a b"}, ("--lr", "[0.1, 0.2]", "-v", "--name", "a b")),
        ({"none": None, "off": False, "zero": 0, "many": ["x y", "z"]}, ("--zero", "0", "--many", "['x y', 'z']")),
        ({"lr": np.array([0.5, 0.25]), "n": np.int64(3)}, ("--lr", "[0.5, 0.25]", "--n", "3")),
        ((), ()),
    ],
)
def test_arguments_are_given_as_text_as_a_list_or_by_name(args: Any, words: tuple[str, ...]) -> None:
    assert words_of(args) == words


def test_run_asks_for_what_the_command_line_would(api: FakeApi, grid: Grid) -> None:
    taking_blobs(api)
    made = grid.run("train.py", {"lr": 0.1}, gpus=8, framework="pytorch", environment={"A": "1"}, labels={"k": "v"})
    spec = api.only("POST", "/api/v1/runs").document
    assert spec["program"] == {"kind": "script", "target": "train.py", "arguments": ["--lr", "0.1"]}
    assert (spec["gpus"], spec["framework"], spec["environment"], spec["labels"]) == (
        8,
        "torch",
        {"A": "1"},
        {"k": "v"},
    )
    assert spec["python"] == sys.executable
    assert spec["command"].startswith("grid run --gpus 8 --framework torch --python ")
    assert (made.name, made.status, repr(made)) == ("calm-fox-7", "queued", "<Run calm-fox-7: 1 queued>")


def test_python_knows_the_options_of_the_command_line() -> None:
    other_names = {
        "environment": "env",
        "labels": "label",
        "secrets": "secret",
        "grace_s": "grace",
        "max_time_s": "max_time",
    }
    known = {other_names.get(name, name) for name in RunOptions.__annotations__}
    typed = {
        parameter.name for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden
    }
    assert typed - known == {
        *("config", "like", "dry_run", "detach", "follow", "wait", "output", "debug", "dockerfile", "env_file"),
        *("on_build", "on_build_start", "on_build_end", "on_experiment_start", "on_experiment_end"),
    }
    assert known - typed == {"actions", "dependencies"}, "all actions in one, and what comes from the tree"


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"gpu": 8}, "there is no option gpu", "did you mean gpus?"),
        (
            {"on_build": ["make"]},
            "there is no option on_build",
            'actions=Actions(on_build=("COMMAND",)), with `from opengrid import Actions`',
        ),
        ({"gpus": "8"}, "gpus='8': int or None is expected", None),
        ({"gpus": True}, "gpus=True: int or None is expected", None),
        ({"secrets": "TOKEN"}, "secrets='TOKEN': Sequence is expected", None),
        ({"framework": None}, "framework=None: str is expected", None),
        ({"labels": {"a": 1}}, "labels={'a': 1}: all in it are texts", None),
        ({"secrets": [1]}, "secrets=[1]: all in it are texts", None),
        ({"args": 5}, "args=5: a text, a list or a mapping is expected", None),
        ({"args": "it's"}, 'args="it\'s": no closing quotation', 'a list needs no quotes: ["--name", "it\'s"]'),
    ],
)
def test_an_option_that_there_is_not_or_of_another_kind_is_refused_before_anything_is_asked(
    api: FakeApi, grid: Grid, options: dict[str, Any], message: str, hint: str | None
) -> None:
    for call in (grid.plan, grid.run):
        with pytest.raises(InvalidValue) as refused:
            call("train.py", **options)
        assert (refused.value.message, refused.value.hint) == (message, hint)
    assert api.asked == []


def test_options_of_every_kind_are_taken(api: FakeApi, grid: Grid) -> None:
    grid.plan("train.py", grace_s=3, labels={"a": "b"}, secrets=["A"], actions=Actions(), num_trials=None)


def test_a_request_made_of_anothers_options_is_the_same(tmp_path: Path) -> None:
    spec = RunSpec(
        program=Program(kind=ProgramKind.SCRIPT, target="t.py"), source=Source(bundle="00", root="/"), gpus=8,
        framework=Framework.TORCH, python=sys.executable, environment={"A": "1"}, labels={"k": "v"}, max_time_s=5.0,
        strategy=Strategy.RANDOM_SEARCH, num_trials=3, datastore_name="mnist", datastore_version=2, auto_resume=True,
    )  # fmt: skip
    options, own = options_of(spec), {"program", "source", "name", "command", "shell"}
    assert options.keys() == {field.name for field in dataclasses.fields(RunSpec)} - own
    assert make_spec(spec.program, spec.source, options, shell=Shell(cwd=tmp_path, environment={}), command="") == spec


def test_plan_starts_nothing(api: FakeApi, grid: Grid) -> None:
    plan = grid.plan("train.py", gpus=8)
    assert (plan.machines, plan.nodes, plan.world_size, plan.simulated) == (2, 2, 8, True)
    assert "<td>4_v100_16gb</td>" in plan._repr_html_()
    assert {asked.path for asked in api.asked} == {"/api/v1/plan"}


def test_a_clone_changes_what_is_given(api: FakeApi, grid: Grid) -> None:
    grid.plan("train.py", "--lr 1 -q", gpus=4, environment={"A": "1"}, parallel=2)
    stored = {**api.asked[-1].document, "seed": 5}
    api.on("GET", "/api/v1/runs/calm-fox-7/request", {"run": "calm-fox-7", "request": stored, "held_back": []})
    grid.clone("calm-fox-7", {"lr": 2}, gpus=8, environment={"B": "2"}, name="bold")
    spec = api.only("POST", "/api/v1/runs").document
    changed = {"gpus": 8, "environment": {"A": "1", "B": "2"}, "name": "bold", "command": spec["command"]}
    program = {**stored["program"], "arguments": ["--lr", "2", "-q"]}
    assert spec == {**stored, **changed, "program": program}


def test_waiting_follows_the_run_to_its_end(api: FakeApi, grid: Grid) -> None:
    states = [run("queued", "queued"), run("running", "queued"), run("succeeded", "failed")]
    api.on("GET", "/api/v1/runs/calm-fox-7", one_after_the_other(states[0], *states))
    seen = [each.status for each in grid.get("calm-fox-7").watch()]
    assert seen[-1] == "failed"
    assert grid.get("calm-fox-7").wait().status == "failed"
    api.on("GET", "/api/v1/runs/calm-fox-7", run("stopped", "succeeded"))
    assert grid.get("calm-fox-7").wait().status == "stopped"
    api.on("GET", "/api/v1/runs/calm-fox-7", run("succeeded", "succeeded"))
    assert grid.get("calm-fox-7").wait().status == "succeeded"


def test_waiting_ends_when_its_time_is_over(api: FakeApi, grid: Grid) -> None:
    with pytest.raises(TimeoutError, match="calm-fox-7 has not ended within 0 s: it is queued"):
        grid.get("calm-fox-7").wait(timeout_s=0)
    held = [float(asked.query["timeout_s"]) for asked in api.asked if "timeout_s" in asked.query]
    assert held == [0.0]


def test_an_experiment_is_waited_for_alone(api: FakeApi, grid: Grid) -> None:
    api.on("GET", "/api/v1/experiments/calm-fox-7-exp1", experiment("succeeded", 1))
    api.on("GET", "/api/v1/runs/calm-fox-7", run("queued", "succeeded"))
    assert grid.get("calm-fox-7").experiments[1].wait().status == "succeeded"


def test_logs_come_as_lines(api: FakeApi, grid: Grid) -> None:
    api.on("GET", "/api/v1/experiments/calm-fox-7-exp0", experiment("succeeded"))
    api.on("GET", "/api/v1/experiments/calm-fox-7-exp0/logs", b"[rank 0] a\n[rank 1] \xff\nlast")
    for follow in (False, True):
        assert list(grid.get("calm-fox-7").logs(follow=follow)) == ["[rank 0] a", "[rank 1] \ufffd", "last"]
    assert list(grid.experiment("calm-fox-7-exp0").logs(rank=1, tail=5))
    asked = [a.query for a in api.asked if a.path.endswith("/logs")]
    assert [query.get("follow") for query in asked] == [None, "true", None]
    assert (asked[-1]["rank"], asked[-1]["tail"], asked[-1]["prefix"]) == ("1", "5", "false")


def test_artifacts_are_listed_read_and_downloaded_once(api: FakeApi, grid: Grid, tmp_path: Path) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    row = {"id": "i", "path": "ckpt/last.ckpt", "node": 0, "size": 5, "sha256": digest, "stored_at": "/a"}
    base = "/api/v1/experiments/calm-fox-7-exp0"
    api.on("GET", f"{base}/artifacts", {"artifacts": [row], "total": 1, "size": 5})
    api.on("GET", f"{base}/artifacts/i/content", b"hello")
    (artifact,) = grid.get("calm-fox-7").artifacts
    assert (artifact.path, artifact.size, artifact.read()) == ("ckpt/last.ckpt", 5, b"hello")
    for _ in range(2):
        assert artifact.download(tmp_path).read_bytes() == b"hello"
    assert artifact.download(tmp_path) == tmp_path / "ckpt" / "last.ckpt"
    assert sum(asked.path.endswith("/content") for asked in api.asked) == 2
    assert "last.ckpt of calm-fox-7-exp0, 5 bytes" in repr(artifact)


def test_stop_resume_and_delete_name_the_run(api: FakeApi, grid: Grid) -> None:
    api.on("POST", "/api/v1/stop", {"stopped": [], "already": []})
    api.on("POST", "/api/v1/resume", {"resumed": [], "left": []})
    api.on("POST", "/api/v1/delete", {"deleted": []})
    made = grid.get("calm-fox-7")
    made.stop()
    made.experiments[0].stop()
    made.resume(only_failed=True)
    made.delete()
    asked = [
        (a.path.rpartition("/")[2], a.document["kind"], a.document["names"]) for a in api.asked if a.method == "POST"
    ]
    assert asked == [
        ("stop", "run", ["calm-fox-7"]),
        ("stop", "experiment", ["calm-fox-7-exp0"]),
        ("resume", "run", ["calm-fox-7"]),
        ("delete", "run", ["calm-fox-7"]),
    ]
    assert api.only("POST", "/api/v1/resume").document["failed"] is True


def test_your_own_runs_are_listed_unless_everybodys_are_asked_for(api: FakeApi, grid: Grid) -> None:
    api.on("GET", "/api/v1/runs", {"runs": [{"run": "calm-fox-7"}], "total": 1, "not_active": 0})
    assert [each.name for each in grid.runs(active=True, labels=["k=v"])] == ["calm-fox-7"]
    grid.runs(everybody=True)
    queries = [asked.query for asked in api.asked if asked.path == "/api/v1/runs"]
    assert [query.get("mine") for query in queries] == ["true", None]


def test_notebooks_show_tables_in_which_nothing_of_a_script_is_markup(api: FakeApi, grid: Grid) -> None:
    document = run("succeeded", "running")
    document["experiments"][0]["params"] = {"<b>": "<script>"}
    document["experiments"][0]["reason"] = "<i>"
    api.on("GET", "/api/v1/runs/calm-fox-7", document)
    shown = grid.get("calm-fox-7")._repr_html_()
    assert "1 succeeded, 1 running" in shown
    assert "&lt;script&gt;" in shown
    assert not {"<script>", "<i>", "<th><b></th>"} & {shown[i : i + n] for n in (3, 8, 12) for i in range(len(shown))}
    cause = {"cause": "rank 3 failed: <boom>"}
    api.on("GET", "/api/v1/experiments/calm-fox-7-exp0", experiment("failed", root_cause=cause))
    assert "rank 3 failed: &lt;boom&gt;" in grid.experiment("calm-fox-7-exp0")._repr_html_()


def test_errors_say_what_the_server_said(api: FakeApi, grid: Grid) -> None:
    error = {"code": "not_found", "message": "there is no run named 'x'", "hint": "did you mean y?"}
    api.on("GET", "/api/v1/runs/x", (404, {"error": error}))
    with pytest.raises(NotFound, match="no run named 'x'") as caught:
        grid.get("x")
    assert isinstance(caught.value, GridError)
    assert caught.value.hint == "did you mean y?"
    with pytest.raises(NotFound, match=r"absent\.py"):
        grid.run("absent.py")


def test_a_url_and_a_token_lead_elsewhere(api: FakeApi, tmp_path: Path) -> None:
    url = api.answers["GET", "/api/v1/server"]["url"]
    with Grid(url, token="secret", home=tmp_path / "empty") as grid:
        assert grid.get("calm-fox-7").name == "calm-fox-7"
        assert repr(grid) == f"Grid({url!r})"
    assert not (tmp_path / "empty").exists()


def test_importing_opengrid_loads_nothing_else() -> None:
    code = "import opengrid, sys; print([m for m in sys.modules if m.startswith('opengrid.')]); opengrid.Grid"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    unknown = subprocess.run([sys.executable, "-c", "from opengrid import Gird"], capture_output=True, text=True)
    assert "cannot import name 'Gird'" in unknown.stderr


def test_an_interrupt_ends_the_waiting_and_the_next_call_works(api: FakeApi, grid: Grid) -> None:
    def interrupted(_: Asked) -> Any:
        import signal

        signal.raise_signal(signal.SIGINT)  # the main thread gets it, while it waits for this answer
        return run("queued")

    waited = grid.get("calm-fox-7")
    api.on("GET", "/api/v1/runs/calm-fox-7", interrupted)
    with pytest.raises(KeyboardInterrupt):
        waited.wait()
    api.on("GET", "/api/v1/runs/calm-fox-7", run("succeeded"))
    assert waited.wait().status == "succeeded"
