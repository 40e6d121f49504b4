"""`grid run LINK`: git's own insteadOf stands for a host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.grid import Grid
from tests.support.repositories import HOST, commit, hosted

SCRIPT = "import os, sys\nprint('ran', sys.argv, os.path.exists('train.py'))"


def test_a_link_runs_and_is_recorded_with_its_commit(new_grid: Callable[[], Grid], folder: Path) -> None:
    grid = new_grid()
    first = commit(folder / "host" / "repo", {"train.py": "", "sub/fit.py": SCRIPT})
    grid.environment |= {**hosted(folder / "host"), "GRID_GIT_PROTOCOLS": "https:ssh:file"}
    link = f"{HOST}/repo/blob/main/sub/fit.py"

    plan = grid.json("run", "--dry_run", "--framework", "torch", link, "--lr", "[1, 2]", cwd=folder)["plan"]
    refused = grid.call("run", f"{HOST}/repo/blob/main/sub/fti.py", cwd=folder)
    ended = grid.finish("--framework", "torch", link, "--lr", "0.1", cwd=folder)

    assert plan["link"] == {"url": f"{HOST}/repo", "ref": "main", "commit": first, "path": "sub/fit.py"}
    assert plan["experiments"] == 2
    assert (refused.code, "did you mean sub/fit.py" in refused.err) == (2, True), refused
    assert ended["state"] == "succeeded", ended
    assert (ended["source"]["link"], ended["source"]["commit"]) == (link, first)
    assert f"{HOST}/repo at {first[:10]} (main)" in grid.ok("status", ended["experiment"])
    log = grid.log(ended["experiment"]).decode()
    assert "ran ['sub/fit.py', '--lr', '0.1'] True" in log, log
