"""Several people on one server: who may come in, and what of others' they may change."""

from __future__ import annotations

import getpass
import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.support.bundles import bundle_of
from tests.support.server import Caller, serving

OWNER = getpass.getuser()


@dataclass(frozen=True)
class Lab:
    """A server with its own user, ada and bob."""

    home: Path
    client: TestClient
    owner: Caller
    ada: Caller
    bob: Caller

    def stranger(self, token: str) -> Caller:
        return Caller(self.client, token)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with serving(tmp_path) as (owner, client):

        def make(name: str) -> Caller:
            made = owner("POST", "users", {"name": name})
            assert (made.status, made.document["user"]) == (201, name)
            return Caller(client, made.document["token"])

        yield Lab(tmp_path, client, owner, make("ada"), make("bob"))


def test_everybody_is_known_by_their_own_token(lab: Lab) -> None:
    for caller, name, is_admin in ((lab.ada, "ada", False), (lab.owner, OWNER, True)):
        session = caller("GET", "session").document
        assert (session["user"], session["is_admin"]) == (name, is_admin)
    assert lab.stranger("guessed").run("x").status == 401


def test_no_token_is_stored(lab: Lab) -> None:
    with sqlite3.connect(lab.home / "grid.db") as database:
        dump = "\n".join(database.iterdump())
    assert "ada" in dump
    for caller in (lab.owner, lab.ada, lab.bob):
        assert caller.token not in dump


def test_a_revoked_token_opens_nothing_any_more_and_a_new_one_finds_ones_runs(lab: Lab) -> None:
    lab.ada.run("adas")
    assert lab.owner("DELETE", "users/ada").document == {"revoked": "ada"}
    assert lab.ada("GET", "runs").status == 401
    rows = lab.owner("GET", "users").document["users"]
    assert {row["user"]: row["is_active"] for row in rows} == {"ada": False, "bob": True, OWNER: True}
    again = lab.stranger(lab.owner("POST", "users", {"name": "ada"}).document["token"])
    assert [run["run"] for run in again("GET", "runs", mine=True).document["runs"]] == ["adas"]
    assert lab.ada("GET", "runs").status == 401


def test_revoking_ends_the_sessions_of_browsers_too(lab: Lab) -> None:
    origin = {"Origin": "http://127.0.0.1"}

    def code() -> str:
        made = lab.ada("POST", "sign-in-links", {"path": "/runs"})
        return made.document["url"].partition("#")[2]

    opened = lab.client.post("/api/v1/sessions", json={"code": code()}, headers=origin)
    assert (opened.status_code, lab.client.get("/api/v1/session").json()["user"]) == (201, "ada")
    unused = code()
    lab.owner("DELETE", "users/ada")
    assert lab.client.get("/api/v1/session").status_code == 401
    lab.client.cookies.clear()
    assert lab.client.post("/api/v1/sessions", json={"code": unused}, headers=origin).status_code == 401


def test_only_the_servers_own_user_manages_users_and_the_server(lab: Lab) -> None:
    for method, path, body in (
        ("GET", "users", None),
        ("POST", "users", {"name": "eve"}),
        ("DELETE", "users/bob", None),
        ("POST", "server/stop", {}),
    ):
        refused = lab.ada(method, path, body)
        assert refused.status == 403, (path, refused)
        assert "the user who runs the server" in refused.error
    assert lab.bob("GET", "session").status == 200


@pytest.mark.parametrize(
    ("method", "path", "name", "status", "said"),
    [
        ("POST", "users", "bob", 409, "already a user bob"),
        ("POST", "users", OWNER, 409, "runs the server"),
        ("POST", "users", "Bob Bee", 422, "cannot name a user"),
        ("POST", "users", "a:b", 422, "cannot name a user"),
        ("DELETE", "users/nobody", "", 404, "there are"),
        ("DELETE", f"users/{OWNER}", "", 409, "cannot be shut out"),
    ],
)
def test_what_cannot_be_done_to_users_is_said(
    lab: Lab, method: str, path: str, name: str, status: int, said: str
) -> None:
    refused = lab.owner(method, path, {"name": name} if name else None)
    assert refused.status == status
    assert said in refused.error


def test_a_user_without_a_token_cannot_be_revoked_again(lab: Lab) -> None:
    lab.owner("DELETE", "users/bob")
    assert "bob has no token" in lab.owner("DELETE", "users/bob").error


def test_runs_belong_to_their_user_and_everybody_sees_all(lab: Lab) -> None:
    lab.ada.run("adas")
    lab.bob.run("bobs")
    for caller, mine in ((lab.ada, ["adas"]), (lab.bob, ["bobs"]), (lab.owner, [])):
        assert [run["run"] for run in caller("GET", "runs", mine=True).document["runs"]] == mine
        everything = caller("GET", "runs").document["runs"]
        assert {run["run"]: run["user"] for run in everything} == {"adas": "ada", "bobs": "bob"}
        assert caller("GET", "runs/adas").status == 200
        assert caller("GET", "experiments/adas-exp0").status == 200


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_nobody_stops_resumes_or_deletes_what_is_another_users(lab: Lab, kind: str) -> None:
    lab.ada.run("adas")
    lab.bob.run("bobs")
    end = "" if kind == "run" else "-exp0"
    for what in ("stop", "resume", "delete"):
        refused = lab.bob("POST", what, {"kind": kind, "names": [f"bobs{end}", f"adas{end}"]})
        assert refused.status == 403
        assert f"adas{end} belongs to ada" in refused.error
    assert lab.bob("GET", "experiments/bobs-exp0").document["stopping"] is False  # all or nothing
    stopped = lab.owner("POST", "stop", {"kind": kind, "names": [f"adas{end}"]})
    assert stopped.document["stopped"] == ["adas-exp0"]
    asked = lab.ada("GET", "experiments/adas-exp0").document["events"][-1]["reason"]
    assert asked == f"stop requested: stopped by {OWNER}"


