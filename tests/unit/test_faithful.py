"""When a rank must be a fresh interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.node.preload.faithful import first_folders, shadowed_module, variable_read_too_early


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "PYTHONHASHSEED",
        "PYTHONUNBUFFERED",
        "KMP_AFFINITY",
        "MALLOC_ARENA_MAX",
        "TORCH_LOGS",
        "TORCH_DISTRIBUTED_DEBUG",
        "PYTORCH_CUDA_ALLOC_CONF",
        "OMP_PROC_BIND",
        "MKL_NUM_THREADS",
    ],
)
def test_what_is_read_while_loading_forbids_a_fork(name: str) -> None:
    assert variable_read_too_early({"HOME": "/", name: "secret"}) == f"{name} is read while libraries load"


@pytest.mark.parametrize(
    "name",
    [
        "PYTHONPATH",
        "OMP_NUM_THREADS",
        "TORCHELASTIC_RUN_ID",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING",
        "NCCL_DEBUG",
        "CUDA_VISIBLE_DEVICES",
        "TORCH_HOME",
        "PL_TRAINER_DEVICES",
        "WANDB_MODE",
    ],
)
def test_what_is_read_later_or_applied_by_us_does_not(name: str) -> None:
    assert variable_read_too_early({name: "1"}) is None


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({}, True),
        ({"LANG": "C"}, True),
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({"LANG": "en_US.ISO-8859-1", "LC_ALL": "C.UTF-8"}, True),
    ],
)
def test_the_locale_must_mean_utf8(environment: dict[str, str], allowed: bool) -> None:
    assert (variable_read_too_early(environment) is None) == allowed


def test_a_module_or_package_beside_the_script_shadows_a_loaded_one(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").touch()
    assert shadowed_module([str(tmp_path)], {"data", "torch"}) is None
    assert shadowed_module([str(tmp_path)], {"yaml"}) == f"{tmp_path}/yaml takes the place of the preloaded yaml"
    assert shadowed_module(["/no/such/folder", str(tmp_path)], {"numpy"}) is not None


def test_folders_are_those_before_the_standard_library_and_the_overlay() -> None:
    assert first_folders({"PYTHONPATH": "lib:/abs"}, "/work", None, "/overlay") == [
        "/work",
        "/work/lib",
        "/abs",
        "/overlay",
    ]
    assert first_folders({}, "/work", "/elsewhere", None) == ["/elsewhere"]
