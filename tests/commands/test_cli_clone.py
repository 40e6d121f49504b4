"""`grid clone` and `grid run --like`: what of another run they take, and that the printed command means the same."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.commands.test_cli_run import CREATED, PLAN, taking_blobs
from tests.support.fake_api import FakeApi, serving
from tests.support.typed import Typist, make_typist

from opengrid.core.spec import Place, Program, ProgramKind, RunSpec, Source
from opengrid.planning.command import OPTIONS, OTHERS, command_line, without_values


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with serving(tmp_path / "home") as api:
        api.on("POST", "/api/v1/plan", {"plan": PLAN})
        api.on("POST", "/api/v1/runs", (201, CREATED))
        yield api


@pytest.fixture
def grid(
    api: FakeApi, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Typist:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.py").write_text("")
    (folder / "go.sh").write_text("#!/bin/sh")
    return make_typist(capsysbinary, monkeypatch, api.home, folder)


def planned(api: FakeApi) -> Any:
    """Return the request of the last plan."""
    return [asked.document for asked in api.asked if asked.path == "/api/v1/plan"][-1]


def known(api: FakeApi, name: str, request: Any, held_back: tuple[str, ...] = ()) -> None:
    """Let the server know a run that was asked for so."""
    document = {"run": name, "request": request, "held_back": list(held_back)}
    api.on("GET", f"/api/v1/runs/{name}/request", document)


LINES = [
    "train.py",
    "--gpus 8 --instance_type 4_v100_16gb --framework pytorch --cpus 2 train.py --gpus 8 --lr '[0.1, 0.2]' 'a b'",
    "--description 'a b' --processes_per_node 3 --simulate --grace 2.5 --env A=b=c --env E= --label k='v w' go.sh",
    "--strategy random_search --num_trials 3 --seed 7 --max_experiments 99 --parallel 2 --fail_fast go.sh 'range(9)'",
    "--max_time 1h30m --max_restarts 2 --auto_resume -m pkg.mod -m --name x -- --y",
    "--strategy none train.py '' --note \"it's\"",
    "--on_build 'pip --version' --on_build_start 'a; b' --on_build_end c --on_experiment_end 'd > e' go.sh",
    "--on_experiment_start 'echo \"$X\"' --on_experiment_start 'it''s' go.sh",
]


@pytest.mark.parametrize("line", LINES)
def test_the_printed_command_asks_for_the_same_again(api: FakeApi, grid: Typist, line: str) -> None:
    assert grid("run", "--dry_run", *shlex.split(line)).code == 0
    first = planned(api)
    known(api, "calm-fox-7", {**first, "name": "calm-fox-7"})
    cloned = grid("clone", "--dry_run", "calm-fox-7")
    assert cloned.code == 0, cloned
    assert planned(api) == {**first, "command": "grid clone --dry_run calm-fox-7"}
    command = shlex.split(cloned.out.splitlines()[0].removeprefix("command"))
    assert command[:2] == ["grid", "run"]
    assert grid("run", "--dry_run", *command[2:]).code == 0
    assert {**planned(api), "command": ""} == {**first, "command": ""}
    assert grid("run", "--dry_run", "--like", "calm-fox-7").code == 0
    assert {**planned(api), "command": ""} == {**first, "command": ""}


def test_every_field_of_a_request_is_on_the_command_line_or_said_not_to_be() -> None:
    assert {field.name for field in dataclasses.fields(RunSpec)} == {*OPTIONS, *OTHERS}


@pytest.mark.parametrize(
    ("kind", "path", "words"),
    [
        (ProgramKind.SCRIPT, "a/train.py", ["https://host/o/r#abc:a/train.py", "--x"]),
        (ProgramKind.MODULE, "", ["-m", "https://host/o/r#abc", "pkg.mod", "--x"]),
    ],
)
def test_a_run_of_a_link_is_repeated_at_the_commit_that_was_fetched(
    kind: ProgramKind, path: str, words: list[str]
) -> None:
    program = Program(kind=kind, target=path or "pkg.mod", arguments=("--x",))
    place = Place(url="https://host/o/r", ref="main", commit="abc", path=path)
    source = Source(bundle="00", root="", kind="git", link="https://host/o/r/blob/main/a/train.py", place=place)
    assert list(command_line(RunSpec(program=program, source=source))) == ["run", *words]


def test_what_is_given_changes_the_clone_and_the_rest_stays(api: FakeApi, grid: Typist) -> None:
    grid(
        "run",
        "--dry_run",
        "--gpus",
        "4",
        "--env",
        "A=1",
        "--label",
        "k=v",
        "--auto_resume",
        "train.py",
        "--lr",
        "1",
        "-q",
    )
    first = planned(api)
    known(api, "calm-fox-7", first)
    given = ("--gpus", "8", "--env", "B=2", "--name", "bold", "--", "--lr", "2", "--new=3")
    assert grid("clone", "calm-fox-7", "--dry_run", *given).code == 0
    changed = {
        "gpus": 8,
        "environment": {"A": "1", "B": "2"},
        "name": "bold",
        "program": {**first["program"], "arguments": ["--lr", "2", "-q", "--new=3"]},
    }
    assert {**planned(api), "command": ""} == {**first, **changed, "command": ""}


def test_a_clone_is_started_with_the_tree_that_ran_then(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    sent = taking_blobs(api)
    grid("run", "--dry_run", "train.py")
    stored = {**planned(api)["source"], "bundle": "ab" * 32, "commit": None}
    known(api, "calm-fox-7", {**planned(api), "source": stored})
    (tmp_path / "folder" / "train.py").unlink()
    assert grid("clone", "calm-fox-7-exp3", "--detach").code == 0  # an experiment's name means its run
    assert api.only("POST", "/api/v1/runs").document["source"] == stored
    # With the tree, which the server may refuse; `--like` takes only the options.
    assert api.only("GET", "/api/v1/runs/calm-fox-7/request").query == {"tree": "true"}
    assert sent == []


def test_like_takes_another_script_with_the_same_options_and_a_config_file_comes_between(
    api: FakeApi, grid: Typist, tmp_path: Path
) -> None:
    more = ("--parallel", "2", "--on_experiment_start", "d", "--on_build_end", "e")
    grid("run", "--dry_run", "--gpus", "4", "--cpus", "1", *more, "train.py", "--lr", "1")
    known(api, "calm-fox-7", planned(api))
    (tmp_path / "folder" / "c.yml").write_text(
        "compute: {train: {gpus: 6, cpus: 3, actions: {on_build: [a], on_build_end: [b]}}}"
    )
    actions = ("--on_build_end", "c")
    done = grid("run", "--dry_run", "--like", "calm-fox-7", "--config", "c.yml", "--gpus", "8", *actions, "go.sh", "x")
    assert done.code == 0
    assert "--on_build_end of the command line wins over c.yml, line 1" in done.err
    spec = planned(api)
    assert spec["actions"] == {
        "on_build": ["a"],
        "on_build_start": [],
        "on_build_end": ["c"],
        "on_experiment_start": ["d"],
        "on_experiment_end": [],
    }
    assert (spec["gpus"], spec["cpus"], spec["parallel"]) == (8, 3, 2)
    assert (spec["program"]["target"], spec["program"]["arguments"]) == ("./go.sh", ["x"])


def test_anothers_variables_are_named_and_left_out(api: FakeApi, grid: Typist) -> None:
    grid("run", "--dry_run", "train.py")
    known(api, "calm-fox-7", planned(api), held_back=("PASSWORD", "USER_NAME"))
    done = grid("clone", "calm-fox-7", "--dry_run", "--env", "USER_NAME=me")
    assert "the values of PASSWORD are not copied" in done.err
    assert planned(api)["environment"] == {"USER_NAME": "me"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clone", "RUN"),
        ("clone absent-fox-1", "absent-fox-1"),
        ("clone calm-fox-7 train.py", None),
        ("clone calm-fox-7 --localdir", "--localdir"),
        ("clone calm-fox-7 --detach --wait", "--detach"),
        ("clone calm-fox-7 --gpus many", "many"),
        ("run --like absent-fox-1", "absent-fox-1"),
        ("run --dry_run", "SCRIPT"),
    ],
)
def test_what_cannot_be_is_refused(api: FakeApi, grid: Typist, line: str, words: str | None) -> None:
    grid("run", "--dry_run", "train.py")
    known(api, "calm-fox-7", planned(api))
    if words is None:  # a word without -- is an argument as well
        assert grid(*line.split(), "--dry_run").code == 0
        assert planned(api)["program"]["arguments"] == ["train.py"]
        return
    refused = grid(*line.split())
    assert (refused.code, refused.out, words in refused.err) == (2, "", True), refused
    assert grid("-o", "json", *line.split()).json["error"]["message"]


@pytest.mark.parametrize(
    ("command", "environment", "shown"),
    [
        ("grid run --env A=b=c t.py", {"A": "b=c"}, "grid run --env A t.py"),
        ("grid run --env=A='x y' --env B=1 t.py --A=1", {"A": "x y", "B": "1"}, "grid run --env=A --env B t.py --A=1"),
        ("grid run 'a b' --lr=0.1", {"lr": "0.2"}, "grid run 'a b' --lr=0.1"),
        ("grid run 'unbalanced", {"A": "1"}, ""),
    ],
)
def test_a_recorded_command_has_no_values_of_variables(command: str, environment: dict[str, str], shown: str) -> None:
    program = Program(kind=ProgramKind.SCRIPT, target="t.py")
    source = Source(bundle=None, root="/")
    spec = RunSpec(program=program, source=source, command=command, environment=environment)
    assert without_values(spec) == shown
