"""`grid sync-env`: an environment's packages as a requirements file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.typed import Typist, make_typist

from opengrid.planning.packages import Package, requirements

SAID = [
    {"name": "numpy", "version": "2.3.0", "url": None, "commit": None, "vcs": None},
    {"name": "mine", "version": "0.1", "url": "file:///home/ada/mine", "commit": None, "vcs": None},
    {"name": "pip", "version": "25", "url": None, "commit": None, "vcs": None},
]
LINES = [
    "# mine==0.1 is installed from file:///home/ada/mine: other computers do not have it",
    "numpy==2.3.0",
]


def test_packages_become_lines_by_name() -> None:
    found = [
        Package(name="torch", version="2.13.0+cpu"),
        Package(name="Flask", version="3.0"),
        Package(name="lib", version="1", url="https://host/o/lib.git", vcs="git", commit="abc"),
        Package(name="wheelhouse", version="2", url="https://host/wheelhouse-2-py3-none-any.whl"),
        Package(name="setuptools", version="70"),
        Package(name="opengrid", version="0.1.0", url="file:///src"),
    ]
    assert requirements(found) == (
        "Flask==3.0",
        "lib @ git+https://host/o/lib.git@abc",
        "torch==2.13.0+cpu",
        "wheelhouse @ https://host/wheelhouse-2-py3-none-any.whl",
    )


@pytest.fixture
def grid(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Typist:
    (tmp_path / "python").write_text(f"#!/bin/sh\necho '{json.dumps(SAID)}'\n")
    (tmp_path / "python").chmod(0o755)
    return make_typist(capsysbinary, monkeypatch, tmp_path / "home", tmp_path)


def test_the_file_is_written_once_and_not_replaced_without_a_word(grid: Typist, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    done = grid("sync-env", "--python", "./python")
    assert (done.code, file.read_text().splitlines()) == (0, LINES)
    assert "requirements.txt: 1 package of" in done.out
    assert "mine==0.1 is installed from" in done.err
    assert "says that already" in grid("sync-env", "--python", "./python").out
    file.write_text("torch\n")
    refused = grid("sync-env", "--python", "./python")
    assert (refused.code, file.read_text()) == (2, "torch\n")
    assert "--yes replaces it" in refused.err
    assert grid("sync-env", "--python", "./python", "--yes", "-o", "json").json == {
        "file": "requirements.txt", "python": str(tmp_path / "python"), "lines": LINES, "written": True,
    }  # fmt: skip
    assert file.read_text().splitlines() == LINES


def test_a_dry_run_prints_the_lines(grid: Typist, tmp_path: Path) -> None:
    assert grid("sync_env", "--python", "./python", "--dry-run").out.splitlines() == LINES
    assert not (tmp_path / "requirements.txt").exists()


@pytest.mark.parametrize(
    ("python", "reason"), [("/bin/true", "what it says are none"), ("/bin/false", "it ended with 1")]
)
def test_an_interpreter_that_is_none_is_refused(grid: Typist, python: str, reason: str) -> None:
    refused = grid("sync-env", "--python", python)
    message = f"error: {python} cannot tell its packages: {reason}\nhint: name another one with --python\n"
    assert (refused.code, refused.err) == (2, message)


def test_a_file_that_is_no_text_is_replaced_when_asked_and_one_that_cannot_be_read_is_named(
    grid: Typist, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff")
    assert grid("sync-env", "--python", "./python", "--yes").code == 0
    refused = grid("sync-env", "--python", "./python", "--file", ".")
    assert (refused.code, "cannot read .: Is a directory" in refused.err) == (2, True), refused


def test_a_real_environment_names_its_packages(grid: Typist) -> None:
    lines = grid("sync-env", "--dry_run").out.splitlines()
    assert any(line.startswith("pytest==") for line in lines)
    assert not any(line.startswith(("pip==", "opengrid")) for line in lines)
