"""Datastores of archives of the web: fetched from a real HTTP server, cut off, refused, told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.grid import eventually
from tests.support.server_app import running_app
from tests.unit.test_archives import FILES, NOISE, tar_of, zip_of

from opengrid.client.api import Api
from opengrid.core.errors import Forbidden, GridError, InvalidValue
from opengrid.services import fetching
from opengrid.services.fetching import check_url, fetch


class Web:
    """An HTTP server; each of `cuts` ends one answer after so many bytes."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.tag: str | None = '"v1"'
        self.url = ""


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in made.redirects:
                self.send_response(302)
                self.send_header("Location", made.redirects[self.path])
                self.end_headers()
                return
            if self.path not in made.content:
                self.send_error(404)
                return
            content, start = made.content[self.path], 0
            asked = self.headers.get("Range")
            made.ranges.append(asked)
            if asked is not None and self.headers.get("If-Range") == made.tag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if made.tag is not None:
                self.send_header("ETag", made.tag)
            self.end_headers()
            end = start + made.cuts.pop(0) if made.cuts else None
            self.wfile.write(content[start:end])

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def api(home: Path) -> Iterator[Api]:
    with running_app(home) as (api, _, _):
        yield api


def end_of(api: Api, name: str, version: int = 1) -> dict[str, Any]:
    def look() -> Any:
        row = api.datastore(name, version)
        return row if row["state"] != "processing" else None

    return eventually(look)


def test_an_archive_becomes_a_version(api: Api, web: Web, home: Path) -> None:
    web.content["/data.zip"] = zip_of(FILES)
    web.redirects["/latest"] = "/data.zip"
    opened = api.import_datastore("data", f"{web.url}/latest?x=1".replace("?x=1", ""))
    assert (opened["version"], opened["state"]) == (1, "processing")
    made = end_of(api, "data")
    assert (made["state"], made["files"], made["reason"]) == ("succeeded", len(FILES), "")
    root = home / "datastores" / "data" / "1"
    assert {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()} == FILES
    assert not list((home / "datastores" / ".staging").iterdir())


def test_what_cannot_be_fetched_or_unpacked_fails_with_the_reason(api: Api, web: Web, home: Path) -> None:
    web.content["/page.zip"] = b"<html>sign in first</html>"
    web.content["/evil.tar"] = tar_of({"a": b"x", "../../evil": b"x"})
    for path, said in (("/nowhere.zip", "404"), ("/page.zip", "unknown kind"), ("/evil.tar", "leaves its folder")):
        opened = api.import_datastore("data", f"{web.url}{path}")
        ended = end_of(api, "data", opened["version"])
        assert ended["state"] == "failed"
        assert said in ended["reason"]
    assert eventually(lambda: not list((home / "datastores" / ".staging").iterdir()))
    assert not [p for p in (home / "datastores" / ".contents").rglob("*") if p.is_file()]


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "http://", "https:///x", "x"])
def test_other_addresses_are_refused_at_once(api: Api, url: str) -> None:
    with pytest.raises(InvalidValue):
        api.import_datastore("data", url)
    assert api.datastores() == []


def test_what_a_server_left_half_made_the_next_one_goes_on_with(web: Web, home: Path) -> None:
    with running_app(home) as (api, _, _):
        api.open_datastore("data", f"{web.url}/data.zip")
        api.open_datastore("mine", "/a/folder")
    web.content["/data.zip"] = zip_of(FILES)
    with running_app(home) as (api, _, _):
        assert end_of(api, "data")["state"] == "succeeded"
        assert api.datastore("mine", 1)["state"] == "processing"


def test_what_many_servers_left_half_made_is_given_up(web: Web, home: Path) -> None:
    with running_app(home) as (api, _, _):
        upload = api.open_datastore("data", f"{web.url}/data.zip")["upload"]
        for _ in range(4):
            api.open_datastore("data", f"{web.url}/data.zip", upload)
    with running_app(home) as (api, _, _):
        ended = api.datastore("data", 1)
        assert (ended["state"], ended["reason"]) == ("failed", "the server ended 5 times meanwhile; create it again")
        assert not web.ranges


def bring(web: Web, target: Path, **options: Any) -> bytes:
    given: dict[str, Any] = {"most": 1 << 30, "may_ask_own_network": True, "progress": lambda *_: None, **options}
    fetch(f"{web.url}/x", target, **given)
    return target.read_bytes()


def test_what_is_cut_off_goes_on_where_it_was(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0.0)
    web.content["/x"] = NOISE["noise"]
    web.cuts = [100_000, 1, 0, 200_000]
    assert bring(web, tmp_path / "x") == NOISE["noise"]
    assert web.ranges[:2] == [None, "bytes=100000-"]
    assert len(web.ranges) == 5


def test_what_changed_meanwhile_begins_anew(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0.0)
    web.content["/x"] = b"a" * 1000
    web.cuts = [500]

    def change(come: int, total: int | None) -> None:
        web.content["/x"], web.tag = b"b" * 1000, '"v2"'

    assert bring(web, tmp_path / "x", progress=change) == b"b" * 1000


@pytest.mark.parametrize("tag", ['"v1"', None])
def test_a_server_that_never_comes_to_the_end_is_given_up(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str | None
) -> None:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0.0)
    web.content["/x"], web.tag = b"a" * 1000, tag
    web.cuts = [10] + [0] * 100 if tag else [10] * 100
    with pytest.raises(GridError, match="cannot fetch"):
        bring(web, tmp_path / "x")


def test_what_is_too_large_is_refused_before_it_comes(web: Web, tmp_path: Path) -> None:
    web.content["/x"] = b"a" * (3 << 20)
    with pytest.raises(InvalidValue, match="has 3 MiB, and there is room for 1"):
        bring(web, tmp_path / "x", most=1 << 20)


def test_a_server_for_many_does_not_ask_its_own_network(web: Web, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]"):
        with pytest.raises(Forbidden, match="own network"):
            check_url(f"http://{host}/x", may_ask_own_network=False)
    with pytest.raises(Forbidden):
        bring(web, tmp_path / "x", may_ask_own_network=False)
    check_url("http://8.8.8.8/x", may_ask_own_network=False)
