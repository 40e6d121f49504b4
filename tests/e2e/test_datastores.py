"""Datastores by the real command line: killed in the middle, resumed, used by an experiment, deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.conftest import missing
from tests.support.grid import Grid, eventually
from tests.support.processes import wait_until
from tests.support.web import serving_web
from tests.unit.test_archives import tar_of


@pytest.fixture(scope="module")
def grid(new_grid: Callable[[], Grid]) -> Grid:
    return new_grid()


FILES = 5000


def make_source(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    for i in range(FILES):
        (source / f"f{i:04}").write_bytes(os.urandom(100))
    return source


def begins(grid: Grid) -> None:
    """Wait until contents have come to the server, whose folder is looked into often: all of it takes a moment only."""
    wait_until(lambda: any((grid.home / "datastores" / ".contents").glob("*/*")), "the first content")


def incomplete(grid: Grid, name: str) -> dict[str, object]:
    rows = grid.json("datastore", "list", "--show-incomplete")["datastores"]
    return next((row for row in rows if row["name"] == name), {})


@pytest.mark.parametrize("by", ["repeating", "resume"])
def test_a_create_that_was_killed_goes_on_where_it_was(grid: Grid, folder: Path, by: str) -> None:
    source = make_source(folder)
    process = grid.start("datastore", "create", str(source), "--name", by)
    begins(grid)
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
    begins(grid)
    grid.kill_server()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"killed:1 has {FILES} files".encode() in out
    assert grid.json("datastore", "show", "killed")["files"] == FILES
    grid.ok("datastore", "delete", "--name", "killed", "--version", "1", "--yes")


def test_an_archive_goes_on_where_it_was_when_the_server_was_killed(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()  # the server of the others would have to go on with theirs, too
    with serving_web() as web:
        web.content["/noise.tar.zst"] = content = zstandard.compress(tar_of({"noise": os.urandom(3 << 20)}))
        web.holds_at = 2 << 20
        process = grid.start("datastore", "create", f"{web.url}/noise.tar.zst")
        staging = grid.home / "datastores" / ".staging"
        eventually(lambda: sum(file.stat().st_size for file in staging.glob("*/archive")) == 2 << 20)
        grid.kill_server()
        web.holds_at = None
        web.go_on.set()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert b"noise:1 has 1 file" in out
        assert (web.ranges, web.sent) == ([None, f"bytes={2 << 20}-"], len(content))
    assert grid.json("datastore", "verify", "noise")["damaged"] == []


def test_what_is_remembered_of_sources_can_be_cleared(grid: Grid) -> None:
    source = Path(__file__).parents[1] / "support"  # not written to this moment: then its digests are remembered
    first = grid.json("datastore", "create", str(source), "--name", "remembered")
    assert grid.json("datastore", "clearcache")["freed"] > 0
    assert grid.ok("datastore", "clearcache") == "cleared 0 B\n"
    second = grid.json("datastore", "create", str(source), "--name", "remembered")
    assert (second["version"], second["digest"]) == (2, first["digest"])
    assert grid.json("datastore", "clearcache")["freed"] > 0  # it has been read again
    grid.ok("datastore", "delete", "remembered", "--yes")


_READER = """
import sys
file = sys.argv[-1] + "/a.txt"
print("read", open(file).read(), flush=True)
try:
    open(file, "w").write("damaged")
    print("written")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture
def data(grid: Grid, folder: Path) -> str:
    """A datastore of one file, and the script reader.py in the folder."""
    (folder / "reader.py").write_text(_READER)
    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("as it was")
    if not grid.json("datastore", "list")["datastores"]:
        grid.ok("datastore", "create", "data", "--name", "cifar5", cwd=folder)
    return "cifar5"


RUN = ("--framework", "torch", "--simulate", "--instance_type", "2_m60_8gb")


