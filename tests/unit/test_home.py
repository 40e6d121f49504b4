"""client.home and client.starting: whose server it is, and where none may live."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from opengrid.client.embedded import _may_repeat
from opengrid.client.home import About, Home, boot_id, file_system_of, find_home, make_usable, read_about
from opengrid.client.starting import _environment, _failure, check_here
from opengrid.core.errors import GridError, ServerUnreachable, Unusable, UserError

ABOUT = {
    "pid": 1,
    "url": "http://127.0.0.1:1234",
    "version": "0.1.0",
    "started_at": "2026-11-23T10:00:00+00:00",
    "home": "/home/ada/.opengrid",
    "host": "gpu-box-7",
    "boot_id": "another",
}


def home_at(folder: Path) -> Home:
    return Home(root=folder, state=folder)


def about(**changes: object) -> About:
    return About(**{**ABOUT, **changes})


def test_the_home_is_the_one_the_environment_names_and_the_state_lies_in_it_unless_moved() -> None:
    assert find_home({"GRID_HOME": "/a"}) == Home(root=Path("/a"), state=Path("/a"))
    assert find_home({"GRID_HOME": "/a", "GRID_STATE": "/b"}) == Home(root=Path("/a"), state=Path("/b"))
    assert find_home({}).root == Path.home() / ".opengrid"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({**ABOUT, "pid": "x"})])
def test_a_server_json_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert read_about(home_at(tmp_path)) is None


def test_another_hosts_server_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(Unusable) as refusal:
        check_here(about(), home_at(tmp_path))
    assert "gpu-box-7" in refusal.value.message
    assert str(tmp_path / "server.json") in str(refusal.value.hint)


@pytest.mark.parametrize(
    "ours",
    [
        {"host": socket.gethostname()},  # this host, started anew since
        {"boot_id": boot_id()},  # this host, renamed since
        {"url": "http://10.0.0.7:8265"},  # another host, which others reach
    ],
)
def test_a_server_of_this_host_or_within_reach_is_used(tmp_path: Path, ours: dict[str, str]) -> None:
    check_here(about(**ours), home_at(tmp_path))


MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local\040disk xfs rw 0 0
tmpfs /homework tmpfs rw 0 0
/dev/sdc1 /scratch ext4 rw 0 0
lustre@tcp:/x /scratch lustre rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/.opengrid", "nfs4"),
        ("/home/local disk/x", "xfs"),
        ("/homework/x", "tmpfs"),
        ("/scratch/x", "lustre"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_and_latest_mount(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_state_on_a_network_file_system_is_refused_and_grid_state_named(
    tmp_path: Path,
) -> None:
    mounts = f"server:/export {tmp_path} nfs4 rw 0 0\n"
    with pytest.raises(Unusable, match="nfs4") as refusal:
        make_usable(home_at(tmp_path / "home"), mounts)
    assert "GRID_STATE" in str(refusal.value.hint)
    local = tmp_path.parent / f"{tmp_path.name}-local"
    make_usable(Home(root=tmp_path / "home", state=local), mounts)


def test_folders_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    make_usable(Home(root=tmp_path / "a" / "b", state=tmp_path / "c"))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_made_names_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable) as refusal:
        make_usable(Home(root=tmp_path, state=tmp_path / "file" / "state"))
    assert "GRID_STATE" in str(refusal.value.hint)


def test_a_server_gets_little_of_the_shell_and_absolute_paths() -> None:
    shell = {"PATH": "/bin", "SECRET": "x", "GRID_IDLE_S": "5", "PYTHONPATH": "lib", "LC_ALL": "C", "https_proxy": "p"}
    kept = _environment(shell, Home(root=Path("/h"), state=Path("/s")))
    assert "SECRET" not in kept
    assert kept["PYTHONPATH"] == os.path.abspath("lib")
    assert {"PATH", "LC_ALL", "https_proxy", "GRID_IDLE_S"} < kept.keys()
    assert (kept["GRID_HOME"], kept["GRID_STATE"]) == ("/h", "/s")


def test_what_a_server_foresaw_is_the_error_and_anything_else_is_the_end_of_its_log(tmp_path: Path) -> None:
    foreseen = _failure(2, "noise\ngrid: the disk is full\nhint: free space\n", home_at(tmp_path))
    assert (type(foreseen), foreseen.message, foreseen.hint) == (UserError, "the disk is full", "free space")
    without_hint = _failure(1, "grid: something failed\n", home_at(tmp_path))
    assert (without_hint.exit_code, without_hint.message, without_hint.hint) == (1, "something failed", None)
    crash = _failure(-6, "Traceback\nKeyError: 'x'\n", home_at(tmp_path))
    assert "KeyError: 'x'" in crash.message
    assert "server.log" in str(crash.hint)


@pytest.mark.parametrize(
    ("method", "cause", "may"),
    [
        ("POST", ConnectionRefusedError(), True),
        ("POST", ConnectionResetError(), False),
        ("GET", ConnectionResetError(), True),
        ("GET", TimeoutError(), False),
    ],
)
def test_only_what_did_not_arrive_or_does_no_harm_is_asked_twice(method: str, cause: OSError, may: bool) -> None:
    error = ServerUnreachable("nobody")
    error.__cause__ = cause
    assert _may_repeat(method, error) is may
    assert isinstance(error, GridError)
