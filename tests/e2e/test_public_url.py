"""A server for others: behind another address, as behind a proxy, and there again after it was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.grid import Grid


def test_others_are_told_the_public_address_and_this_host_goes_straight(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    grid, public = new_grid(), "https://grid.example.org/lab"
    grid.ok("server", "start", "--listen", "127.0.0.1:0", GRID_PUBLIC_URL=f"{public}/")
    assert grid.server["url"].startswith("http://127.0.0.1:")
    assert grid.json("server", "status")["url"] == public
    made = grid.call("user", "create", "ada")
    assert f"grid login {public}" in made.err
    (folder / "hello.py").write_text("print('hello')")
    ended = grid.finish("--instance_type", "2_cpu_4gb", "hello.py", cwd=folder)  # its agent finds the server
    assert ended["state"] == "succeeded", ended
    address = grid.server["url"]
    grid.kill_server()
    assert grid.json("server", "start")["url"] == address  # where others know it
    assert grid.json("server", "status")["url"] == public
    grid.ok("server", "stop")
    grid.ok("status")
    assert grid.json("server", "status")["url"] == grid.server["url"] != address  # one for this computer alone
