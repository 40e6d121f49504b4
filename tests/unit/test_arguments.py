"""planning.arguments: references to datastores, and parameters."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import InvalidValue
from opengrid.planning.arguments import Reference, find_references, parameters, substitute

PATHS = {"grid:stl10:1": "/data/stl10/1"}


def test_references_are_found_once_and_in_order() -> None:
    arguments = ["--data", "grid:stl10:2", "--eval=grid:ann:c-4:13/test", "grid:stl10:2", "--note", "see grid:no:1"]
    assert find_references(arguments) == (
        Reference(text="grid:stl10:2", user=None, name="stl10", version=2),
        Reference(text="grid:ann:c-4:13", user="ann", name="c-4", version=13),
    )


@pytest.mark.parametrize(
    "text", ["grid:", "grid:stl10", "grid:stl10:", "grid:stl10:latest", "grid:stl10:0", "grid::1", "grid:a:b:c:1",
             "grid:STL:1", "grid::stl10:1", "grid:stl10:-1", "grid:stl10:1.5", "grid:stl10:1 "],
)  # fmt: skip
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        find_references(["--data", text])
    with pytest.raises(InvalidValue):
        find_references([f"--data={text}"])


@pytest.mark.parametrize(
    ("argument", "result"),
    [
        ("grid:stl10:1", "/data/stl10/1"),
        ("--data=grid:stl10:1", "/data/stl10/1"),
        ("grid:stl10:1/train/a b", "/data/stl10/1/train/a b"),
        ("--x=grid:stl10:1/a=b", "/data/stl10/1/a=b"),
    ],
)
def test_a_reference_becomes_the_path(argument: str, result: str) -> None:
    option = argument.partition("grid:")[0]
    assert substitute([argument], PATHS) == (option + result,)


@given(st.lists(st.text().filter(lambda text: "grid:" not in text)))
def test_everything_else_is_left_as_it_is(arguments: list[str]) -> None:
    assert find_references(arguments) == ()
    assert substitute(arguments, PATHS) == tuple(arguments)


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        (["--lr", "0.01", "--model", "bert"], {"lr": 0.01, "model": "bert"}),
        (["--gpus", "8", "--data_path", "grid:stl10:1", "--num_nodes", "2"],
         {"gpus": 8, "data_path": "grid:stl10:1", "num_nodes": 2}),
        (["--layers=[32, 64]", "-b", "3"], {"layers": [32, 64], "b": 3}),
        (["--flag", "--x", "1"], {"flag": True, "x": 1}),
        (["--x", "1", "--flag"], {"x": 1, "flag": True}),
        (["--shift", "-1", "--scale", "-.5"], {"shift": -1, "scale": "-.5"}),
        (["--tag", "a", "--tag", "b"], {"tag": ["a", "b"]}),
        (["input.csv", "--x", "1", "--", "--y", "2"], {"x": 1}),
        (["--flag", "--", "x"], {"flag": True}),
        (["--empty", "", "--also="], {"empty": "", "also": ""}),
        (["--b", "true", "--n", "null", "--q", '"s"'], {"b": True, "n": None, "q": "s"}),
        (["--nan", "NaN", "--inf=-Infinity", "--big", "1e999"], {"nan": "NaN", "inf": "-Infinity", "big": "1e999"}),
        (["--deep", "[" * 100_000], {"deep": "[" * 100_000}),
    ],
)  # fmt: skip
def test_parameters_are_options_with_json_values(arguments: list[str], params: dict[str, object]) -> None:
    assert parameters(arguments) == params


@given(st.lists(st.one_of(st.text(), st.sampled_from(["--a", "-b", "--c=1", "--", "NaN", "1e999", "[1]"]))))
def test_parameters_of_anything_are_strict_json(arguments: list[str]) -> None:
    json.dumps(parameters(arguments), allow_nan=False)
