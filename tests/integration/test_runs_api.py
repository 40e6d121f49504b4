"""Runs over HTTP: chosen, paged, and what is wrong with a request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.server import Caller, serving

from opengrid.core.errors import InvalidValue
from opengrid.server.runs_api import moment_us


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with serving(tmp_path) as (made, _):
        yield made


def test_a_page_of_chosen_runs_tells_how_many_there_are(caller: Caller) -> None:
    for i in range(3):
        assert caller.run(f"calm-fox-{i}", labels={"team": "vision"}).status == 201
    caller.run("shy-hare", "[1, 2]")
    found = caller("GET", "runs", search="fox", label="team=vision", state="queued", sort="run", limit=2, offset=1)
    assert [row["run"] for row in found.document["runs"]] == ["calm-fox-1", "calm-fox-2"]
    assert (found.document["total"], found.document["not_active"]) == (3, 0)
    (row,) = caller("GET", "runs", search="hare").document["runs"]
    assert (row["experiments"], row["queued"], row["script"], row["simulated"]) == (2, 2, "./t.sh", False)
    assert caller("GET", "runs", state="failed").document["total"] == 0
    assert caller("GET", "runs", until="2020-01-01").document["total"] == 0
    assert caller("GET", "runs", since="2020-01-01").document["total"] == 4


def test_a_run_is_told_without_its_experiments(caller: Caller) -> None:
    caller.run("calm-fox", "[1, 2]", environment={"SECRET": "x", "A": "y"})
    summary = caller("GET", "runs/calm-fox/summary").document
    assert (summary["run"], summary["experiments"], summary["queued"]) == ("calm-fox", 2, 2)
    assert (summary["plan"]["experiments"], summary["environment"]) == (2, ["A", "SECRET"])
    assert (summary["started_at"], summary["ended_at"], summary["cost"]) == (None, None, 0)
    assert caller("GET", "runs/no-such-fox/summary").status == 404


def test_filters_offer_what_there_is(caller: Caller) -> None:
    caller.run("calm-fox", labels={"team": "vision", "kind": "test"})
    document = caller("GET", "run-filters").document
    assert document["labels"] == [{"key": "kind", "values": ["test"]}, {"key": "team", "values": ["vision"]}]
    assert len(document["users"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sort": "spec"}, "sort"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-13-01"}, "until"),
        ({"state": "nosuch"}, "query.state.0"),
        ({"limit": 0}, "query.limit"),
        ({"offset": -1}, "query.offset"),
    ],
)
def test_a_wrong_choice_names_its_field(caller: Caller, query: dict[str, object], field: str) -> None:
    answer = caller("GET", "runs", **query)
    assert (answer.status, answer.document["error"]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("text", "is_end", "us"),
    [
        ("2026-01-01", False, 1_767_225_600_000_000),
        ("2026-01-01", True, 1_767_312_000_000_000),
        ("2026-01-01T00:00:01Z", True, 1_767_225_601_000_000),
        ("2026-01-01T01:00:00+01:00", False, 1_767_225_600_000_000),
        ("2026-01-01T01:00:00 01:00", False, 1_767_225_600_000_000),  # an address in which `+` was not encoded
    ],
)
def test_dates_are_whole_days_and_times_are_moments(text: str, is_end: bool, us: int) -> None:
    assert moment_us(text, field="since", is_end=is_end) == us


def test_what_is_no_date_is_said() -> None:
    with pytest.raises(InvalidValue, match="next week"):
        moment_us("next week", field="since")
