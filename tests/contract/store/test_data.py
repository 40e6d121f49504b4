"""What every store promises about datastores and accounts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.records import T0, make_experiments, make_run

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.records.datastores import DatastoreFile, DatastoreState, DatastoreUse, DatastoreVersion
from opengrid.core.records.experiments import ExperimentState
from opengrid.store.database import Database

PROCESSING, SUCCEEDED, FAILED = DatastoreState.PROCESSING, DatastoreState.SUCCEEDED, DatastoreState.FAILED


def test_a_version_is_processed_then_whole(database: Database) -> None:
    with database.transaction() as tx:
        opened = tx.data.next_version("stl10", "ada", "/data/stl10", T0)
        assert opened == DatastoreVersion(
            name="stl10",
            version=1,
            user="ada",
            state=PROCESSING,
            source="/data/stl10",
            digest=None,
            files=0,
            size=0,
            created_us=T0,
        )
        tx.data.finish("stl10", 1, digest="ab", files=3, size=1 << 40)
        found = tx.data.find("stl10", 1)
    assert (found.state, found.digest, found.files, found.size) == (SUCCEEDED, "ab", 3, 1 << 40)


def test_a_failed_version_says_why(database: Database) -> None:
    with database.transaction() as tx:
        tx.data.next_version("stl10", "ada", "/data/stl10", T0)
        tx.data.fail("stl10", 1, "the disk was full")
        found = tx.data.find("stl10", 1)
    assert (found.state, found.reason) == (FAILED, "the disk was full")


def test_versions_count_up_and_the_newest_whole_one_is_the_default(database: Database) -> None:
    with database.transaction() as tx:
        versions = [tx.data.next_version("stl10", "ada", "/data", T0 + i).version for i in range(4)]
        assert versions == [1, 2, 3, 4]
        assert tx.data.next_version("cifar", "ada", "/data", T0 + 9).version == 1
        tx.data.finish("stl10", 1, digest="a", files=1, size=1)
        tx.data.finish("stl10", 2, digest="b", files=1, size=1)
        tx.data.fail("stl10", 3, "")
        assert tx.data.find("stl10", None).version == 2
        listed = [(v.name, v.version) for v in tx.data.list()]
    assert listed == [("cifar", 1), ("stl10", 4), ("stl10", 3), ("stl10", 2), ("stl10", 1)]


def test_two_at_once_get_different_versions(database: Database) -> None:
    def create(_: int) -> int:
        with database.transaction() as tx:
            return tx.data.next_version("stl10", "ada", "/data", T0).version

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(create, range(24))) == list(range(1, 25))


def test_a_version_ends_once(database: Database) -> None:
    with database.transaction() as tx:
        tx.data.next_version("stl10", "ada", "/data", T0)
        tx.data.finish("stl10", 1, digest="a", files=1, size=1)
    with database.transaction() as tx:
        with pytest.raises(Conflict, match="already succeeded"):
            tx.data.fail("stl10", 1, "no")
        with pytest.raises(Conflict, match="already succeeded"):
            tx.data.finish("stl10", 1, digest="b", files=2, size=2)
        assert tx.data.find("stl10", 1).digest == "a"
        with pytest.raises(NotFound):
            tx.data.fail("stl10", 2, "no")


def test_what_is_not_there_is_not_found_and_something_else_offered(database: Database) -> None:
    def refused(name: str, version: int | None) -> tuple[str, str | None]:
        with database.read() as tx, pytest.raises(NotFound) as error:
            tx.data.find(name, version)
        return error.value.message, error.value.hint

    assert refused("stl10", None) == ("there is no datastore named 'stl10'", "`grid datastore create` makes one")
    with database.transaction() as tx:
        for i in range(2):
            tx.data.next_version("stl10", "ada", "/data", T0 + i)
    assert refused("stl1", 1) == ("there is no datastore named 'stl1'", "did you mean stl10?")
    whole = "its versions are 1 (processing), 2 (processing)"
    assert refused("stl10", None) == ("no version of the datastore 'stl10' is whole", whole)
    with database.transaction() as tx:
        tx.data.finish("stl10", 1, digest="a", files=1, size=1)
    versions = "its versions are 1 (succeeded), 2 (processing)"
    assert refused("stl10", 99) == ("the datastore 'stl10' has no version 99", versions)
    with database.transaction() as tx:
        for version in tx.data.list(name="stl10"):
            tx.data.remove("stl10", version.version)
    assert refused("stl10", None) == ("there is no datastore named 'stl10'", "`grid datastore create` makes one")


def make_files(*names: str, first: int = 0) -> list[DatastoreFile]:
    return [DatastoreFile(position=i, path=name, size=i, digest=name * 8) for i, name in enumerate(names, first)]


def test_files_are_saved_once_however_often_they_are_told(database: Database) -> None:
    files = make_files("a", "b", "c%_d")
    with database.transaction() as tx:
        tx.data.next_version("stl10", "ada", "/data", T0)
        tx.data.save_files("stl10", 1, 1, files[1:])
        tx.data.save_files("stl10", 1, 1, files)
        tx.data.save_files("stl10", 1, 1, [])
        assert tx.data.files("stl10", 1) == files
        assert tx.data.files("stl10", 1, limit=1, offset=1) == files[1:2]
        assert tx.data.files("stl10", 1, search="%_") == files[2:]
        assert tx.data.count_files("stl10", 1) == (3, 3)
        assert tx.data.count_files("stl10", 1, "b") == (1, 1)
        assert tx.data.count_files("stl10", 2) == (0, 0)


def test_an_upload_begins_again_with_no_files_and_keeps_the_contents_of_before(database: Database) -> None:
    with database.transaction() as tx:
        tx.data.next_version("stl10", "ada", "/data", T0, upload="u1")
        tx.data.save_files("stl10", 1, 1, make_files("a", "b"))
        again = tx.data.begin_again("u1")
        assert again is not None
        assert (again.version, again.round) == (1, 2)
        assert tx.data.files("stl10", 1) == []
        assert tx.data.unused(["a" * 8, "b" * 8, "c" * 8]) == {"c" * 8}
        tx.data.save_files("stl10", 1, 2, make_files("b"))
        assert tx.data.drop_earlier_rounds("stl10", 1, 2) == {"a" * 8, "b" * 8}
        assert tx.data.unused(["a" * 8, "b" * 8]) == {"a" * 8}
        tx.data.finish("stl10", 1, digest="d", files=1, size=0, now_us=T0 + 5)
        assert tx.data.find("stl10", 1).ended_us == T0 + 5
        assert tx.data.begin_again("u1") is None
        assert tx.data.begin_again("other") is None


def test_a_removed_version_leaves_its_contents_to_others(database: Database) -> None:
    with database.transaction() as tx:
        for _ in range(2):
            tx.data.next_version("stl10", "ada", "/data", T0)
        tx.data.save_files("stl10", 1, 1, make_files("a", "b"))
        tx.data.save_files("stl10", 2, 1, make_files("b"))
        contents = tx.data.remove("stl10", 1)
        assert contents == {"a" * 8, "b" * 8}
        assert tx.data.unused(contents) == {"a" * 8}
        with pytest.raises(NotFound):
            tx.data.remove("stl10", 1)
        assert [v.version for v in tx.data.list(name="stl10")] == [2]
        assert tx.data.count("stl10") == tx.data.count() == 1
        assert tx.data.next_version("stl10", "ada", "/data", T0).version == 3


def test_a_version_knows_the_runs_that_use_it_and_which_of_their_experiments_go_on(database: Database) -> None:
    run = make_run()
    experiments = make_experiments(run, 2)
    with database.transaction() as tx:
        for _ in range(2):
            tx.data.next_version("stl10", "ada", "/data", T0)
        tx.data.finish("stl10", 1, digest="d", files=1, size=0)
        tx.runs.create(run, experiments, T0)
        with pytest.raises(Conflict, match="stl10:2 is processing"):
            tx.data.use(run.id, [("stl10", 2)])
        tx.data.use(run.id, [("stl10", 1), ("stl10", 1)])
        tx.runs.move(experiments[0], ExperimentState.STOPPED, reason="", now_us=T0)
        assert tx.data.uses("stl10", 1) == [DatastoreUse(run=run.name, active=(experiments[1].name,))]
        assert tx.data.uses("stl10", 2) == []
        assert list(tx.data.used_by(run.id)) == [("stl10", 1)]
        tx.data.remove("stl10", 1)
        assert list(tx.data.used_by(run.id)) == [("stl10", 1)]


def test_a_token_names_its_user(database: Database) -> None:
    with database.transaction() as tx:
        assert tx.accounts.user_of_token("aa") is None
        tx.accounts.ensure_user("ada", "aa", T0)
        tx.accounts.ensure_user("bob", "bb", T0)
        tx.accounts.ensure_user("ada", "aa", T0 + 1)
    with database.read() as tx:
        assert tx.accounts.user_of_token("aa") == "ada"
        assert tx.accounts.user_of_token("bb") == "bob"
        assert tx.accounts.user_of_token("AA") is None


def test_a_new_token_replaces_the_former_one(database: Database) -> None:
    with database.transaction() as tx:
        tx.accounts.ensure_user("ada", "aa", T0)
        tx.accounts.ensure_user("ada", "cc", T0 + 1)
        assert tx.accounts.user_of_token("aa") is None
        assert tx.accounts.user_of_token("cc") == "ada"


def test_a_token_moves_with_a_user_who_got_another_name(database: Database) -> None:
    with database.transaction() as tx:
        tx.accounts.ensure_user("ada", "aa", T0)
        tx.accounts.ensure_user("ada.lovelace", "aa", T0 + 1)
        assert tx.accounts.user_of_token("aa") == "ada.lovelace"
        tx.accounts.ensure_user("ada", "aa", T0 + 2)
        assert tx.accounts.user_of_token("aa") == "ada"
