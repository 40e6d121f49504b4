"""A run's experiments as a table: the same on every store."""

from __future__ import annotations

import dataclasses

import pytest
from tests.contract.store.test_scalars import make_scalar
from tests.support.records import T0, make_experiments, make_run

from opengrid.core.records.experiments import ExperimentState
from opengrid.planning.table import parse_filter, parse_key
from opengrid.store.database import Database

#: By index: hyperparameters, state, seconds that it ran, last and least loss, greatest accuracy.
ROWS = [
    ({"lr": 0.1, "opt": "sgd", "a.b-c'd": 1}, "succeeded", 30, 0.5, 0.4, 0.6),
    ({"lr": 0.001, "opt": "Adam%", "flag": True}, "failed", 10, None, 0.9, 0.7),
    ({"lr": 10, "opt": "adam"}, "running", None, 0.1, 0.1, 0.5),
    ({"lr": "auto", "opt": None}, "queued", None, None, None, None),
    ({"lr": 2}, "stopped", 20, 0.2, 0.2, 0.9),
]
NOW = T0 + 100_000_000


@pytest.fixture
def filled(database: Database) -> Database:
    run, other = make_run(), make_run("other")
    experiments = [
        dataclasses.replace(
            one,
            params=params,
            state=ExperimentState(state),
            started_us=None if state == "queued" else T0,
            ended_us=None if seconds is None else T0 + seconds * 1_000_000,
        )
        for one, (params, state, seconds, *_) in zip(make_experiments(run, len(ROWS)), ROWS, strict=True)
    ]
    with database.transaction() as tx:
        tx.runs.create(run, experiments, T0)
        tx.runs.create(other, make_experiments(other, 1), T0)
        for one, (*_, last, least, greatest) in zip(experiments, ROWS, strict=True):
            if greatest is not None:
                tx.scalars.save(
                    [
                        make_scalar(one.id, "loss", last=last, least=least),
                        make_scalar(one.id, "val/acc", greatest=greatest),
                    ]
                )
        tx.scalars.save([make_scalar("r-othere0", "loss", run_id=other.id, last=0.0, least=0.0)])
    return database


def rows(
    database: Database,
    *filters: str,
    sort: str = "index",
    descending: bool = False,
    search: str = "",
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[int], int]:
    """Return the indexes of a page's experiments, and how many there are."""
    with database.read() as tx:
        ids, total = tx.experiment_table("r-brave-otter", now_us=NOW).page(
            filters=[parse_filter(text) for text in filters],
            search=search,
            sort=parse_key(sort),
            descending=descending,
            limit=limit,
            offset=offset,
        )
    return [int(id.rpartition("e")[2]) for id in ids], total


@pytest.mark.parametrize(
    ("sort", "ascending", "descending"),
    [
        ("index", [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]),
        ("name", [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]),
        ("state", [1, 3, 2, 4, 0], [0, 4, 2, 3, 1]),
        ("duration", [1, 4, 0, 2, 3], [2, 0, 4, 1, 3]),
        ("ended_at", [1, 4, 0, 2, 3], [0, 4, 1, 2, 3]),
        ("metric:loss", [2, 4, 0, 1, 3], [1, 0, 4, 2, 3]),
        ("metric:loss:last", [2, 4, 0, 1, 3], [0, 4, 2, 1, 3]),
        ("metric:val/acc", [2, 0, 1, 4, 3], [4, 1, 0, 2, 3]),
        ("metric:none", [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    ],
)
def test_rows_come_in_order_and_those_without_the_value_last(
    filled: Database, sort: str, ascending: list[int], descending: list[int]
) -> None:
    assert rows(filled, sort=sort)[0] == ascending
    assert rows(filled, sort=sort, descending=True)[0] == descending


def test_numbers_among_hyperparameters_are_ordered_as_numbers(filled: Database) -> None:
    found = rows(filled, sort="param:lr")[0]
    assert [index for index in found if index != 3] == [1, 0, 4, 2]
    found = rows(filled, sort="param:lr", descending=True)[0]
    assert [index for index in found if index != 3] == [2, 4, 0, 1]
    assert rows(filled, sort="param:a.b-c'd")[0] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("sort", ["metric:loss", "metric:loss:last", "param:lr", "index"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_make_the_whole(filled: Database, sort: str, limit: int) -> None:
    pages = [rows(filled, sort=sort, limit=limit, offset=offset) for offset in range(0, 7, limit)]
    assert [index for page, _ in pages for index in page] == rows(filled, sort=sort)[0]
    assert {total for _, total in pages} == {5}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["param:lr<1"], [0, 1]),
        (["param:lr>=2", "param:lr<10"], [4]),
        (["param:lr=0.10"], [0]),
        (["param:lr!=0.1"], [1, 2, 3, 4]),
        (["param:lr=auto"], [3]),
        (["param:opt=adam"], [2]),
        (["param:opt~ADAM"], [1, 2]),
        (["param:opt~m%"], [1]),
        (["param:opt!=sgd"], [1, 2, 3, 4]),
        (["param:flag=true"], [1]),
        (["param:a.b-c'd=1"], [0]),
        (["state=failed"], [1]),
        (["state=completed"], [0]),
        (["state!=queued"], [0, 1, 2, 4]),
        (["state=what"], []),
        (["name~EXP3"], [3]),
        (["name=brave-otter-exp1"], [1]),
        (["index>2"], [3, 4]),
        (["duration<=20"], [1, 4]),
        (["metric:loss<0.4"], [2, 4]),
        (["metric:loss:last>=0.2", "metric:val/acc>0.6"], [4]),
    ],
)
def test_all_filters_hold(filled: Database, filters: list[str], expected: list[int]) -> None:
    assert rows(filled, *filters) == (expected, len(expected))
    by_metric, total = rows(filled, *filters, sort="metric:loss")
    assert (sorted(by_metric), total) == (expected, len(expected))


def test_a_search_looks_at_names_and_hyperparameters(filled: Database) -> None:
    assert rows(filled, search="ADAM")[0] == [1, 2]
    assert rows(filled, search="exp4")[0] == [4]
    assert rows(filled, search="%")[0] == [1]


def test_the_tags_of_a_run_are_its_own(filled: Database) -> None:
    with filled.read() as tx:
        assert tx.experiment_table("r-brave-otter", now_us=NOW).tags() == ["loss", "val/acc"]
        assert tx.experiment_table("r-other", now_us=NOW).tags() == ["loss"]
        assert tx.experiment_table("none", now_us=NOW).tags() == []