def test_nobody_rehearses_on_anothers_experiment(lab: Lab) -> None:
    lab.ada.run("adas")
    refused = lab.bob("POST", "experiments/adas-exp0/rehearsals", {"fault": "kill-rank"})
    assert (refused.status, "belongs to ada" in refused.error) == (403, True)
    refused = lab.ada("POST", "experiments/adas-exp0/rehearsals", {"fault": "kill-server", "confirmed": True})
    assert (refused.status, "runs the server" in refused.error) == (403, True)


def test_variables_are_shown_to_their_owner_alone(lab: Lab) -> None:
    secret = "hunter2-of-ada"
    command = f"grid run --env PASSWORD={secret} t.sh --env=PASSWORD={secret}"
    lab.ada.run(
        "adas", command=command, environment={"PASSWORD": secret}, shell={"https_proxy": f"http://ada:{secret}@proxy"}
    )
    assert lab.ada("GET", "runs/adas/request").document["request"]["environment"] == {"PASSWORD": secret}
    assert lab.owner("GET", "runs/adas/request").document["held_back"] == []
    shown = lab.bob("GET", "runs/adas/request").document
    assert (shown["request"]["environment"], shown["held_back"]) == ({}, ["PASSWORD"])
    for path in ("runs", "runs/adas", "experiments/adas-exp0", "runs/adas/request"):
        assert secret not in str(lab.bob("GET", path).document), path


PATCH = b"""diff --git a/.env b/.env
+++ b/.env
+KEY=sesame-sesame
diff --git a/keys.py b/keys.py
+++ b/keys.py
+KEY = "hunter2-of-ada"
diff --git a/t.sh b/t.sh
+++ b/t.sh
+echo 2
"""


def test_nobody_is_told_credentials_and_secrets_of_a_difference(lab: Lab) -> None:
    """Also not its owner, because whoever knows the digest of a difference can make a run that has it."""
    digest = hashlib.sha256(PATCH).hexdigest()
    assert lab.ada.send(digest, PATCH) == 201
    assert lab.ada("PUT", "secrets/MINE", {"value": "hunter2-of-ada"}).status < 300
    lab.ada.run("first")
    source = lab.ada("GET", "runs/first/request").document["request"]["source"]
    assert lab.ada.run("adas", source={**source, "kind": "git", "commit": "c0ffee", "patch": digest}).status == 201
    for caller in (lab.ada, lab.bob):
        assert caller.raw("GET", "experiments/adas-exp0/diff").text.splitlines() == [
            'only in the bundle: ".env" (credentials, by its name)',
            'only in the bundle: "keys.py" (holds a secret)',
            *PATCH.decode().splitlines()[-3:],
        ]


@pytest.mark.parametrize("private", [("sub/.env", b"KEY=sesame"), ("keys.py", b"KEY = 'hunter2-of-ada'\n")])
def test_code_with_credentials_is_started_again_by_its_owner_alone(lab: Lab, private: tuple[str, bytes]) -> None:
    assert lab.ada("PUT", "secrets/MINE", {"value": "hunter2-of-ada"}).status < 300
    path, content = private
    content = bundle_of({"t.sh": b"true", path: content, "u.sh": b"hunter3"})
    bundle = hashlib.sha256(content).hexdigest()
    assert lab.ada.send(bundle, content) == 201
    assert lab.ada.run("adas", source={"bundle": bundle, "root": "/"}).status == 201
    assert lab.ada.run("open").status == 201

    refused = lab.bob("POST", "clone", {"names": ["adas"]})
    assert (refused.status, f"({path})" in refused.error, "only ada" in refused.error) == (403, True, True), refused
    assert lab.bob("GET", "runs/adas/request", tree=True).status == 403
    assert path in lab.bob("POST", "new-run/plan", {"copy_of": "adas"}).document["problem"]["message"]
    for caller in (lab.ada, lab.owner):
        assert caller("POST", "clone", {"names": ["adas"]}).status == 201
    assert lab.bob("POST", "clone", {"names": ["open"]}).status == 201
    # Its options are everybody's, but nothing tells others the digest with which a run has that code.
    assert lab.bob("GET", "runs/adas/request").document["request"]["source"]["bundle"] is None
    for path in ("runs", "runs/adas", "experiments/adas-exp0", "runs/adas/request", "runs/adas/new-run"):
        assert bundle not in str(lab.bob("GET", path).document), path


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.168.1.5:8265", 200), ("[fe80::1]:8265", 200), ("lab.example", 403), ("127.0.0.1.nip.io", 403)],
)
def test_a_server_answers_by_its_addresses_but_not_to_names_of_others(lab: Lab, host: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {lab.ada.token}", "Host": host}
    assert lab.client.get("/api/v1/session", headers=headers).status_code == status


def test_a_datastore_is_read_by_everybody_and_changed_by_its_owner_alone(lab: Lab) -> None:
    lab.ada.datastore("mnist", {"a": b"1"})
    assert lab.bob.run("bobs", "--data", "grid:ada:mnist:latest").status == 201
    refused = lab.bob("POST", "datastores", {"name": "mnist", "source": "/there"})
    assert (refused.status, "belongs to ada" in refused.error) == (403, True), refused
    assert lab.bob("DELETE", "datastores/mnist/1").status == 403
    assert lab.bob.run("bobs-2", "--data", "grid:bob:mnist:1").status == 404
