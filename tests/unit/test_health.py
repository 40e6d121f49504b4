"""What `grid doctor` finds, and what it advises."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.typed import make_typist

from opengrid.planning.health import Facts, Level, Torch, examine
from opengrid.planning.inventory import Accelerator

GPU = Accelerator(uuid="GPU-1", name="NVIDIA H100", memory_mib=81559)
TORCH = Torch(version="2.13.0", cuda="12.8", devices=1, nccl="2.27.3")
HEALTHY = Facts(
    python="/py", torch=TORCH, gpus=(GPU,), visible=None, memory_mib=65536, available_mib=32768, shm_mib=32768,
    open_files=65536, open_files_most=65536, processes=-1, locked_kib=-1, has_infiniband=True, state="/home/ada",
    state_network="", home_network="", disk_free_mib=200_000, hostname="box", lookup_s=0.01, loopback_problem="",
    proxy="", server="", server_problem="", git="2.39.5",
)  # fmt: skip


def test_a_healthy_computer_needs_no_advice() -> None:
    checks = examine(HEALTHY)
    assert {check.level for check in checks} == {Level.OK}
    assert not any(check.advice for check in checks)
    said = {check.name: check.said for check in checks}
    assert said["torch"] == "2.13.0 (CUDA 12.8, NCCL 2.27.3) of /py"
    assert said["GPUs"] == "1 × NVIDIA H100"


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({"torch": None, "torch_problem": "torch is not installed"}, "torch", "problem", "/py -m pip install torch"),
        ({"torch": dataclasses.replace(TORCH, cuda=None)}, "torch", "problem", "but this computer has GPUs"),
        ({"torch": dataclasses.replace(TORCH, devices=0)}, "torch", "problem", "none of the 1 GPUs"),
        ({"gpus": (), "torch": dataclasses.replace(TORCH, cuda=None)}, "GPUs", "ok", "64 CPU ranks simulate them"),
        ({"gpus": (dataclasses.replace(GPU, busy="in use by process 7"),)}, "GPUs", "warning", "process 7"),
        ({"available_mib": 900}, "memory", "warning", "900 MiB of 64.0 GiB"),
        ({"shm_mib": 64}, "shared memory", "warning", "--shm-size"),
        ({"shm_mib": None}, "shared memory", "problem", "tmpfs"),
        ({"open_files": 1024}, "open files", "warning", "ulimit -n 65536"),
        ({"open_files": 1024, "open_files_most": 1024}, "open files", "warning", "limits.conf"),
        ({"processes": 500}, "processes", "warning", "at most 500"),
        ({"locked_kib": 65536}, "locked memory", "warning", "64 MiB"),
        ({"disk_free_mib": 5000}, "disk", "warning", "4.9 GiB free"),
        ({"disk_free_mib": 500}, "disk", "problem", "grid delete"),
        ({"state_network": "nfs4"}, "file system", "problem", "GRID_STATE="),
        ({"home_network": "nfs4"}, "file system", "ok", "home on nfs4"),
        ({"loopback_problem": "127.0.0.1 cannot be used: x"}, "ports", "problem", "127.0.0.1"),
        ({"lookup_s": None}, "host name", "warning", "/etc/hosts"),
        ({"lookup_s": 10.2}, "host name", "warning", "took 10 s"),
        ({"server": "http://lab:8265", "proxy": "proxy:3128"}, "proxy", "warning", "no_proxy"),
        ({"server_problem": "no server answers at http://lab"}, "server", "problem", "grid logout"),
        ({"git": None}, "git", "warning", "not found"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(changes: dict[str, Any], name: str, level: str, words: str) -> None:
    found = [check for check in examine(dataclasses.replace(HEALTHY, **changes)) if check.name == name]
    assert [check.level.value for check in found] == [level]
    assert words in f"{found[0].said} {found[0].advice}"


def test_locked_memory_matters_with_infiniband_alone() -> None:
    facts = dataclasses.replace(HEALTHY, locked_kib=64, has_infiniband=False)
    assert "locked memory" not in {check.name for check in examine(facts)}


def test_doctor_prints_all_checks_and_fails_when_something_will_not_work(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    says = {"version": "9.9.9", "cuda": None, "devices": 0, "nccl": None}
    python.write_text(f"#!/bin/sh\necho '{json.dumps(says)}'\n")
    python.chmod(0o755)
    monkeypatch.setenv("GRID_NVML_LIBRARY", str(tmp_path / "none.so"))
    grid = make_typist(capsysbinary, monkeypatch, tmp_path / "home", tmp_path)
    asked = ("doctor", "--python", str(python))
    checks = {check["name"]: check for check in grid("-o", "json", *asked).json["checks"]}
    assert checks["torch"] == {
        "name": "torch", "level": "ok", "said": f"9.9.9 (CPU) of {python}", "advice": None,
    }  # fmt: skip
    assert {"GPUs", "memory", "shared memory", "open files", "disk", "ports", "host name", "server"} <= checks.keys()
    assert not (tmp_path / "home").exists()  # looking starts and makes nothing
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
    done = grid(*asked)
    assert (done.code, "torch is not installed" in done.out) == (1, True)
    assert f"{python} -m pip install torch" in " ".join(done.out.split())
