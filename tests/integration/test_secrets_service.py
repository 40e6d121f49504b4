"""services.secrets: sealed in the store, opened only for whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opengrid.core.errors import InvalidValue, NotFound, Unusable
from opengrid.services.secrets import Secrets, new_key
from opengrid.store.database import Database

VALUE = "hunter2-hunter2"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    yield database
    database.close()


@pytest.fixture
def secrets(database: Database) -> Secrets:
    return Secrets(database, new_key(), now_us=lambda: 7)


def test_a_secret_is_given_to_its_user_alone_and_lies_encrypted(secrets: Secrets, tmp_path: Path) -> None:
    secrets.put("ada", "TOKEN", "older-value")
    secrets.put("ada", "TOKEN", VALUE)

    assert secrets.values("ada", ["TOKEN"]) == {"TOKEN": VALUE}
    assert secrets.list("ada") == [("TOKEN", 7)]
    assert secrets.list("bob") == []
    with pytest.raises(NotFound, match="you have no secret TOKEN"):
        secrets.check("bob", ["TOKEN"])
    assert not [path for path in tmp_path.iterdir() if VALUE.encode() in path.read_bytes()]


def test_a_forgotten_secret_is_gone(secrets: Secrets) -> None:
    secrets.put("ada", "TOKEN", VALUE)
    secrets.remove("ada", "TOKEN")

    with pytest.raises(NotFound):
        secrets.remove("ada", "TOKEN")
    with pytest.raises(NotFound):
        secrets.values("ada", ["TOKEN"])


def test_a_row_that_was_moved_to_another_user_or_key_does_not_open(secrets: Secrets, database: Database) -> None:
    secrets.put("ada", "TOKEN", VALUE)
    with database.transaction() as tx:
        tx.secrets.put("bob", "TOKEN", tx.secrets.sealed("ada", "TOKEN") or "", 8)

    with pytest.raises(Unusable, match="cannot be opened"):
        secrets.values("bob", ["TOKEN"])
    with pytest.raises(Unusable, match="cannot be opened"):
        Secrets(database, new_key(), now_us=lambda: 7).values("ada", ["TOKEN"])


def test_the_token_of_a_git_host_is_found_by_the_host(secrets: Secrets) -> None:
    secrets.put("ada", "git@github.com", VALUE)

    assert secrets.git_token("ada", "github.com") == VALUE
    assert secrets.git_token("ada", "gitlab.com") is None


@pytest.mark.parametrize(
    ("name", "value"), [("1A", VALUE), ("A B", VALUE), ("git@", VALUE), ("A", "abc"), ("A", "x\0xxx")]
)
def test_names_and_values_that_cannot_be_are_refused_without_the_value(secrets: Secrets, name: str, value: str) -> None:
    with pytest.raises(InvalidValue) as error:
        secrets.put("ada", name, value)

    assert value not in error.value.message
