"""The server's doors: no route without a token, no other Host, errors as documents, nothing of a secret in answers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.support.certificate import certificate

from opengrid.core.errors import InvalidValue
from opengrid.server.app import Server, now_us
from opengrid.server.keys import ensure_token
from opengrid.server.settings import Settings, check_certificate, read_settings
from opengrid.store.database import Database

URL = "http://127.0.0.1"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path, state=tmp_path, cache=tmp_path / "cache")
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    ensure_token(settings, database, now_us=now_us)
    server = Server(settings, database, URL, stop=lambda: None)
    with TestClient(server.app, base_url=URL, raise_server_exceptions=False) as opened:
        opened.headers["Authorization"] = f"Bearer {(tmp_path / 'token').read_text()}"
        yield opened
    database.close()


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Return (method, path with made-up parameters) of every route."""
    found: list[tuple[str, str]] = []
    for path, operations in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        found += [(method.upper(), re.sub(r"\{[^}]*\}", "1", path)) for method in operations]
    return found


def test_every_route_but_healthz_needs_a_token(client: TestClient) -> None:
    del client.headers["Authorization"]
    answers = {(m, p): client.request(m, p, json={}).status_code for m, p in routes(client)}
    assert answers.pop(("GET", "/healthz")) == 200
    # A hello is read before its token is looked at: it says which attempt the token is for.
    assert answers.pop(("POST", "/agent/v1/hello")) in (401, 422)
    # A browser that signs in has nothing but the code of its link.
    assert answers.pop(("POST", "/api/v1/sessions")) in (401, 422)
    # So is a cluster's driver's, and the agents' program is what anybody can install.
    assert answers.pop(("POST", "/agent/v1/gangs/1")) in (401, 422)
    assert answers.pop(("GET", "/agent/v1/program/1")) == 404
    assert len(answers) > 15
    assert set(answers.values()) == {401}, answers


def test_a_wrong_token_opens_nothing(client: TestClient) -> None:
    client.headers["Authorization"] = "Bearer wrong"
    for method, path in routes(client):
        if path.startswith("/api/") and path != "/api/v1/sessions":
            assert client.request(method, path, json={}).status_code == 401, path


def test_a_request_for_another_host_name_is_refused(client: TestClient) -> None:
    answer = client.get("/api/v1/runs", headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert "evil.example" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["..", "..%2f..%2ftoken", "%2e%2e", "a/../../token", "x" * 5000, "%00", "-"])
def test_no_name_in_a_url_reaches_outside_or_breaks_the_server(client: TestClient, name: str) -> None:
    for path in ("runs", "experiments", "blobs", "datastores"):
        answer = client.get(f"/api/v1/{path}/{name}")
        assert answer.status_code in (404, 405, 422), (path, answer.text)
        assert client.put(f"/api/v1/blobs/{name}", content=b"x").status_code in (404, 405, 422)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"program": {"kind": "script", "target": "a.py"}, "source": {"bundle": None, "root": "/"}, "gpuss": 4},
            "gpuss",
        ),
        ({"program": {"kind": "script"}, "source": {"bundle": None, "root": "/"}}, "target"),
        ({"program": {"kind": "script", "target": "a.py"}, "source": {"bundle": None, "root": "/"}, "gpus": -1}, "-1"),
        ({"program": 5}, "program"),
    ],
)
def test_a_malformed_request_names_the_field(client: TestClient, body: object, words: str) -> None:
    answer = client.post("/api/v1/plan", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def test_a_body_that_is_no_json_is_an_error_not_a_failure(client: TestClient) -> None:
    for path in ("/api/v1/plan", "/api/v1/stop"):
        assert client.post(path, content=b"{").status_code == 422


#: A right body for every route that takes one, to be spoilt in one place.
BODIES = {
    "/api/v1/plan": """{"program": {"kind": "script", "target": "t.py", "arguments": ["[1, 2]"]}, "name": "a",
        "gpus": 1, "source": {"bundle": "00", "root": "/", "directory": ""}, "cpus": 2, "instance_type": "2_cpu_4gb",
        "seed": 1, "framework": "torch", "simulate": true, "shell": {"PATH": "/bin"}, "environment": {"A": "b"},
        "grace_s": 1, "strategy": "grid_search", "num_trials": 1, "max_experiments": 9, "parallel": 1,
        "processes_per_node": 1, "max_time_s": 5, "fail_fast": true}""",
    "/api/v1/stop": '{"kind": "run", "names": ["a"]}',
    "/api/v1/delete": '{"kind": "experiment", "names": ["a-exp0"]}',
    "/api/v1/datastores": '{"name": "a", "source": "/x", "files": [{"path": "x", "size": 1, "digest": "00"}]}',
    "/agent/v1/hello": """{"protocol": 1, "attempt_id": "x", "machine": 0, "session": "s", "hostname": "h",
        "address": "a", "pid": 1, "boot_id": "", "now_ns": 1}""",
}
NASTY: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**70, 1.5, 1e308, float("nan"), float("inf"), "", "\0", "\ud800", "x" * 100_000,
    "../../etc", "-1", "nan", "[1,", "[" * 3000, "range(10**12)", "normal(0,1e999,3)", "grid:nosuch:1", [], {}, [[]],
    [None], ["\0"], ["\ud800"], ["range(9)"] * 12, {"\ud800": "x"}, {"A=B": "x"}, {"x": {"y": []}},
]  # fmt: skip


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*here, key)
        yield from places(part, (*here, key))


@pytest.mark.parametrize("path", BODIES)
def test_no_body_breaks_the_server(client: TestClient, path: str) -> None:
    for *way, last in places(json.loads(BODIES[path])):
        for nasty in NASTY:
            body = inside = json.loads(BODIES[path])
            for key in way:
                inside = inside[key]
            inside[last] = nasty
            answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (path, way, last, repr(nasty)[:100], answer.text)
            assert answer.status_code < 400 or answer.json()["error"]["message"]


def test_a_certificate_that_cannot_be_served_with_is_refused_before_anything_starts(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)

    def check(cert: str, key: str) -> None:
        check_certificate(read_settings({}, listen="0.0.0.0:1", tls_cert=cert, tls_key=key))

    check(cert, key)
    check_certificate(read_settings({}))
    with pytest.raises(InvalidValue, match=r"--tls-key .*/none\.pem: No such file"):
        check(cert, f"{tmp_path}/none.pem")
    with pytest.raises(InvalidValue, match="are no certificate with its key"):
        check(key, cert)
    locked = tmp_path / "locked.pem"
    subprocess.run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked], check=True)
    with pytest.raises(InvalidValue, match="are no certificate with its key") as error:
        check(cert, str(locked))
    assert "without a passphrase" in (error.value.hint or "")
