"""`grid view`: a link for one browser, which is opened where there is a display, without showing the link to others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fake_api import FakeApi, serving
from tests.support.grid import eventually
from tests.support.typed import Typist, make_typist

from opengrid.cli.view import has_display, tunnel_to

LINK = {"url": "http://127.0.0.1:8265/sign-in#s3cret", "path": "/", "expires_at": "2026-11-23T10:05:00.000Z"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with serving(tmp_path / "home") as served:
        served.on("POST", "/api/v1/sign-in-links", (201, LINK))
        served.on("GET", "/api/v1/runs/calm-fox-7", {"run": "calm-fox-7", "etag": "", "experiments": []})
        served.on("GET", "/api/v1/experiments/calm-fox-7-exp1", {"experiment": "calm-fox-7-exp1"})
        yield served


@pytest.fixture
def grid(
    api: FakeApi, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Typist:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    return make_typist(capfdbinary, monkeypatch, tmp_path / "home", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [((), "/"), (("calm-fox-7",), "/runs/calm-fox-7"), (("calm-fox-7-exp1",), "/experiments/calm-fox-7-exp1")],
)
def test_the_link_leads_to_the_page_of_what_is_named(
    api: FakeApi, grid: Typist, arguments: tuple[str, ...], path: str
) -> None:
    done = grid("view", *arguments)
    assert (done.code, done.out) == (0, LINK["url"] + "\n")
    assert api.only("POST", "/api/v1/sign-in-links").document == {"path": path}


def test_without_a_display_the_way_through_ssh_is_told(grid: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.9 51234 10.0.0.5 22")
    done = grid("view")
    assert "ssh -N -L 8265:127.0.0.1:8265 " in done.err
    assert "@10.0.0.5" in done.err
    assert grid("view", "-o", "json").json["ssh"] in done.err


def test_a_name_that_does_not_exist_gets_no_link(api: FakeApi, grid: Typist) -> None:
    assert grid("view", "nosuch").code == 2
    assert [asked.method for asked in api.asked] == ["GET"]


def test_a_browser_gets_a_private_file_and_not_the_link_itself(
    grid: Typist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\npathlib.Path({str(seen)!r}).write_text(sys.argv[1])\n"
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s &")
    monkeypatch.setenv("DISPLAY", ":9")
    assert "opened in your browser" in grid("view").err
    page = tmp_path / "home" / "view.html"
    eventually(lambda: seen.exists() and seen.read_text() == page.as_uri())
    assert LINK["url"] in page.read_text()
    assert page.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("platform", "environment", "shows"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "a 1 b 2"}, False),
    ],
)
def test_a_browser_is_opened_where_it_can_be_seen(platform: str, environment: dict[str, str], shows: bool) -> None:
    assert has_display(platform, environment) is shows


def test_a_server_that_others_reach_needs_no_tunnel() -> None:
    assert tunnel_to("https://grid.example.com/sign-in#x", {}) is None
