"""The same server on PostgreSQL: by URL, nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.grid import Grid
from tests.support.postgres import running_postgres


def test_a_run_on_two_machines_succeeds_though_the_server_is_killed(new_grid: Callable[[], Grid], folder: Path) -> None:
    with running_postgres() as postgres:
        grid = new_grid()
        grid.environment["GRID_DATABASE"] = postgres.url(postgres.create())
        (folder / "hello.py").write_text("import os\nprint('hello from', os.environ['RANK'])")
        name = grid.submit("--gpus", "2", "--instance_type", "1_t4_16gb", "hello.py", cwd=folder)
        grid.kill_server()
        ended = grid.ended(name)
        assert ended["state"] == "succeeded", ended
        assert sorted(grid.log(name).decode().splitlines()) == [f"[rank {r}] hello from {r}" for r in range(2)]
        assert not (grid.home / "grid.db").exists()
        grid.ok("server", "stop")
