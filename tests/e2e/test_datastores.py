"""Datastores by the real command line: killed in the middle, resumed, used by an experiment, deleted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.grid import Grid, eventually


@pytest.fixture(scope="module")
def grid(new_grid: Callable[[], Grid]) -> Grid:
    return new_grid()


FILES = 4000


def make_source(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    for i in range(FILES):
        (source / f"f{i:04}").write_bytes(os.urandom(100))
    return source


def begins(grid: Grid) -> bool:
    """Whether contents have come to the server, whose folder is looked into: to ask would take too long."""
    return any((grid.home / "datastores" / ".contents").glob("*/*"))


def incomplete(grid: Grid, name: str) -> dict[str, object]:
    rows = grid.json("datastore", "list", "--show-incomplete")["datastores"]
    return next((row for row in rows if row["name"] == name), {})


@pytest.mark.parametrize("by", ["repeating", "resume"])
def test_a_create_that_was_killed_goes_on_where_it_was(grid: Grid, folder: Path, by: str) -> None:
    source = make_source(folder)
    process = grid.start("datastore", "create", str(source), "--name", by)
    eventually(lambda: begins(grid))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = incomplete(grid, by)
    if left["state"] == "succeeded":
        pytest.fail("it was done before it could be killed")
    assert by not in grid.ok("datastore", "list")
    words = ["create", str(source), "--name", by] if by == "repeating" else ["resume"]
    done = grid.call("datastore", *words)
    assert done.code == 0, done
    assert f"going on with {by}:1" in done.err
    assert incomplete(grid, by)["version"] == 1
    assert incomplete(grid, by)["files"] == FILES
    assert grid.json("datastore", "verify", by)["damaged"] == []
    assert grid.ok("datastore", "resume") == "nothing was broken off\n"
    grid.ok("datastore", "delete", by, "--yes")


def test_a_server_that_is_killed_meanwhile_is_replaced_and_the_create_ends_well(grid: Grid, folder: Path) -> None:
    source = make_source(folder)
    process = grid.start("datastore", "create", str(source), "--name", "killed")
    eventually(lambda: begins(grid))
    grid.kill_server()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"killed:1 has {FILES} files".encode() in out
    assert grid.json("datastore", "show", "killed")["files"] == FILES
    grid.ok("datastore", "delete", "--name", "killed", "--version", "1", "--yes")
