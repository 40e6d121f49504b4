"""The server's doors: no route without a token, no other Host, errors as documents, nothing of a secret in answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from opengrid.server.__main__ import Settings
from opengrid.server.app import Server, ensure_token
from opengrid.store.database import Database

URL = "http://127.0.0.1"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path, state=tmp_path, cache=tmp_path / "cache")
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    ensure_token(settings, database)
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
    assert len(answers) > 15
    assert set(answers.values()) == {401}, answers


def test_a_wrong_token_opens_nothing(client: TestClient) -> None:
    client.headers["Authorization"] = "Bearer wrong"
    for method, path in routes(client):
        if path.startswith("/api/"):
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
