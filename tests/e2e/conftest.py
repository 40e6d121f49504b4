"""Real CLI, server, agents, gloo. One cache, so that all homes share one template per preload list."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CACHE
from tests.support.grid import PATIENCE_S, Grid

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """A user's shell: nothing of the test's own GRID_ variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRID_", "OPENGRID_"))}
    return {**kept, "GRID_CACHE": os.environ[CACHE]}


@pytest.fixture(scope="session")
def new_grid(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Grid]]:
    """Make a Grid with an empty home; its server is stopped at the end of the session."""
    made: list[Grid] = []

    def make() -> Grid:
        folder = Path(tempfile.mkdtemp(prefix="og-", dir="/tmp"))
        grid = Grid(folder / "home", folder, environment)
        made.append(grid)
        return grid

    yield make
    stops = [grid.start("server", "stop") for grid in made]  # side by side: each waits for its server's end
    for grid, stop in zip(made, stops, strict=True):
        stop.communicate(timeout=PATIENCE_S)
        shutil.rmtree(grid.home.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def grid(new_grid: Callable[[], Grid]) -> Grid:
    """The home that most tests share."""
    return new_grid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to type commands in; no git checkout."""
    return tmp_path
