"""`pip install` of a clone, into an environment that was made for something else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.full
def test_a_clone_installs_beside_what_is_there_and_brings_no_torch(tmp_path: Path) -> None:
    clone, python = tmp_path / "clone", tmp_path / "venv" / "bin" / "python"
    made = (".git", ".venv", "__pycache__", "build", "dist", "lightning_logs", "node_modules", "_ui")
    ignored = shutil.ignore_patterns(*made)
    shutil.copytree(REPOSITORY, clone, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    before = _packages(python)
    subprocess.run([python, "-m", "pip", "install", "--quiet", clone], check=True, stdin=subprocess.DEVNULL)
    came = _packages(python) - before
    assert "opengrid" in came
    assert not [name for name in came if name.startswith(("torch", "nvidia", "lightning", "triton"))]
    done = subprocess.run([python.parent / "grid", "version"], check=True, capture_output=True, cwd=tmp_path)
    assert done.stdout.strip()
    inside = "import opengrid.server.pages as pages; print((pages.BUILT / 'index.html').is_file())"
    done = subprocess.run([python, "-c", inside], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "True", "the wheel has no web UI"
    shown = subprocess.run([python.parent / "grid", "docs", "sweeps"], check=True, capture_output=True, cwd=tmp_path)
    assert b"random_search" in shown.stdout


def _packages(python: Path) -> set[str]:
    done = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True)
    return {package["name"].lower() for package in json.loads(done.stdout)}
