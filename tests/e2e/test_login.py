"""A server for several people: tokens made there, used from other homes, over TLS with a certificate of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.support.certificate import certificate
from tests.support.grid import Grid


def test_people_share_a_server_each_with_their_own_token(new_grid: Callable[[], Grid], folder: Path) -> None:
    lab, ada, bob = new_grid(), new_grid(), new_grid()
    cert, key = certificate(folder)
    lab.ok("server", "start", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
    url = lab.server["url"]
    for name, grid in (("ada", ada), ("bob", bob)):
        made = lab.json("user", "create", name)
        (folder / name).write_text(made["token"] + "\n")
        asked = ("login", url, "--token-file", name)
        stranger = grid.call(*asked, cwd=folder)
        assert (stranger.code, "--certificate" in stranger.err) == (1, True), stranger
        assert f"signed in to {url} as {name}" in grid.ok(*asked, "--certificate", "cert.pem", cwd=folder)
        assert oct((grid.home / "login.json").stat().st_mode & 0o777) == "0o600"
        assert grid.json("user") == {"user": name, "is_admin": False, "url": url}

    (folder / "train.py").write_text("print('hello of ada')")
    ended = ada.finish("--name", "adas", "--instance_type", "2_cpu_4gb", "train.py", cwd=folder)
    assert ended["state"] == "succeeded", ended
    assert b"hello of ada" in bob.log("adas-exp0")  # everybody sees everything …
    assert [r["run"] for r in ada.json("history")["runs"]] == ["adas"]
    assert bob.json("history")["runs"] == []
    assert "ada" in bob.ok("history", "--global").splitlines()[1]
    refused = bob.call("delete", "adas", "--yes")  # … but changes only what is their own
    assert (refused.code, "adas belongs to ada" in refused.err) == (2, True), refused
    assert not (ada.home / "server.json").exists(), "nothing was started beside the lab's server"

    rows = lab.ok("user", "list").splitlines()
    assert [line.split()[:3] for line in rows[1:] if line.split()[0] == "ada"] == [["ada", "valid", "user"]]
    lab.ok("user", "revoke", "ada")
    shut_out = ada.call("status")
    assert (shut_out.code, "unknown token" in shut_out.err) == (2, True), shut_out
    environment = {"GRID_URL": url, "GRID_TOKEN": (folder / "bob").read_text().strip(), "GRID_CERTIFICATE": cert}
    assert json.loads(ada.ok("-o", "json", "user", **environment))["user"] == "bob"
    assert f"signed out of {url}" in ada.ok("logout")
    assert ada.json("status")["runs"] == []  # of a server of this home's own


def test_a_token_that_is_none_is_not_kept(grid: Grid, new_grid: Callable[[], Grid], folder: Path) -> None:
    grid.ok("status")
    url, other = grid.server["url"], new_grid()
    (folder / "wrong").write_text("wrong")
    for line, code, said in (
        (("login", url, "--token-file", "wrong"), 2, "does not know this token"),
        (("login", url), 2, "there is no token"),
        (("login", url, "--token-file", "absent"), 2, "cannot be read"),
        (("login", "lab:8265"), 2, "no address of a server"),
        (("login", "http://127.0.0.1:1", "--token-file", "wrong"), 1, "no server answers"),
        (("login", url, "--certificate", "absent"), 2, "no such file"),
    ):
        refused = other.call(*line, cwd=folder)
        assert (refused.code, said in refused.err) == (code, True), refused
        assert "Traceback" not in refused.err
    assert not (other.home / "login.json").exists()
    assert os.listdir(folder) == ["wrong"]
    refused = other.call("status", GRID_URL=url)
    assert (refused.code, "GRID_TOKEN is not set" in refused.err) == (2, True), refused
    other.home.mkdir(exist_ok=True)
    (other.home / "login.json").write_text("{")
    refused = other.call("status")
    assert (refused.code, "`grid logout` removes it" in refused.err) == (2, True), refused
    other.ok("logout")
