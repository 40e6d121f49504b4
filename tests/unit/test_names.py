"""The rules of names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import InvalidValue
from opengrid.core.names import (
    check_name,
    check_run_name,
    datastore_name_of,
    experiment_name,
    split_experiment_name,
)

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    "name", ["a", "vae", "brave-otter-42", "a--b", "exponent", "exp", "a" * 100, "x1", "expert1-a"]
)
def test_good_names_are_taken(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A", "Vae", "1a", "-a", "a-", "a_b", "a b", "a.b", "a/b", "../a", "ä", "a\n", "a\0", "a" * 101, "é", "a٣"],
)
def test_bad_names_are_refused_with_the_rule(name: str) -> None:
    for check in (check_run_name, lambda n: check_name(n, "datastore")):
        with pytest.raises(InvalidValue) as error:
            check(name)
        assert repr(name) in error.value.message
        assert error.value.field == "name"
        assert error.value.hint is not None
        assert "lower-case" in error.value.hint


@pytest.mark.parametrize("name", ["exp0", "vae-exp3", "myexp12", "a-exp01"])
def test_a_run_may_not_end_like_an_experiment(name: str) -> None:
    with pytest.raises(InvalidValue, match="ends like an experiment"):
        check_run_name(name)
    assert check_name(name, "datastore") == name


@given(NAMES, st.integers(0, 10**6))
def test_an_experiments_name_says_run_and_index(run: str, index: int) -> None:
    assert split_experiment_name(experiment_name(run, index)) == (run, index)


@given(NAMES)
def test_no_run_is_taken_for_an_experiment(name: str) -> None:
    try:
        check_run_name(name)
    except InvalidValue:
        return
    assert split_experiment_name(name) is None


@pytest.mark.parametrize("name", ["vae", "vae-exp", "vae-exp01", "-exp1", "vae-expx", "vae-exp1 ", "vae-exp1\n", ""])
def test_what_is_no_experiments_name_is_not_split(name: str) -> None:
    assert split_experiment_name(name) is None


def test_the_last_index_counts() -> None:
    assert split_experiment_name("a-exp1-exp2") == ("a-exp1", 2)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/stl10", "stl10"),
        ("/data/stl10/", "stl10"),
        ("stl10", "stl10"),
        ("./STL10", "stl10"),
        ("images.tar.gz", "images"),
        ("https://host/a/Images.tar.gz?token=a/b", "images"),
        ("s3://bucket/prefix/cifar", "cifar"),
        ("/data/.hidden", "hidden"),
        ("/", ""),
    ],
)
def test_a_datastore_is_named_after_its_source(source: str, name: str) -> None:
    assert datastore_name_of(source) == name
