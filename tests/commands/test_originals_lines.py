"""What people typed for the original Grid means the same here: its lines, its spellings, its two config files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.commands.test_cli_run import PLAN
from tests.support.fake_api import FakeApi, serving
from tests.support.typed import Typist, make_typist

from opengrid.core.codec import from_json
from opengrid.core.spec import RunSpec
from opengrid.planning.sweep import make_sweep

SCRIPTS = ("train.py", "torch_elastic_vae.py", "pl_mnist.py", "main.py", "src/fit.py", "model.jl")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with serving(tmp_path / "home") as api:
        api.on("POST", "/api/v1/plan", {"plan": PLAN})
        yield api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in SCRIPTS:
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        file.chmod(0o755)
    return tmp_path / "folder"


@pytest.fixture
def grid(
    api: FakeApi, folder: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Typist:
    return make_typist(capsysbinary, monkeypatch, api.home, folder)


def planned(api: FakeApi) -> Any:
    return api.only("POST", "/api/v1/plan").document


VAE = "--instance_type 4_v100_16gb --framework lightning"
SEED = {"instance_type": "4_v100_16gb", "framework": "lightning"}

#: The line after `grid`, what of the request it makes, the script's arguments, and how many experiments.
LINES: list[tuple[str, dict[str, Any], list[str], int]] = [
    *(
        (
            f"run {VAE} --gpus {gpus} torch_elastic_vae.py --gpus {gpus} --data_path grid:stl10:1 --num_nodes {nodes}",
            {**SEED, "gpus": gpus},
            ["--gpus", str(gpus), "--data_path", "grid:stl10:1", "--num_nodes", str(nodes)],
            1,
        )
        for gpus, nodes in ((4, 1), (8, 2), (16, 4), (32, 8))
    ),
    ("run train.py", {"instance_type": "local", "gpus": None, "framework": "lightning"}, [], 1),
    ("run -- train.py --epochs 5", {"gpus": None}, ["--epochs", "5"], 1),
    ("train --name fox --description 'a try' train.py", {"name": "fox", "description": "a try"}, [], 1),
    ("run --g_name calm-fox --g_gpus 1 train.py", {"name": "calm-fox", "gpus": 1}, [], 1),
    (
        "train --grid_instance_type p3.8xlarge --grid_gpus 4 --grid_cpus 2 pl_mnist.py",
        {"instance_type": "p3.8xlarge", "gpus": 4, "cpus": 2},
        [],
        1,
    ),
    ("run --instance-type g4dn.xlarge --framework pytorch main.py", {"framework": "torch"}, [], 1),
    ("run --framework torchelastic --gpus 4 main.py", {"framework": "torchelastic"}, [], 1),
    ("run --framework julia:1.6.1 model.jl", {"framework": "julia"}, [], 1),
    ("run --gpus 0 --cpus 0 src/fit.py", {"gpus": 0, "cpus": 0}, [], 1),
    ("run train.py --learning_rate '[1e-5, 1e-4, 1e-3]'", {}, ["--learning_rate", "[1e-5, 1e-4, 1e-3]"], 3),
    ("run train.py --n 'range(1, 10, 2)' -m \"['a b','c']\"", {}, ["--n", "range(1, 10, 2)", "-m", "['a b','c']"], 10),
    ("run train.py --alpha 'uniform(1e-5, 1e-1, 3)'", {}, ["--alpha", "uniform(1e-5, 1e-1, 3)"], 3),
    (
        "run --strategy random_search --num_trials 3 --seed 7 train.py --a 'range(10)' --b 'range(10)'",
        {"strategy": "random_search", "num_trials": 3, "seed": 7},
        ["--a", "range(10)", "--b", "range(10)"],
        3,
    ),
    ("run --g_strategy random_search --num_trials 99 train.py --a '[1,2]'", {"num_trials": 99}, ["--a", "[1,2]"], 2),
    ("run --strategy none train.py --a '[1,2]'", {"strategy": "none"}, ["--a", "[1,2]"], 1),
    ("run --use_spot --auto_resume train.py --x 1", {"use_spot": True, "auto_resume": True}, ["--x", "1"], 1),
    ("run --memory 200 --scratch_size 100 --scratch-mount-path /tmp/x --ignore_warnings train.py", {}, [], 1),
    ("run --cluster my-cluster --localdir train.py", {"source": {"kind": "folder"}}, [], 1),
    ("run train.py --gpus 2 --flag", {"gpus": None}, ["--gpus", "2", "--flag"], 1),
]  # fmt: skip


@pytest.mark.parametrize(("line", "request_", "arguments", "experiments"), LINES, ids=[line[0] for line in LINES])
def test_a_line_of_the_original_means_the_same(
    api: FakeApi, grid: Typist, line: str, request_: dict[str, Any], arguments: list[str], experiments: int
) -> None:
    command, *words = shlex.split(line)
    done = grid(command, "--dry_run", *words)
    assert done.code == 0, done
    spec = planned(api)
    for name, value in request_.items():
        assert spec[name] == value or value.items() <= spec[name].items()
    assert spec["program"]["arguments"] == arguments
    assert spec["program"]["target"].removeprefix("./") in SCRIPTS
    assert make_sweep(from_json(RunSpec, spec)).count == experiments


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        ("--memory 100", ["note: --memory has no effect: an experiment has the disk of its machine"]),
        ("--g_gpus 1", ["note: --g_gpus is called --gpus now"]),
        ("--num_trials 3", ["note: --num_trials has no effect without --strategy random_search"]),
        ("--num_trials 3 --strategy random_search", []),
        ("--grid_use-spot", ["note: --grid_use_spot is called --use_spot now"]),
        ("", []),
    ],
)  # fmt: skip
def test_what_is_spelled_otherwise_or_has_no_effect_is_said_once(grid: Typist, line: str, notes: list[str]) -> None:
    assert grid("run", "--dry_run", *line.split(), "train.py").err.splitlines() == notes


def test_what_has_no_effect_is_not_offered(grid: Typist) -> None:
    assert "--scratch_size" not in grid("run", "--help").out


#: The original's own example, as GRID.md §8 has it but for what is another part's.
NEWER = """
compute:
  provider:
    cluster: my-cluster
  train:
    framework: lightning
    instance: 4_v100_16gb
    gpus: 8
    cpus: 2
    use_spot: false
    auto_resume: false
    localdir: false
    dockerfile: null
    storage_gb: 100
    environment:
      MY_VAR: value
    scratch:
      size_gb: 100
      mount_path: /tmp/scratch
