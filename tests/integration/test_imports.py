"""Datastores of archives of the web: fetched from a real HTTP server, cut off, refused, told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.support.grid import eventually
from tests.support.server_app import running_app
from tests.support.web import Web, serving_web
from tests.unit.test_archives import FILES, NOISE, tar_of, zip_of

from opengrid.client.api import Api
from opengrid.core.errors import Conflict, Forbidden, GridError, InvalidValue
from opengrid.services import fetching
from opengrid.services.archives import unpack
from opengrid.services.fetching import check_url, fetch


@pytest.fixture
def web() -> Iterator[Web]:
    with serving_web() as made:
        yield made


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
    eventually(lambda: not list((home / "datastores" / ".staging").iterdir()))


def test_what_cannot_be_fetched_or_unpacked_fails_with_the_reason(api: Api, web: Web, home: Path) -> None:
    web.content["/page.zip"] = b"<html>sign in first</html>"
    web.content["/evil.tar"] = tar_of({"a": b"x", "../../evil": b"x"})
    for path, said in (("/nowhere.zip", "404"), ("/page.zip", "unknown kind"), ("/evil.tar", "leaves its folder")):
        opened = api.import_datastore("data", f"{web.url}{path}")
        ended = end_of(api, "data", opened["version"])
        assert ended["state"] == "failed"
        assert said in ended["reason"]
        assert not ended["may_go_on"]
        with pytest.raises(Conflict, match="is failed"):
            api.resume_import("data", opened["version"])
    eventually(lambda: not list((home / "datastores" / ".staging").iterdir()))
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
        assert (ended["state"], ended["may_go_on"]) == ("failed", True)
        assert ended["reason"] == "the server ended while it was made, which was begun 5 times"
        assert not web.ranges
        web.content["/data.zip"] = zip_of(FILES)
        api.resume_import("data", 1)
        assert end_of(api, "data")["state"] == "succeeded"


@pytest.mark.usefixtures("impatient")
def test_what_got_no_answer_in_the_end_goes_on_where_it_was_when_somebody_asks(web: Web, home: Path) -> None:
    web.content["/data.tar"], web.cuts = tar_of(NOISE), [100_000, *[0] * 20]
    with running_app(home) as (api, _, _):
        api.import_datastore("data", f"{web.url}/data.tar")
        failed = end_of(api, "data")
        assert (failed["state"], failed["may_go_on"]) == ("failed", True)
        assert "the connection was cut" in failed["reason"]
    asked = len(web.ranges)
    with running_app(home) as (api, _, _):
        assert len(web.ranges) == asked  # nobody wants it
        assert api.datastore("data", 1)["reason"] == failed["reason"]
        web.cuts, web.holds_at = [], 10
        assert [api.resume_import("data", 1)["state"] for _ in range(2)] == ["processing"] * 2
        eventually(lambda: web.sent == 100_010)
        web.holds_at = None
        web.go_on.set()
        made = end_of(api, "data")
        assert (made["state"], made["reason"], made["may_go_on"]) == ("succeeded", "", False)
        assert web.ranges[asked:] == ["bytes=100000-", "bytes=100010-"]
        assert api.verify_datastore("data", 1)["damaged"] == []
        with pytest.raises(Conflict, match="is succeeded"):
            api.resume_import("data", 1)


@pytest.mark.usefixtures("impatient")
def test_what_nobody_goes_on_with_is_gone_with_its_version(api: Api, web: Web, home: Path) -> None:
    web.content["/data.tar"], web.cuts = tar_of(NOISE), [100_000, *[0] * 20]
    api.import_datastore("data", f"{web.url}/data.tar")
    assert end_of(api, "data")["may_go_on"]
    api.delete_datastore("data", 1)
    assert not list((home / "datastores" / ".staging").iterdir())


def test_what_was_fetched_when_the_server_ended_is_not_fetched_again(web: Web, home: Path) -> None:
    web.content["/data.tar"], web.holds_at = tar_of(NOISE), 100_000
    with running_app(home) as (api, _, _):
        api.import_datastore("data", f"{web.url}/data.tar")
        staging = home / "datastores" / ".staging"
        eventually(lambda: sum(file.stat().st_size for file in staging.glob("*/archive")) == 100_000)
    web.holds_at = None
    web.go_on.set()
    with running_app(home) as (api, _, _):
        assert end_of(api, "data")["state"] == "succeeded"
        assert web.ranges == [None, "bytes=100000-"]
        assert api.verify_datastore("data", 1)["damaged"] == []
    assert not list(staging.iterdir())


@pytest.mark.parametrize("step", ["fetched", "unpacked"])
def test_an_archive_that_is_here_is_not_asked_for_again(web: Web, home: Path, step: str) -> None:
    web.content["/data.tar"] = tar_of(FILES)
    with running_app(home) as (api, _, _):
        staging = Path(api.open_datastore("data", f"{web.url}/data.tar")["staging"])
    bring(web, staging / "archive", "/data.tar")
    if step == "unpacked":  # and some of it was stored
        found = unpack(staging / "archive", staging, most=1 << 30, progress=lambda _: None)
        files = [{"position": i, "path": path, **asdict(found[path])} for i, path in enumerate(sorted(found))]
        (staging / "unpacked").write_text(json.dumps(files))
        (staging / "archive").unlink()
    with running_app(home) as (api, _, _):
        assert (end_of(api, "data")["state"], len(web.ranges)) == ("succeeded", 1)
        assert api.verify_datastore("data", 1) == {"files": len(FILES), "damaged": [], "repaired": []}


def test_a_version_that_is_deleted_meanwhile_is_not_fetched_any_further(web: Web, home: Path) -> None:
    web.content["/data.tar"], web.holds_at, web.drips = tar_of({"zeros": bytes(64 << 20)}), 1 << 20, True
    with running_app(home) as (api, _, server):
        api.import_datastore("data", f"{web.url}/data.tar")
        eventually(lambda: "fetched" in api.datastore("data", 1)["reason"])
        api.delete_datastore("data", None)
        eventually(lambda: not server.data.imports.are_running)
        assert web.sent < 32 << 20
        assert not list((home / "datastores" / ".staging").iterdir())


def bring(web: Web, target: Path, path: str = "/x", **options: Any) -> bytes:
    given: dict[str, Any] = {"most": 1 << 30, "may_ask_own_network": True, "tell": lambda _: None, **options}
    fetch(f"{web.url}{path}", target, **given)
    return target.read_bytes()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("tells_sizes", [True, False])
def test_what_is_cut_off_goes_on_where_it_was(web: Web, tmp_path: Path, tells_sizes: bool) -> None:
    web.content["/x"], web.tells_sizes = NOISE["noise"], tells_sizes
    web.cuts = [100_000, 1, 0, 200_000]
    assert bring(web, tmp_path / "x") == NOISE["noise"]
    assert web.ranges[:2] == [None, "bytes=100000-"]
    assert (len(web.ranges), web.sent) == (5, len(NOISE["noise"]))


def test_it_tells_how_far_it_is_how_fast_and_what_it_waits_for(web: Web, tmp_path: Path) -> None:
    web.content["/x"], web.cuts, web.statuses = b"a" * 3000, [1024], []
    told: list[str] = []

    def tell(text: Callable[[], str]) -> None:
        told.append(text())
        web.statuses = [503] if told == ["fetched 1.0 KiB of 2.9 KiB"] else web.statuses

    assert len(bring(web, tmp_path / "x", tell=tell)) == 3000
    assert told == [
        "fetched 1.0 KiB of 2.9 KiB",
        "fetched 1.0 KiB of 2.9 KiB  (the connection was cut; asks again in 1 s)",
        "fetched 1.0 KiB of 2.9 KiB  (Service Unavailable; asks again in 1 s)",
        "fetched 2.9 KiB of 2.9 KiB",
    ]


def test_an_address_is_asked_for_as_browsers_do(web: Web, tmp_path: Path) -> None:
    web.content["/%C3%BC%20x.zip?a=%20b"] = b"content"
    assert bring(web, tmp_path / "x", "/ü x.zip?a=%20b") == b"content"


class Broken(Exception):
    """The process is gone."""


def break_off(web: Web, target: Path, at: int) -> None:
    """Bring so many bytes, and go."""

    def tell(_: object) -> None:
        if target.stat().st_size >= at:
            raise Broken

    web.cuts = [at]
    with pytest.raises(Broken):
        bring(web, target, tell=tell)
    assert target.stat().st_size == at


@pytest.mark.usefixtures("impatient")
def test_another_process_goes_on_where_one_was_killed(web: Web, tmp_path: Path) -> None:
    web.content["/x"] = NOISE["noise"]
    break_off(web, tmp_path / "x", 100_000)
    assert bring(web, tmp_path / "x") == NOISE["noise"]
    assert web.ranges == [None, "bytes=100000-"]
    assert bring(web, tmp_path / "x") == NOISE["noise"]
    assert len(web.ranges) == 2


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("tag", [None, 'W/"v1"'])
def test_a_time_of_change_stands_for_a_tag_when_it_is_past(web: Web, tmp_path: Path, tag: str | None) -> None:
    web.content["/x"], web.tag = NOISE["noise"], tag
    for modified_s, asked in ((time.time() - 60, "bytes=100000-"), (time.time() + 60, None), (None, None)):
        web.modified_s = modified_s
        break_off(web, tmp_path / f"x{modified_s}", 100_000)
        assert bring(web, tmp_path / f"x{modified_s}") == NOISE["noise"]
        assert web.ranges[-1] == asked


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("knows_conditions", [True, False])
@pytest.mark.parametrize("size", [500, 1000, 400_000])
def test_what_changed_meanwhile_begins_anew(web: Web, tmp_path: Path, size: int, knows_conditions: bool) -> None:
    web.content["/x"] = b"a" * 1000
    break_off(web, tmp_path / "x", 500)
    web.content["/x"], web.tag, web.knows_conditions = b"b" * size, '"v2"', knows_conditions
    assert bring(web, tmp_path / "x") == b"b" * size


@pytest.mark.usefixtures("impatient")
def test_a_server_that_sends_no_parts_is_asked_for_all_again(web: Web, tmp_path: Path) -> None:
    web.content["/x"], web.knows_ranges = NOISE["noise"], False
    break_off(web, tmp_path / "x", 100_000)
    assert bring(web, tmp_path / "x") == NOISE["noise"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"other": 1}', None])
def test_bytes_of_which_nobody_knows_what_they_are_begin_anew(web: Web, tmp_path: Path, note: bytes | None) -> None:
    web.content["/x"] = b"b" * 1000
    (tmp_path / "x").write_bytes(b"a" * 500)
    if note is not None:
        (tmp_path / "x.origin").write_bytes(note)
    assert bring(web, tmp_path / "x") == b"b" * 1000


@pytest.mark.usefixtures("impatient")
def test_a_server_that_has_too_much_to_do_is_asked_again(web: Web, tmp_path: Path) -> None:
    web.content["/x"], web.statuses = b"content", [429, 503, 500]
    assert bring(web, tmp_path / "x") == b"content"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("tag", "tries"), [('"v1"', 16), (None, 6)])
def test_a_server_that_never_comes_to_the_end_is_given_up(
    web: Web, tmp_path: Path, tag: str | None, tries: int
) -> None:
    web.content["/x"], web.tag = b"a" * 1000, tag
    web.cuts = [10] + [0] * 100 if tag else [10] * 100
    with pytest.raises(GridError, match=r"cannot fetch .*: the connection was cut"):
        bring(web, tmp_path / "x")
    assert len(web.ranges) == tries


def test_what_is_too_large_is_refused_before_it_comes(web: Web, tmp_path: Path) -> None:
    web.content["/x"] = b"a" * (3 << 20)
    with pytest.raises(InvalidValue, match=r"has 3\.0 MiB, and there is room for 1\.0 MiB"):
        bring(web, tmp_path / "x", most=1 << 20)


def test_a_server_for_many_does_not_ask_its_own_network(web: Web, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]"):
        with pytest.raises(Forbidden, match="own network"):
            check_url(f"http://{host}/x", may_ask_own_network=False)
    with pytest.raises(Forbidden):
        bring(web, tmp_path / "x", may_ask_own_network=False)
    check_url("http://8.8.8.8/x", may_ask_own_network=False)
