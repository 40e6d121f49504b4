"""Mounts of a process's own, made by root and by anybody, as a rank makes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from tests.conftest import missing

_PROGRAM = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from opengrid.core.mounts import Mount
from opengrid.node.mounting import enter
spec = json.loads(sys.argv[2])
mounts = [Mount(name="x", version=1, is_bound=True, **one) for one in spec["mounts"]]
try:
    enter(mounts, spec["scratch"])
except OSError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
def look(path):
    try:
        open(os.path.join(path, "new"), "w")
        return "written"
    except OSError as error:
        return error.strerror
print(json.dumps({
    "seen": {one["path"]: sorted(os.listdir(one["path"])) for one in spec["mounts"]},
    "written": {one["path"]: look(one["path"]) for one in spec["mounts"]},
    "user": [os.getuid(), os.getgid()],
    "beside": {path: os.path.exists(path) for path in spec["beside"]},
    "own": look(spec["own"]),
}))
"""


class Place:
    """A folder that everybody can enter, with our code and two trees in it."""

    def __init__(self, folder: Path, zipapp: Path) -> None:
        self.folder = folder
        os.chmod(folder, 0o755)
        self.program = shutil.copy(zipapp, folder / "agent.pyz")
        os.chmod(self.program, 0o644)
        self.own, self.scratch = folder / "own", folder / "scratch"
        for name in ("a", "b", "own", "scratch"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        (folder / "a" / "in-a").touch()
        (folder / "b" / "in-b").touch()

    def run(self, *mounts: tuple[str, str], user: int | None = None, limit: str = "") -> dict[str, Any]:
        """Return what a process sees that has mounted trees at paths."""
        spec = {
            "mounts": [{"source": str(self.folder / tree), "path": path} for tree, path in mounts],
            "scratch": str(self.scratch),
            "own": str(self.own),
            "beside": ["/etc/passwd", "/proc/self", "/dev/null", str(self.folder / "a")],
        }
        python = sys.executable if user is None else _others_python(user)
        command = [python, "-I", "-S", "-c", _PROGRAM, str(self.program), json.dumps(spec)]
        if limit:
            command = ["unshare", "-Ur", "sh", "-c", f'{limit}; exec "$@"', "sh", *command]
        done = subprocess.run(command, user=user, group=user, capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _others_python(user: int) -> str:
    """Return an interpreter that this user may run."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run([python, "-c", ""], user=user, group=user, cwd="/", capture_output=True, timeout=60)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("no interpreter that another user may run")


@pytest.fixture
def place(agent_zipapp: Path) -> Iterator[Place]:
    folder = Path(mkdtemp(prefix="og-mounts-", dir="/tmp"))
    yield Place(folder, agent_zipapp)
    shutil.rmtree(folder)


@pytest.fixture(params=[None, 65534], ids=["self", "nobody"])
def user(request: pytest.FixtureRequest) -> int | None:
    if request.param is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    probe = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True, timeout=60)
    if probe.returncode != 0:
        missing("namespaces", probe.stderr.strip())
    return request.param


def test_a_tree_is_seen_read_only_at_a_path_that_does_not_exist(place: Place, user: int | None) -> None:
    path = "/og-nowhere/deep/data"
    seen = place.run(("a", path), user=user)
    assert seen["seen"] == {path: ["in-a"]}
    assert seen["written"] == {path: "Read-only file system"}
    assert seen["user"] == [user or os.getuid(), user or os.getgid()]
    assert all(seen["beside"].values())
    assert seen["own"] == "written"
    assert not Path("/og-nowhere").exists()
    assert os.listdir(place.folder / "a") == ["in-a"]


def test_several_trees_are_seen_side_by_side_and_at_their_own_places(place: Place, user: int | None) -> None:
    own, existing = str(place.folder / "a"), str(place.folder / "scratch2")
    os.mkdir(existing)
    paths = ["/og-nowhere/a", "/og-nowhere/b", own, existing, f"{place.folder}/not/yet"]
    seen = place.run(*zip(["a", "b", "a", "b", "b"], paths, strict=True), user=user)
    assert seen["seen"] == dict(zip(paths, [["in-a"], ["in-b"], ["in-a"], ["in-b"], ["in-b"]], strict=True))
    assert set(seen["written"].values()) == {"Read-only file system"}
    assert seen["own"] == "written"
    assert not (place.folder / "not").exists()


@pytest.mark.parametrize("user", [None], indirect=True)  # what forbids them needs a namespace of our own
def test_where_namespaces_are_forbidden_it_says_so(place: Place, user: int | None) -> None:
    said = place.run(("a", "/og-nowhere/a"), limit="echo 0 > /proc/sys/user/max_mnt_namespaces")
    assert said["error"].startswith("[Errno 28] unshare")


@pytest.mark.parametrize("user", [None], indirect=True)
def test_a_probe_tells_whether_there_can_be_mounts(place: Place, user: int | None) -> None:
    command = [sys.executable, "-I", "-S", str(place.program), "mounts"]
    assert subprocess.run(command, timeout=60).returncode == 0
    limit = 'echo 0 > /proc/sys/user/max_mnt_namespaces; exec "$@"'
    limited = subprocess.run(["unshare", "-Ur", "sh", "-c", limit, "sh", *command], capture_output=True, timeout=60)
    assert limited.returncode == 1
    assert b"unshare" in limited.stderr
