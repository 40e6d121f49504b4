"""Browsers: a one-time link becomes a session, whose cookie other sites' pages cannot use; and the page itself."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.support.server import serving

from opengrid.server.app import Server, now_us
from opengrid.server.keys import ensure_token
from opengrid.server.settings import Settings
from opengrid.services.sign_in import LINK_LIFE_US, SESSION_LIFE_US, SignIn
from opengrid.store.database import Database

URL = "http://127.0.0.1:8265"


class World:
    """A server, somebody with a token, and browsers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built = folder / "ui"
        self.settings = Settings(home=folder, state=folder, cache=folder / "cache", ui=self.built)
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        ensure_token(self.settings, self.database, now_us=now_us)
        self.token = (folder / "token").read_text()
        self.server = Server(self.settings, self.database, URL, stop=lambda: None)
        self.app = self.server.app

    def browser(self, base_url: str = URL) -> TestClient:
        return TestClient(self.app, base_url=base_url, raise_server_exceptions=False)

    def link(self, path: str = "/") -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.browser().post("/api/v1/sign-in-links", json={"path": path}, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["url"]

    def signed_in(self) -> TestClient:
        browser = self.browser()
        code = self.link().partition("#")[2]
        assert browser.post("/api/v1/sessions", json={"code": code}, headers={"Origin": URL}).status_code == 201
        return browser


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.server.close()
    made.database.close()


def test_a_link_signs_one_browser_in_once(world: World) -> None:
    code = world.link("/runs/calm-fox-7").partition("#")[2]
    browser = world.browser()
    answer = browser.post("/api/v1/sessions", json={"code": code}, headers={"Origin": URL})
    assert (answer.status_code, answer.json()["path"]) == (201, "/runs/calm-fox-7")
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert int(cookie["max-age"]) * 1_000_000 == SESSION_LIFE_US
    assert browser.get("/api/v1/session").json()["user"] == answer.json()["user"]
    again = world.browser().post("/api/v1/sessions", json={"code": code}, headers={"Origin": URL})
    assert again.status_code == 401
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize("used", ["http://127.0.0.1:8265", "http://192.168.1.5:9999", "http://[fe80::1]:8265"])
def test_a_link_has_the_address_at_which_the_server_was_asked_for_it(world: World, used: str) -> None:
    headers = {"Authorization": f"Bearer {world.token}"}
    url = world.browser(used).post("/api/v1/sign-in-links", json={}, headers=headers).json()["url"]
    assert url.startswith(f"{used}/sign-in#")


def test_a_link_has_the_public_address_of_a_server_that_has_one(tmp_path: Path) -> None:
    with serving(tmp_path, public_url="https://grid.example/lab/") as (caller, _):
        url = caller("POST", "sign-in-links", {}).document["url"]
    assert url.startswith("https://grid.example/lab/sign-in#")


def test_neither_code_nor_session_can_be_read_from_the_database(world: World) -> None:
    browser, code = world.signed_in(), world.link().partition("#")[2]
    token = next(iter(browser.cookies.values()))
    written = b"".join(file.read_bytes() for file in world.folder.glob("grid.db*"))
    assert b"browser_sessions" in written
    assert code.encode() not in written
    assert token.encode() not in written


def test_links_and_sessions_expire(world: World) -> None:
    now = [1_000_000]
    sign_in = SignIn(world.database, now_us=lambda: now[0])
    with world.database.transaction() as tx:
        tx.accounts.ensure_user("ada", "0" * 64, 0)
    late, code = sign_in.make_link("ada", "/")[0], sign_in.make_link("ada", "/")[0]
    done = sign_in.exchange(code)
    assert sign_in.session(done.token) == done.session
    now[0] += LINK_LIFE_US
    with pytest.raises(Exception, match="older than five minutes"):
        sign_in.exchange(late)
    now[0] += SESSION_LIFE_US
    assert sign_in.session(done.token) is None
    assert SignIn(world.database, now_us=lambda: now[0]).session(done.token) is None


def test_a_session_outlives_the_server_and_ends_with_signing_out(world: World) -> None:
    cookies = world.signed_in().cookies
    world.server.close()
    world.server = Server(world.settings, world.database, URL, stop=lambda: None)
    world.app = world.server.app
    browser = world.browser()
    browser.cookies = cookies
    assert browser.get("/api/v1/runs").status_code == 200
    stolen = world.browser()
    stolen.cookies.update(cookies)
    assert browser.delete("/api/v1/session", headers={"Origin": URL}).status_code == 204
    assert "grid_session" not in str(browser.cookies)
    answer = stolen.get("/api/v1/runs")
    assert (answer.status_code, "grid view" in answer.json()["error"]["hint"]) == (401, True)


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://127.0.0.1:8265", "http://127.0.0.1"])
def test_another_sites_page_can_neither_write_nor_sign_in(world: World, origin: str | None) -> None:
    browser = world.signed_in()
    headers = {"Origin": origin} if origin else {}
    for path, body in (("stop", {"kind": "run", "names": []}), ("server/stop", {})):
        assert browser.post(f"/api/v1/{path}", json=body, headers=headers).status_code == 403
    assert browser.delete("/api/v1/session", headers=headers).status_code == 403
    code = world.link().partition("#")[2]
    assert world.browser().post("/api/v1/sessions", json={"code": code}, headers=headers).status_code == 403
    assert browser.post("/api/v1/stop", json={"kind": "run", "names": []}, headers={"Origin": URL}).status_code == 200


def test_a_tunnel_with_another_port_is_our_own_page_too(world: World) -> None:
    tunnelled = world.browser("http://localhost:9999")
    code = world.link().partition("#")[2]
    headers = {"Origin": "http://localhost:9999"}
    assert tunnelled.post("/api/v1/sessions", json={"code": code}, headers=headers).status_code == 201


def test_a_token_needs_no_origin_and_is_not_helped_by_a_cookie(world: World) -> None:
    browser = world.signed_in()
    bearer = {"Authorization": f"Bearer {world.token}"}
    assert world.browser().post("/api/v1/stop", json={"kind": "run", "names": []}, headers=bearer).status_code == 200
    assert browser.get("/api/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("path", ["", "runs", "//evil.example", "https://evil.example/", "/\r\nx", "/" + "x" * 3000])
def test_a_link_leads_to_pages_of_ours_only(world: World, path: str) -> None:
    bearer = {"Authorization": f"Bearer {world.token}"}
    answer = world.browser().post("/api/v1/sign-in-links", json={"path": path}, headers=bearer)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "path")


def build(world: World) -> None:
    (world.built / "assets").mkdir(parents=True)
    (world.built / "index.html").write_text("<!doctype html><title>page</title>")
    (world.built / "icon.svg").write_text("<svg/>")
    (world.built / "assets" / "main-1a2b.js").write_text("let x = 1")
    (world.built / "assets" / "main-1a2b.js.gz").write_bytes(gzip.compress(b"let x = 1"))


def test_without_a_build_the_page_says_how_to_get_one_while_the_api_works(world: World) -> None:
    answer = world.browser().get("/")
    assert (answer.status_code, "make ui" in answer.text) == (200, True)
    assert world.browser().get("/runs/x").status_code == 503
    assert world.browser().get("/healthz").status_code == 200


def test_every_address_of_the_page_gets_it_with_a_strict_policy(world: World) -> None:
    build(world)
    for path in ("/", "/runs", "/runs/calm-fox-7", "/experiments/calm-fox-7-exp0?tab=logs", "/sign-in"):
        answer = world.browser().get(path)
        assert (answer.status_code, "<title>page</title>" in answer.text) == (200, True), path
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/api/v1/nosuch", "/agent/nosuch", "/assets/nosuch.js"):
        answer = world.browser().get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    assert world.browser().get("/icon.svg").headers["content-type"] == "image/svg+xml"


def test_assets_are_kept_for_good_and_sent_compressed(world: World) -> None:
    build(world)
    answer = world.browser().get("/assets/main-1a2b.js", headers={"Accept-Encoding": "gzip"})
    assert (answer.text, answer.headers["content-encoding"]) == ("let x = 1", "gzip")
    assert "immutable" in answer.headers["cache-control"]
    assert re.match(r"(text|application)/javascript", answer.headers["content-type"])
    plain = world.browser().get("/assets/main-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert (plain.text, plain.headers.get("content-encoding")) == ("let x = 1", None)


@pytest.mark.parametrize("path", ["..%2ftoken", "%2e%2e/token", "assets/..%2f..%2ftoken", "%00", "x" * 5000])
def test_no_address_reaches_files_outside_the_build(world: World, path: str) -> None:
    build(world)
    for start in ("/", "/assets/"):
        answer = world.browser().get(start + path)
        assert world.token not in answer.text
        assert answer.status_code in (200, 404), answer.text
