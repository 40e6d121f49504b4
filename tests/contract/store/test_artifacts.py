"""What every store promises about artifacts."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import T0, make_artifact, make_experiments, make_run

from opengrid.core.errors import NotFound
from opengrid.store.database import Database

A, B, C = "aa" * 32, "bb" * 32, "cc" * 32


@pytest.fixture
def experiments(database: Database) -> list[str]:
    """The ids of a run's two experiments."""
    run = make_run()
    members = make_experiments(run, 2)
    with database.transaction() as tx:
        tx.runs.create(run, members, T0)
    return [experiment.id for experiment in members]


def test_what_is_saved_is_listed_by_path_and_node_in_pages(database: Database, experiments: list[str]) -> None:
    files = [make_artifact(experiments[0], path, node=node) for path in ("b", "a/x", "c") for node in (1, 0)]
    with database.transaction() as tx:
        assert tx.artifacts.save(files) == set()
    with database.read() as tx:
        listed = [(f.path, f.node) for f in tx.artifacts.list(experiments[0], limit=4)]
        assert listed == [("a/x", 0), ("a/x", 1), ("b", 0), ("b", 1)]
        assert [(f.path, f.node) for f in tx.artifacts.list(experiments[0], limit=4, offset=4)] == [("c", 0), ("c", 1)]
        assert tx.artifacts.list(experiments[1], limit=4) == []
        assert tx.artifacts.count(experiments[0]) == (6, 18)
        assert tx.artifacts.count(experiments[1]) == (0, 0)


def test_another_content_is_the_next_version_and_the_same_is_none(database: Database, experiments: list[str]) -> None:
    first = make_artifact(experiments[0], "model.ckpt", digest=A)
    with database.transaction() as tx:
        tx.artifacts.save([first])
        assert tx.artifacts.save([dataclasses.replace(first, collected_us=T0 + 5)]) == set()
        assert tx.artifacts.find(experiments[0], first.id) == first
        changed = dataclasses.replace(first, digest=B, size=9, attempt=2, collected_us=T0 + 9)
        assert tx.artifacts.save([changed]) == {A}
        assert tx.artifacts.find(experiments[0], first.id) == dataclasses.replace(changed, version=2)
        assert tx.artifacts.count(experiments[0]) == (1, 9)


def test_the_last_of_two_versions_in_one_message_counts(database: Database, experiments: list[str]) -> None:
    first = make_artifact(experiments[0], "x", digest=A)
    with database.transaction() as tx:
        tx.artifacts.save([first, dataclasses.replace(first, digest=B)])
        assert tx.artifacts.find(experiments[0], first.id).digest == B


@pytest.mark.parametrize(
    "path", ["a b/ü/数据", "line\nbreak", "-rf", "q'\"\\", "x" * 255, "/".join(["deep" * 50] * 20)]
)
def test_any_path_is_kept(database: Database, experiments: list[str], path: str) -> None:
    artifact = make_artifact(experiments[0], path, size=1 << 45)
    with database.transaction() as tx:
        tx.artifacts.save([artifact])
    with database.read() as tx:
        assert tx.artifacts.find(experiments[0], artifact.id) == artifact


def test_contents_are_unused_when_the_last_file_with_them_is_gone(database: Database, experiments: list[str]) -> None:
    one, other = experiments
    with database.transaction() as tx:
        tx.artifacts.save([make_artifact(one, "x", digest=A), make_artifact(one, "y", digest=B)])
        tx.artifacts.save([make_artifact(other, "x", digest=A)])
        assert tx.artifacts.digests([one]) == {A, B}
        assert tx.artifacts.unused([A, B, C]) == {C}
        tx.runs.delete_experiment(one)
        assert tx.artifacts.digests([one]) == set()
        assert tx.artifacts.unused([A, B]) == {B}
        tx.runs.delete_run(make_run().id)
        assert tx.artifacts.unused([A, B]) == {A, B}


def test_what_is_not_there_is_not_found(database: Database, experiments: list[str]) -> None:
    with database.read() as tx, pytest.raises(NotFound, match="no such artifact"):
        tx.artifacts.find(experiments[0], "0" * 64)