hyper_params:
  settings:
    strategy: grid_search
    strategy_options:
      num_trials: 1
      seed: 0
  params:
    --foo: 1
    -bar: something
    --lr: [0.1, 0.2]
"""

#: The one before it: flat settings, and where the machines are.
OLDER = """
compute:
  provider:
    vendor: aws
    region: us-east-1
    credentials: cc-abcdef
  train:
    framework: torch
    instance: g4dn.xlarge
    gpus: 1
    dependency_file_info:
      package_manager: pip
hyper_params:
  settings:
    strategy: random_search
    num_trials: 2
    seed: 5
  params:
    --layers: "range(1, 10)"
    --alpha: uniform(0, 1, 4)
"""


def test_the_originals_config_file_means_the_same(api: FakeApi, grid: Typist, folder: Path) -> None:
    (folder / "config.yml").write_text(NEWER)
    done = grid("run", "--dry_run", "--config", "config.yml", "train.py", "--own", "1")
    assert done.code == 0, done
    spec = planned(api)
    wanted = {
        "framework": "lightning", "instance_type": "4_v100_16gb", "gpus": 8, "cpus": 2, "auto_resume": False,
        "environment": {"MY_VAR": "value"}, "strategy": "grid_search", "num_trials": 1, "seed": 0,
        "cluster": "my-cluster",
    }  # fmt: skip
    assert {name: spec[name] for name in wanted} == wanted
    arguments = ["--own", "1", "--foo", "1", "-bar", "something", "--lr", "[0.1, 0.2]"]
    assert spec["program"]["arguments"] == arguments
    assert make_sweep(from_json(RunSpec, spec)).count == 2
    said = [line.partition(" has no effect")[0] for line in done.err.splitlines()]
    assert said == [
        "note: config.yml, line 14: compute.train.storage_gb",
        "note: config.yml, line 18: compute.train.scratch.size_gb",
        "note: config.yml, line 19: compute.train.scratch.mount_path",
    ]


def test_its_older_config_file_does_too(api: FakeApi, grid: Typist, folder: Path) -> None:
    (folder / "config.yml").write_text(OLDER)
    done = grid("run", "--dry_run", "--config", "config.yml", "train.py")
    spec = planned(api)
    wanted = {
        "framework": "torch", "instance_type": "g4dn.xlarge", "gpus": 1, "strategy": "random_search", "num_trials": 2,
        "seed": 5,
    }  # fmt: skip
    assert {name: spec[name] for name in wanted} == wanted
    assert make_sweep(from_json(RunSpec, spec)).count == 2
    assert done.err.count("has no effect") == 4


def test_the_command_line_wins_over_options_variables_and_arguments_of_the_file_and_says_so(
    api: FakeApi, grid: Typist, folder: Path
) -> None:
    (folder / "config.yml").write_text(NEWER)
    options = ("--gpus", "4", "--framework", "torch", "--env", "MY_VAR=mine", "--cpus", "2")
    done = grid("run", "--dry_run", "--config", "config.yml", *options, "train.py", "--foo=2", "--lr", "0.5")
    spec = planned(api)
    assert (spec["gpus"], spec["framework"], spec["cpus"]) == (4, "torch", 2)
    assert spec["environment"] == {"MY_VAR": "mine"}
    assert spec["program"]["arguments"] == ["--foo=2", "--lr", "0.5", "-bar", "something"]
    said = [line.removeprefix("note: ") for line in done.err.splitlines() if "wins over" in line]
    assert said == [
        "--foo of the command line wins over 1 in config.yml, line 27",
        "--lr of the command line wins over [0.1, 0.2] in config.yml, line 29",
        "--framework torch of the command line wins over lightning in config.yml, line 6",
        "--gpus 4 of the command line wins over 8 in config.yml, line 8",
        "--env MY_VAR of the command line wins over value in config.yml, line 16",
    ]


def test_what_an_alias_brings_into_the_file_is_overruled_like_all_else(
    api: FakeApi, grid: Typist, folder: Path
) -> None:
    (folder / "c.yml").write_text("compute: {train: {environment: {<<: {A: 1}}}}")
    done = grid("run", "--dry_run", "--config", "c.yml", "--env", "A=2", "train.py")
    assert (done.code, planned(api)["environment"]) == (0, {"A": "2"}), done


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("compute:\n  train:\n    gpus: many", "3: gpus: 'many' is not a valid integer"),
        ("compute:\n  train:\n    gpus: -1", "3: --gpus -1"),
        ("compute:\n  train:\n    gpus: 8.5", "3: gpus: '8.5' is not a valid integer"),
        ("hyper_params:\n  settings:\n    num_trials: true", "3: num_trials: 'True' is not a valid integer"),
        ("compute:\n  train:\n    framework: keras", "3: unknown framework 'keras'"),
        ("hyper_params:\n  settings: {strategy: best}", "2: unknown strategy 'best'"),
        ("compute:\n  train:\n    auto_resume: perhaps", "3: auto_resume: 'perhaps' is not a valid boolean"),
        ("compute:\n  train:\n    gpu: 8", "3: there is no key compute.train.gpu|compute.train.gpus"),
        ("hyper_params:\n  param: {}", "2: there is no key hyper_params.param|hyper_params.params"),
        ("compute:\n  train:\n  gpus: 8", "3: there is no key compute.gpus|compute.train.gpus"),
        ("compute: [1, 2]", "1: compute holds keys"),
        ("compute: {train: ", "1"),
        ("compute: {train: {gpus: 1, gpus: 2}}", "1: compute.train.gpus stands twice"),
        ("- 1", "1"),
    ],
)  # fmt: skip
def test_a_wrong_config_file_is_refused_with_line_and_what_would_be_right(
    api: FakeApi, grid: Typist, folder: Path, text: str, said: str
) -> None:
    (folder / "bad.yml").write_text(text)
    refused = grid("run", "--config", "bad.yml", "train.py")
    assert (refused.code, refused.out, api.asked) == (2, "", []), refused
    message, _, hint = said.partition("|")
    assert f"bad.yml, line {message}" in refused.err
    assert f"did you mean {hint}" in refused.err or not hint


def test_what_the_server_refuses_is_said_to_come_from_the_file(api: FakeApi, grid: Typist, folder: Path) -> None:
    error = {"code": "unknown_instance_type", "message": "no type 4_v200", "hint": None, "field": "instance_type"}
    api.on("POST", "/api/v1/plan", (422, {"error": error}))
    (folder / "c.yml").write_text("compute:\n  train:\n    instance: 4_v200")
    assert "c.yml, line 3: no type 4_v200" in grid("run", "--dry_run", "--config", "c.yml", "train.py").err
    typed = grid("run", "--dry_run", "--config", "c.yml", "--instance_type", "4_v200", "train.py")
    assert "error: no type 4_v200" in typed.err
