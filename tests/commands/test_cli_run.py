"""`grid run`: what belongs to Grid, what to the script, and what is asked of the server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_api import Asked, FakeApi, serving
from tests.support.typed import Done, Typist, make_typist

PLAN: dict[str, Any] = {
    "machines": 2,
    "instance_type": "4_v100_16gb",
    "nodes": 2,
    "gpus": 8,
    "gpus_per_node": 4,
    "cpus_per_node": 8,
    "ranks_per_node": 4,
    "world_size": 8,
    "experiments": 1,
    "price_per_hour": 25.7,
    "simulated": True,
    "devices": "",
    "python": "/usr/bin/python3",
    "source": "/home/ada/vae at 0123456789 + 1 changed file",
    "packages": "",
    "link": None,
    "reason": "simulated (box has no GPU): the 8 GPUs are stood in for by CPU ranks under gloo",
    "layout": [[0], [1]],
}
CREATED = {"run": "calm-fox-7", "experiments": ["calm-fox-7-exp0"], "plan": PLAN}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with serving(tmp_path / "home") as api:
        api.on("POST", "/api/v1/plan", {"plan": PLAN})
        api.on("POST", "/api/v1/runs", (201, CREATED))
        api.on("POST", "/api/v1/fail", (500, {}))
        yield api


@pytest.fixture
def grid(
    api: FakeApi, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Typist:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.py").write_text("print('--lr', '--gpus')")
    return make_typist(capsysbinary, monkeypatch, api.home, folder)


def asked_plan(api: FakeApi) -> Any:
    return api.only("POST", "/api/v1/plan").document


def taking_blobs(api: FakeApi) -> list[Asked]:
    """Let the server take any blob; return the requests that sent one."""
    sent: list[Asked] = []
    inner = api.answer

    def answer(asked: Asked) -> tuple[int, bytes]:
        if asked.method == "PUT" and asked.path.startswith("/api/v1/blobs/"):
            sent.append(asked)
            return 201, b"{}"
        return inner(asked)

    api.answer = answer
    return sent


def refused(done: Done, *words: str) -> None:
    assert done.code == 2, done
    assert done.out == ""
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("separator", [[], ["--"]])
def test_everything_after_the_script_is_the_scripts(api: FakeApi, grid: Typist, separator: list[str]) -> None:
    given = ["--help", "-o", "json", "--gpus", "3", "--", "--dry_run", "", "a b", "-l"]
    assert grid("run", "--dry_run", "--gpus", "8", *separator, "train.py", *given).code == 0
    spec = asked_plan(api)
    assert spec["program"] == {"kind": "script", "target": "train.py", "arguments": given}
    assert spec["gpus"] == 8
    assert spec["command"].startswith("grid run --dry_run --gpus 8")


def test_options_after_a_modules_name_are_the_modules(api: FakeApi, grid: Typist) -> None:
    assert grid("run", "--dry_run", "-m", "pkg.mod", "--name", "x", "-m").code == 0
    assert asked_plan(api)["program"] == {"kind": "module", "target": "pkg.mod", "arguments": ["--name", "x", "-m"]}


def test_dashes_prefixes_and_the_old_name_of_the_command_mean_the_same(api: FakeApi, grid: Typist) -> None:
    done = grid("train", "--dry-run", "--grid_instance-type", "2_cpu_4gb", "--g_gpus=2", "train.py")
    assert done.code == 0
    assert (asked_plan(api)["instance_type"], asked_plan(api)["gpus"]) == ("2_cpu_4gb", 2)
    assert "--instance_type" in done.err
    assert "--gpus" in done.err


def test_all_options_reach_the_request(api: FakeApi, grid: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_SHELL", "s")
    monkeypatch.setenv("SECRET_OF_SHELL", "x")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    line = (
        "--name calm-fox --description nice --instance_type 1_t4_16gb --gpus 2 --cpus 1 --framework PyTorch "
        "--processes_per_node 3 --simulate --grace 2.5 --env A=b=c --env FROM_SHELL"
    )
    assert grid("run", "--dry_run", *line.split(), "train.py").code == 0
    spec = asked_plan(api)
    expected = {
        "name": "calm-fox",
        "description": "nice",
        "instance_type": "1_t4_16gb",
        "gpus": 2,
        "cpus": 1,
        "framework": "torch",
        "processes_per_node": 3,
        "simulate": True,
        "grace_s": 2.5,
        "environment": {"A": "b=c", "FROM_SHELL": "s"},
        "python": sys.executable,
    }
    assert {key: spec[key] for key in expected} == expected
    assert (spec["shell"]["LC_TIME"], spec["shell"]["CUDA_VISIBLE_DEVICES"]) == ("C", "1")
    assert not {"SECRET_OF_SHELL", "FROM_SHELL", "GRID_HOME"} & spec["shell"].keys()


def test_the_active_environments_python_runs_the_ranks_and_the_one_given_comes_first(
    api: FakeApi, grid: Typist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("venv", "conda"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    grid("run", "--dry_run", "train.py")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "venv"))
    grid("run", "--dry_run", "train.py")
    grid("run", "--dry_run", "--python", "../conda/bin/python", "train.py")
    used = [asked.document["python"] for asked in api.asked if asked.path == "/api/v1/plan"]
    assert used == [str(tmp_path / name / "bin" / "python") for name in ("conda", "venv", "conda")]
    refused(grid("run", "--python", "no-such-python", "train.py"), "no-such-python")


def test_a_dry_run_prints_the_plan_and_sends_nothing(api: FakeApi, grid: Typist) -> None:
    done = grid("run", "--dry_run", "train.py")
    assert done.out.splitlines() == [
        "plan      dry run: nothing is started",
        "machines  2 × 4_v100_16gb (SIMULATED on this computer's CPUs)",
        "layout    2 nodes × 4 GPUs, 8 CPUs each; 8 ranks in all",
        "code      /home/ada/vae at 0123456789 + 1 changed file",
        "python    /usr/bin/python3",
        "price     nothing: simulated machines (list price $25.70 per hour)",
        "note      simulated (box has no GPU): the 8 GPUs are stood in for by CPU ranks",
        "          under gloo",
    ]
    assert grid("-o", "json", "run", "--dry_run", "train.py").json == {"run": None, "experiments": [], "plan": PLAN}
    assert {asked.path for asked in api.asked} == {"/api/v1/plan"}


def test_a_run_sends_its_tree_once_and_says_how_to_go_on(api: FakeApi, grid: Typist) -> None:
    sent = taking_blobs(api)
    done = grid("run", "train.py")
    assert done.code == 0
    assert done.out.startswith("run       calm-fox-7\n")
    assert "grid logs -f calm-fox-7-exp0" in done.out
    digest = sent[0].path.rpartition("/")[2]
    source = api.only("POST", "/api/v1/runs").document["source"]
    assert (source["bundle"], source["kind"], source["directory"]) == (digest, "folder", ".")
    api.on("HEAD", f"/api/v1/blobs/{digest}", b"")
    assert grid("run", "-o", "json", "train.py").json == CREATED
    assert len(sent) == 1


def test_a_run_that_the_server_refuses_ends_with_its_words(api: FakeApi, grid: Typist) -> None:
    taking_blobs(api)
    error = {"code": "conflict", "message": "there is already a run named calm-fox", "hint": "choose another --name"}
    api.on("POST", "/api/v1/runs", (409, {"error": error}))
    refused(grid("run", "--name", "calm-fox", "train.py"), "already a run", "another --name")
    as_json = grid("run", "-o", "json", "--name", "calm-fox", "train.py")
    assert (as_json.code, as_json.json) == (2, {"error": error})


@pytest.mark.parametrize("status", [500, 507])
def test_why_the_store_of_a_server_cannot_be_used_is_told(api: FakeApi, grid: Typist, status: int) -> None:
    answer, sent = api.answer, taking_blobs(api)
    grid("run", "train.py")
    api.answer = answer
    refusal = (status, {"error": {"code": "unusable", "message": "there is no bucket x", "hint": "make it"}})
    for method in ("HEAD", "PUT"):
        api.on(method, sent[0].path, refusal)
    refused(grid("run", "train.py"), "there is no bucket x", "make it")


def states(*rows: dict[str, Any]) -> Any:
    """Return a function that answers one state of the run after the other."""
    left = list(rows)

    def answer(_: Asked) -> Any:
        row = left.pop(0) if len(left) > 1 else left[0]
        experiment = {"experiment": "calm-fox-7-exp0", "reason": "", "exit_code": None, "params": {}, **row}
        return {"run": "calm-fox-7", "etag": str(row), "experiments": [experiment]}

    return answer


def test_wait_tells_every_change_and_succeeds_with_the_run(api: FakeApi, grid: Typist) -> None:
    taking_blobs(api)
    api.on(
        "GET",
        "/api/v1/runs/calm-fox-7",
        states({"state": "queued", "reason": "needs 8 GPUs, 4 are free"}, {"state": "running"}, {"state": "succeeded"}),
    )
    done = grid("run", "--wait", "train.py")
    assert done.code == 0
    assert done.err.splitlines() == [
        "calm-fox-7-exp0: queued, needs 8 GPUs, 4 are free",
        "calm-fox-7-exp0: running",
        "calm-fox-7-exp0: succeeded",
    ]
    held = [asked.query for asked in api.asked if asked.path == "/api/v1/runs/calm-fox-7"]
    assert [query["until"] for query in held] == ["ended"] * 3
    assert "known" in held[1]


def test_wait_shows_the_root_cause_of_a_failure_and_fails(api: FakeApi, grid: Typist) -> None:
    taking_blobs(api)
    cause = {
        "cause": "rank 3 failed: ValueError: bad lr (train.py:12 in main)",
        "rank": 3,
        "node": 1,
        "machine": 0,
        "exit_code": 1,
        "signal": None,
        "exception": "ValueError: bad lr",
        "frame": "train.py:12 in main",
        "hint": "try a smaller one",
        "log_tail": "Traceback (most recent call last):\nValueError: bad lr",
        "victims": [0, 1, 2, 5, 7, 8],
        "memory": {"peak_mib": 1812, "available_mib": 20_000},
    }
    failed = {"state": "failed", "reason": "rank 3 failed", "exit_code": 1, "root_cause": cause}
    api.on("GET", "/api/v1/runs/calm-fox-7", states({"state": "running"}, failed))
    done = grid("run", "--wait", "-o", "json", "train.py")
    assert (done.code, done.json) == (1, CREATED)
    screen = done.err[done.err.index("\n\n") + 2 :]
    assert screen.splitlines() == [
        "calm-fox-7-exp0 failed with exit code 1",
        "  rank 3 failed: ValueError: bad lr (train.py:12 in main)",
        "  first failing rank: 3 (node 1, machine 0)",
        "  memory: 1,812 MiB at most, 20,000 MiB left on its machine at the end",
        "  ranks 0-2, 5, 7-8 followed",
        "",
        "    Traceback (most recent call last):",
        "    ValueError: bad lr",
        "",
        "  hint: try a smaller one",
        "",
        "  the rest: grid logs calm-fox-7-exp0 --rank 3",
    ]


def test_follow_prints_the_log_byte_for_byte_and_ends_with_the_run(api: FakeApi, grid: Typist) -> None:
    taking_blobs(api)
    api.on("GET", "/api/v1/runs/calm-fox-7", states({"state": "succeeded"}))
    api.on("GET", "/api/v1/experiments/calm-fox-7-exp0", {"experiment": "calm-fox-7-exp0", "state": "succeeded"})
    api.on("GET", "/api/v1/experiments/calm-fox-7-exp0/logs", b"[rank 0] \xff\n[rank 1] x\r")
    done = grid("run", "--follow", "train.py")
    assert done.code == 0
    assert done.raw.endswith(b"\n[rank 0] \xff\n[rank 1] x\r")
    assert api.only("GET", "/api/v1/experiments/calm-fox-7-exp0/logs").query["follow"] == "true"


def test_an_option_of_grids_after_a_script_that_does_not_know_it_is_noted(grid: Typist) -> None:
    assert grid("run", "--dry_run", "train.py", "--gpus", "4", "--lr", "1").err == ""  # the script knows both
    done = grid("run", "--dry_run", "train.py", "--instance-type=x", "--unknown")
    assert "--instance-type stands after train.py" in done.err
    assert "--unknown" not in done.err


def test_what_is_no_python_is_an_executable(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    (tmp_path / "folder" / "go.sh").write_text("#!/bin/sh")
    for target in ("go.sh", "./go.sh", "echo", "/bin/echo"):
        assert grid("run", "--dry_run", target, "x").code == 0
    programs = [asked.document["program"] for asked in api.asked]
    assert [program["target"] for program in programs] == ["./go.sh", "./go.sh", "echo", "/bin/echo"]
    assert {program["kind"] for program in programs} == {"executable"}


def test_a_script_in_a_subfolder_and_one_by_its_absolute_path_are_seen_from_the_start_folder(
    api: FakeApi, grid: Typist, tmp_path: Path
) -> None:
    (tmp_path / "folder" / "sub").mkdir()
    (tmp_path / "folder" / "sub" / "deep.py").write_text("")
    grid("run", "--dry_run", "sub/deep.py")
    grid("run", "--dry_run", str(tmp_path / "folder" / "train.py"))
    targets = [asked.document["program"]["target"] for asked in api.asked]
    assert targets == ["sub/deep.py", "train.py"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("missing.py", ["missing.py", "train.py"]),
        ("trian.py", ["trian.py", "did you mean train.py"]),
        ("trian", ["trian", "train.py"]),
        ("no-such-command", ["no-such-command"]),
        (".", ["folder"]),
        ("-m not-a-module", ["not-a-module"]),
        ("--gpus -1 train.py", ["-1"]),
        ("--gpus 3.5 train.py", ["3.5"]),
        ("--cpus -2 train.py", ["-2"]),
        ("--processes_per_node 0 train.py", ["0"]),
        ("--processes_per_node many train.py", ["many", "auto"]),
        ("--grace -1 train.py", ["-1"]),
        ("--framework keras train.py", ["keras", "lightning"]),
        ("--name Bad_Name train.py", ["Bad_Name"]),
        ("--env NO_SUCH_VARIABLE train.py", ["NO_SUCH_VARIABLE"]),
        ("--env =x train.py", ["environment variable"]),
        ("--detach --wait train.py", ["--detach"]),
        ("--committed train.py", ["no git repository"]),
        ("--scratch none train.py", ["--scratch"]),
        ("", ["SCRIPT"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    api: FakeApi, grid: Typist, line: str, words: list[str]
) -> None:
    refused(grid("run", *line.split()), *words)
    as_json = grid("run", "-o", "json", *line.split())
    assert (as_json.code, as_json.json["error"].keys()) == (2, {"code", "message", "hint"})
    assert not api.asked