def test_every_rank_sees_a_datastore_read_only_where_it_was_asked_for(grid: Grid, data: str, folder: Path) -> None:
    place = f"/datastores/{data}"
    plan = grid.json("run", "--dry_run", *RUN, "--datastore_name", data, "--", "reader.py", place, cwd=folder)["plan"]
    assert plan["mounts"] == [{"name": data, "version": 1, "path": place, "text": f"{data}:1 at {place}, read-only"}]
    ended = grid.finish(*RUN, "--datastore_name", data, "--", "reader.py", place, cwd=folder)
    assert ended["state"] == "succeeded", ended
    for rank in ("0", "1"):
        log = grid.ok("logs", ended["experiment"], "--rank", rank)
        assert log.splitlines() == ["read as it was", "Read-only file system"]
    assert not Path("/datastores").exists()
    shown = grid.json("datastore", "show", data)["used_by"]
    assert {"run": ended["run"], "active": False, "experiments": []} in shown


@pytest.mark.parametrize("kind", ["script", "executable"])
def test_a_reference_and_another_mount_directory_are_read_only_too(
    grid: Grid, data: str, folder: Path, kind: str
) -> None:
    if kind == "executable":
        (folder / "go.sh").write_text('exec python3 reader.py "$1"')
        words, where = ["--datastore_name", data, "--datastore_mount_dir", "/og-here/x", "go.sh"], "/og-here/x"
    else:
        words, where = ["--gpus", "1", "reader.py"], f"grid:{data}:1"
    ended = grid.finish(*RUN, *words, where, cwd=folder)
    assert ended["state"] == "succeeded", ended
    assert "Read-only file system" in grid.ok("logs", ended["experiment"])
    assert grid.json("datastore", "verify", data) == {
        "name": data, "version": 1, "files": 1, "damaged": [], "repaired": [],
    }  # fmt: skip


def test_without_mounts_arguments_name_the_tree_and_what_a_script_damages_is_repaired(
    new_grid: Callable[[], Grid], folder: Path
) -> None:
    # In a namespace in which no other may be made.
    grid = new_grid()
    forbid = 'echo 0 > /proc/sys/user/max_mnt_namespaces; exec "$@"'
    server = [*("unshare", "-Ur", "sh", "-c", forbid, "sh"), sys.executable, "-m", "opengrid.cli", "server", "start"]
    started = subprocess.run(server, env=grid.environment, capture_output=True, cwd=folder, timeout=120)
    if started.returncode != 0:
        missing("namespaces", started.stderr.decode())
    (folder / "reader.py").write_text(_READER)
    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("as it was")
    grid.ok("datastore", "create", "data", "--name", "cifar5", cwd=folder)
    words = [*RUN, "--gpus", "1", "--datastore_name", "cifar5", "reader.py", "--data=x", "/datastores/cifar5"]
    (mount,) = grid.json("run", "--dry_run", *words, cwd=folder)["plan"]["mounts"]
    tree = grid.json("datastore", "show", "cifar5")["location"]
    assert f"arguments that begin with /datastores/cifar5 become {tree}" in mount["text"]
    for _ in range(2):
        ended = grid.finish(*words, cwd=folder)
        assert grid.ok("logs", ended["experiment"], "--rank", "0").splitlines() == ["read as it was", "written"]


def test_a_datastore_that_an_experiment_reads_is_not_deleted(grid: Grid, data: str, folder: Path) -> None:
    (folder / "wait.sh").write_text("sleep 300")
    name = grid.submit("--datastore_name", data, "wait.sh", cwd=folder)
    refused = grid.call("datastore", "delete", "--name", data, "--yes")
    assert refused.code == 2
    assert f"{data}:1 is used by {name}" in refused.err
    grid.ok("stop", "experiment", name)
    grid.ended(name)


@pytest.mark.parametrize(
    "words",
    [
        "--datastore_name nosuch",
        "--datastore_name cifar5 --datastore_version 99",
        "--datastore_version 1",
        "--datastore_name cifar5 --datastore_mount_dir here",
        "--datastore_name cifar5 --datastore_mount_dir /usr",
        "--datastore_name ../x",
    ],
)
def test_a_mount_that_cannot_be_starts_nothing(grid: Grid, data: str, folder: Path, words: str) -> None:
    refused = grid.call("run", "--dry_run", *words.split(), "reader.py", cwd=folder)
    assert refused.code == 2
    assert "Traceback" not in refused.err
