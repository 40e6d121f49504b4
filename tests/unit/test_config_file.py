"""The file of `grid run --config`."""

from __future__ import annotations

import textwrap

import pytest

from opengrid.core.errors import InvalidValue
from opengrid.core.spec import Actions
from opengrid.planning.config_file import ConfigFile, read_config

ORIGINAL = """
compute:
  provider: {cluster: null}
  train:
    framework: lightning
    instance: 4_v100_16gb
    gpus: 8
    cpus: 2
    use_spot: false
    auto_resume: false
    localdir: false
    dockerfile: null
    dependency_file_info: {path: null}
    storage_gb: 100
    datastore_name: null
    datastore_version: null
    datastore_mount_dir: null
    environment: {MY_VAR: value, N: 3, EMPTY: }
    scratch: {size_gb: 100, mount_path: /tmp/scratch}
    actions: {on_build: [], on_build_start: [], on_build_end: [], on_experiment_start: [], on_experiment_end: []}
hyper_params:
  settings: {strategy: grid_search, strategy_options: {num_trials: 1, seed: 0}}
  params: {--foo: 1, -bar: something, --lr: [0.1, 0.2], --sample: "uniform(0, 1, 3)", --flag: , --on: true}
"""


def read(text: str) -> ConfigFile:
    return read_config(textwrap.dedent(text), "c.yml")


def test_the_originals_file_means_what_its_options_mean() -> None:
    config = read(ORIGINAL)
    assert {name: setting.value for name, setting in config.options.items()} == {
        "framework": "lightning",
        "instance_type": "4_v100_16gb",
        "gpus": 8,
        "cpus": 2,
        "use_spot": False,
        "auto_resume": False,
        "localdir": False,
        "strategy": "grid_search",
        "num_trials": 1,
        "seed": 0,
    }
    assert config.options["gpus"].line == 7
    assert config.environment == {"MY_VAR": "value", "N": "3", "EMPTY": ""}
    assert config.arguments_beside(()) == (
        (
            *("--foo", "1", "-bar", "something", "--lr", "[0.1, 0.2]", "--sample", "uniform(0, 1, 3)"),
            *("--flag", "--on", "True"),
        ),
        [],
    )
    assert [note.partition(": ")[0] for note in config.notes] == ["c.yml, line 14", "c.yml, line 19", "c.yml, line 19"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "compute:\n", "compute: {train: }\nhyper_params: {params: }"])
def test_a_file_may_say_nothing(text: str) -> None:
    assert read(text) == ConfigFile(origin="c.yml")


def test_the_originals_older_keys_are_taken_with_a_note_where_they_have_no_effect() -> None:
    config = read("""
        compute:
          provider: {vendor: aws, region: us-east-1, credentials: cc-1}
          train: {dry_run: true, dependency_file_info: {package_manager: pip}}
        hyper_params: {settings: {num_trials: 3, seed: 7}}
        """)
    assert {name: setting.value for name, setting in config.options.items()} == {
        "dry_run": True,
        "num_trials": 3,
        "seed": 7,
    }
    assert len(config.notes) == 4
    assert all("has no effect" in note for note in config.notes)


def test_actions_are_lists_of_commands_or_one_command() -> None:
    config = read(
        """\
        compute:
          train:
            actions:
              on_build: [make, "pip install x"]
              on_experiment_start: "echo $GRID_EXPERIMENT_NAME"
              on_experiment_end:
            dependency_file_info: {path: deps.txt}
        """
    )
    assert config.actions == Actions(
        on_build=("make", "pip install x"), on_experiment_start=("echo $GRID_EXPERIMENT_NAME",)
    )
    assert config.options["dependency_file"].value == "deps.txt"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("compute:\n  train:\n    gpu: 8\n", "c.yml, line 3: there is no key compute.train.gpu", "compute.train.gpus"),
        ("compute: {trian: {gpus: 8}}", "line 1: there is no key compute.trian", "compute.train"),
        ("zzz: 1", "line 1: there is no key zzz", None),
        ("compute:\n  train: 8\n", "line 2: compute.train holds keys with values, not 8", None),
        ("compute:\n  train:\n    gpus: [1, 2]\n", "line 3: compute.train.gpus has one value", None),
        ("compute:\n  train:\n    environment:\n      A: [1]\n", "line 4: a variable has one value", None),
        ("compute:\n  train:\n    dockerfile: Dockerfile\n", "line 3: compute.train.dockerfile cannot be had", None),
        ("compute: {train: {actions: {on_build: [[make]]}}}", "line 1: compute.train.actions.on_build is a list", None),
        ("compute: {train: {actions: {on_start: [make]}}}", "line 1: there is no key", "actions.on_build_start?"),
        ("compute:\n  train:\n   gpus: 8\n  x: [\n", "c.yml, line", None),
        ("- a\n- b\n", "line 1: a mapping with compute and hyper_params is expected", None),
        ("a: &x [*x]\n", "c.yml", None),
        ("compute: &x {train: *x}\n", "c.yml: an alias in it leads to itself", None),
        ("compute: !!python/object/apply:os.system [ls]", "c.yml", None),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_config(text, "c.yml")
    assert message in refused.value.message
    if hint is not None:
        assert hint in (refused.value.hint or "")
