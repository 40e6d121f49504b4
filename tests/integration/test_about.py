"""`agent.pyz about`: what a machine says of itself to `grid clusters check`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_api import serving
from tests.support.nvml import build_fake_nvml, write_gpus

VERSION = """
from typing import Optional
__version__ = '2.13.0+x'
cuda: Optional[str] = {cuda!r}
hip: Optional[str] = None
"""


@pytest.fixture
def about(tmp_path: Path, agent_zipapp: Path) -> Callable[..., dict[str, Any]]:
    """Return what a machine says whose torch was built for a CUDA, and whose driver shows GPUs."""
    library = build_fake_nvml(tmp_path)

    def ask(server: str, *, counted: int, cuda: str | None = None, shown: int = 0) -> dict[str, Any]:
        torch = tmp_path / "packages/torch"
        torch.mkdir(parents=True, exist_ok=True)
        (torch / "__init__.py").write_text("raise AssertionError('nobody is to import it')")
        (torch / "version.py").write_text(VERSION.format(cuda=cuda))
        write_gpus(tmp_path, [("Tesla V100", 16384, 0)] * shown)
        environment = {**os.environ, "PYTHONPATH": str(torch.parent), "GRID_NVML_LIBRARY": str(library)}
        command = [sys.executable, str(agent_zipapp), "about", server, str(counted)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def test_a_machine_tells_its_torch_its_gpus_and_how_ranks_get_mounts(
    about: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with serving(tmp_path / "home") as api:
        api.on("GET", "/healthz", {})
        url = json.loads((api.home / "server.json").read_text())["url"]
        said = about(url, counted=2, cuda="13.0", shown=2)
        assert said["problem"] is None, said
        assert (said["torch"], said["torch_build"]) == ("2.13.0+x", "CUDA 13.0")
        assert (said["gpus"], said["gpu_models"], said["gpus_are_simulated"]) == (2, ["Tesla V100"] * 2, False)
        assert said["mounts"] == ("mount namespace" if os.geteuid() == 0 else "user namespace") or said["no_mounts"]
        assert said["round_trip_ms"] > 0
        assert said["executable"] == sys.executable


def test_a_machine_tells_what_would_keep_runs_from_its_gpus_or_from_the_server(
    about: Callable[..., dict[str, Any]],
) -> None:
    nowhere = "http://127.0.0.1:9"
    problem = about(nowhere, counted=2, shown=2)["problem"]
    assert "127.0.0.1:9" in problem
    assert "its torch is built for CPUs, and there are 2 GPUs" in problem
    assert "its driver shows 1 of 2 GPUs" in about(nowhere, counted=2, cuda="13.0", shown=1)["problem"]


def test_an_interpreter_without_torch_is_told(tmp_path: Path, agent_zipapp: Path) -> None:
    made = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True, timeout=60)
    command = [str(made / "bin/python"), str(agent_zipapp), "about", "http://127.0.0.1:9", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=True)
    said = json.loads(done.stdout)
    assert f"{made}/bin/python has no torch" in said["problem"]
    assert said["torch"] is None
