"""`grid run LINK`: git's own insteadOf stands for a host, or its own http-backend behind TLS and a password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.git_host import forms, git_host
from tests.support.grid import Grid, set_secret
from tests.support.processes import contents_below
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


def test_a_private_repository_is_read_with_the_stored_token_which_nothing_shows(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    token = "ghp-Zq8-not-to-be-seen-7Rk"
    grid, first = new_grid(), commit(folder / "org" / "private", {"train.py": SCRIPT, "lib/data.txt": "a"})
    with git_host(folder, token) as host:
        grid.environment |= {"GIT_SSL_CAINFO": host.certificate}
        link = f"{host.url}/org/private/blob/main/train.py"
        refused = grid.call("run", link, cwd=folder)
        assert set_secret(grid, "git@localhost", "a wrong one").returncode == 0
        wrong = grid.call("run", link, cwd=folder)
        assert set_secret(grid, "git@localhost", token).returncode == 0
        name = grid.submit("--framework", "torch", link, "--lr", "0.1", cwd=folder)
        ended = grid.ended(name)
        status = grid.ok("-o", "json", "status", name)

    assert (refused.code, "`grid secret set git@localhost` stores a token" in refused.err) == (2, True), refused
    assert (wrong.code, "the token that is stored as git@localhost may not read it" in wrong.err) == (2, True), wrong
    assert (ended["state"], ended["source"]["commit"]) == ("succeeded", first), ended
    assert host.served >= 3
    assert host.told == []
    log = grid.log(name).decode()
    assert "ran ['train.py', '--lr', '0.1'] True" in log
    kept = contents_below(grid.home)
    assert any(path.name == "config" and "repositories" in path.parts for path in kept), "git's own was looked at"
    kept |= {Path("log"): log.encode(), Path("status"): status.encode()}
    told = {path: form for path, content in kept.items() for form in forms(token) if form.encode() in content}
    assert told == {}
