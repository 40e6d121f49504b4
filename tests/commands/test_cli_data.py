"""`grid datastore`, against a server that answers what the test tells it to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.fake_api import FakeApi
from tests.support.typed import Typist

SOURCE = "s3://bucket/data"


def row(state: str, **changes: object) -> dict[str, Any]:
    made = {"name": "data", "version": 3, "state": state, "reason": "", "kind": "copied", "files": 2, "size": 5}
    made |= {"source": SOURCE, "user": "ada", "digest": None, "created_at": "2026-01-01T00:00:00Z", "may_go_on": False}
    return {**made, **changes}


@pytest.mark.parametrize("command", [("create", SOURCE), ("resume",), ("resume", "data")])
def test_a_command_that_was_broken_off_waits_for_what_the_server_makes_of_it(
    api: FakeApi, grid: Typist, command: tuple[str, ...]
) -> None:
    api.on("GET", "/api/v1/datastores", {"datastores": [row("processing")], "total": 1})
    api.on("GET", "/api/v1/datastores/data/3", row("succeeded"))
    done = grid("datastore", *command)
    assert (done.code, done.out.splitlines()[0]) == (0, "data:3 has 2 files, 5 B")


@pytest.mark.parametrize("command", [("create", SOURCE), ("resume",), ("resume", "data"), ("resume", "data:3")])
def test_what_the_server_did_not_come_to_the_end_of_is_begun_again(
    api: FakeApi, grid: Typist, command: tuple[str, ...]
) -> None:
    failed = row("failed", reason="no answer", may_go_on=True)
    api.on("GET", "/api/v1/datastores", {"datastores": [failed], "total": 1})
    api.on("POST", "/api/v1/datastores/data/3/resume", (201, row("processing")))
    api.on("GET", "/api/v1/datastores/data/3", row("succeeded"))
    done = grid("datastore", *command)
    assert (done.code, done.out.splitlines()[0]) == (0, "data:3 has 2 files, 5 B")
    assert "going on with data:3, which failed: no answer" in done.err
    api.on("GET", "/api/v1/datastores/data/3", failed)
    again = grid("datastore", *command)
    assert (again.code, "`grid datastore resume data:3` goes on with it" in again.err) == (1, True)


@pytest.mark.parametrize("which", ["data:2", "other"])
def test_another_version_than_the_one_that_is_named_is_not_begun_again(api: FakeApi, grid: Typist, which: str) -> None:
    rows = [row("failed", may_go_on=True)] if which == "data:2" else []
    api.on("GET", "/api/v1/datastores", {"datastores": rows, "total": 1})
    api.on("GET", "/api/v1/datastores/data/2", row("succeeded", version=2))
    api.on("GET", "/api/v1/datastores/other", row("succeeded", name="other"))
    assert grid("datastore", "resume", which).out == "nothing was broken off\n"


@pytest.mark.parametrize("other", [{"source": "s3://bucket/else"}, {"kind": "referenced"}, {"state": "failed"}])
def test_another_source_or_way_is_another_version(api: FakeApi, grid: Typist, other: dict[str, object]) -> None:
    api.on("GET", "/api/v1/datastores", {"datastores": [{**row("processing"), **other}], "total": 1})
    api.on("POST", "/api/v1/datastores/imports", (201, row("succeeded", version=4)))
    done = grid("datastore", "create", SOURCE)
    assert (done.code, done.out.splitlines()[0]) == (0, "data:4 has 2 files, 5 B")


def test_what_is_not_whole_is_listed_with_how_far_it_is_or_why_it_failed(api: FakeApi, grid: Typist) -> None:
    reasons = ("fetched 1.0 MiB of 9.0 MiB  1.0 MiB/s  0:08 left", "the disk is full")
    rows = [row("processing", reason=reasons[0]), row("failed", version=2, reason=reasons[1]), row("succeeded")]
    api.on("GET", "/api/v1/datastores", {"datastores": rows, "total": 3})
    listed = grid("datastore", "--show-incomplete").out
    assert all(reason in listed for reason in reasons)
    assert not any(reason in grid("datastore").out for reason in reasons)
    assert "`grid datastore resume` goes on with data:3\n" in grid("datastore").err


def test_with_nothing_broken_off_there_is_nothing_to_go_on_with(api: FakeApi, grid: Typist) -> None:
    api.on("GET", "/api/v1/datastores", {"datastores": [row("succeeded")], "total": 1})
    assert grid("datastore", "resume").out == "nothing was broken off\n"


@pytest.mark.parametrize(("state", "said"), [("failed", "has failed: no zip"), ("processing", "on another computer")])
def test_what_nobody_here_can_go_on_with_says_why(api: FakeApi, grid: Typist, state: str, said: str) -> None:
    found = row(state, source="/home/ada/data", reason="no zip")
    api.on("GET", "/api/v1/datastores", {"datastores": [found], "total": 1})
    api.on("GET", "/api/v1/datastores/data/3", found)
    done = grid("datastore", "resume", "data:3")
    assert (done.code, said in done.err) == (2, True)


def test_a_name_that_is_none_is_not_gone_on_with(api: FakeApi, grid: Typist) -> None:
    api.on("GET", "/api/v1/datastores", {"datastores": [], "total": 0})
    assert grid("datastore", "resume", "dta").code == 2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_was_gone_on_with_is_one_list_in_json(api: FakeApi, grid: Typist, count: int) -> None:
    api.on("GET", "/api/v1/datastores", {"datastores": [row("processing")] * count, "total": count})
    api.on("GET", "/api/v1/datastores/data/3", row("succeeded"))
    made = json.loads(grid("datastore", "resume", "-o", "json").out)["datastores"]
    assert [one["state"] for one in made] == ["succeeded"] * count


@pytest.mark.parametrize("address", ["http://", "https:///x.zip", "s3://", "s3:///prefix"])
def test_an_address_of_nowhere_is_refused_before_anybody_is_asked(api: FakeApi, grid: Typist, address: str) -> None:
    done = grid("datastore", "create", address)
    assert (done.code, "names no host or bucket" in done.err, api.asked) == (2, True, [])


def test_a_source_that_a_script_left_empty_is_not_the_folder_where_it_was_typed(api: FakeApi, grid: Typist) -> None:
    done = grid("datastore", "create", "")
    assert (done.code, "SOURCE is empty" in done.err, api.asked) == (2, True, [])
