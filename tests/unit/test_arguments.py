"""planning.arguments: references to datastores, and parameters."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import InvalidValue
from opengrid.planning.arguments import Reference, find_references, override, parameters, parts, substitute

PATHS = {"grid:stl10:1": "/data/stl10/1"}


def test_references_are_found_once_and_in_order() -> None:
    arguments = [
        "--data",
        "grid:stl10:2",
        "--eval=grid:ann.lee:c-4:13/test",
        "grid:stl10:2",
        "--mix",
        "a,grid:b:latest",
    ]
    assert find_references(arguments) == (
        Reference(text="grid:stl10:2", user=None, name="stl10", version=2),
        Reference(text="grid:ann.lee:c-4:13", user="ann.lee", name="c-4", version=13),
        Reference(text="grid:b:latest", user=None, name="b", version=None),
    )


@pytest.mark.parametrize(
    "text", ["grid:", "grid:stl10", "grid:stl10:", "grid:stl10:newest", "grid:stl10:0", "grid::1", "grid:a:b:c:1",
             "grid:STL:1", "grid::stl10:1", "grid:stl10:-1", "grid:stl10:1.5", "grid:stl10:1x", "grid:a:1000000000"],
)  # fmt: skip
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        find_references(["--data", text])
    with pytest.raises(InvalidValue) as refused:
        find_references([f"--data={text}"])
    assert repr(text) in refused.value.message


@pytest.mark.parametrize("text", ["a,grid:stl10:0", "root=grid:STL:1/x", "['grid:a:1', 'grid:b:one']"])
def test_a_malformed_reference_is_refused_inside_an_argument_too(text: str) -> None:
    with pytest.raises(InvalidValue, match="no reference"):
        find_references(["--data", text])


@pytest.mark.parametrize(
    "text", ["see grid: it is nice", "http://grid:8080/x", "ada@grid:a:1", "/data/grid:a:1", "megrid:a:1", "a-grid:a:1",
             "grid", "electric grid", "the grid:lines", "grid search"],
)  # fmt: skip
def test_what_only_looks_like_a_reference_is_passed_as_it_is(text: str) -> None:
    assert find_references(["--note", text]) == ()
    assert substitute([text], {"grid:a:1": "/no"}) == (text,)


@pytest.mark.parametrize(
    ("argument", "result"),
    [
        ("grid:stl10:1", "/data/stl10/1"),
        ("--data=grid:stl10:1", "--data=/data/stl10/1"),
        ("grid:stl10:1/train/a b", "/data/stl10/1/train/a b"),
        ("--x=grid:stl10:1/a=b", "--x=/data/stl10/1/a=b"),
        ("grid:stl10:1,grid:stl10:1", "/data/stl10/1,/data/stl10/1"),
        ("grid:stl10:1:grid:stl10:1", "/data/stl10/1:/data/stl10/1"),
        ("['grid:stl10:1', 2]", "['/data/stl10/1', 2]"),
        ('{"root":"grid:stl10:1/a"}', '{"root":"/data/stl10/1/a"}'),
        ("data.root=grid:stl10:1", "data.root=/data/stl10/1"),
        ("read grid:stl10:1.", "read /data/stl10/1."),
        ("grid:stl10:12", "grid:stl10:12"),
    ],
)
def test_a_reference_becomes_the_path_wherever_it_stands(argument: str, result: str) -> None:
    find_references([argument])
    assert substitute([argument], PATHS) == (result,)


def test_parts_keep_what_was_typed_beside_what_it_became() -> None:
    typed = ["in.csv", "--data", "grid:stl10:1", "--also=grid:stl10:1/x", "-v", "--n", "-1", "--", "--y"]
    found = [(part.name, part.typed, part.value) for part in parts(substitute(typed, PATHS), typed)]
    assert found == [
        (None, "in.csv", "in.csv"),
        ("data", "grid:stl10:1", "/data/stl10/1"),
        ("also", "grid:stl10:1/x", "/data/stl10/1/x"),
        ("v", None, None),
        ("n", "-1", "-1"),
        (None, "--", "--"),
        (None, "--y", "--y"),
    ]


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


@pytest.mark.parametrize(
    ("arguments", "changes", "result"),
    [
        (["--lr", "0.1", "-v"], ["--lr", "0.2"], ["--lr", "0.2", "-v"]),
        (["--lr=0.1", "in"], ["--lr", "0.2"], ["--lr", "0.2", "in"]),
        (["--lr", "0.1"], ["--n=2", "-q"], ["--lr", "0.1", "--n=2", "-q"]),
        (["--tag", "a", "x", "--tag", "b"], ["--tag", "c"], ["--tag", "c", "x"]),
        (["--tag", "a"], ["--tag", "b", "--tag", "c"], ["--tag", "b", "--tag", "c"]),
        (["--flag", "--", "x"], ["--n", "1", "out"], ["--flag", "--n", "1", "--", "x", "out"]),
        ([], ["--n", "1"], ["--n", "1"]),
        (["--n", "1"], [], ["--n", "1"]),
    ],
)
def test_changed_options_take_their_old_places_and_new_ones_follow(
    arguments: list[str], changes: list[str], result: list[str]
) -> None:
    assert override(arguments, changes) == tuple(result)


@given(st.lists(st.one_of(st.text(), st.sampled_from(["--a", "-b", "--c=1", "--", "1"]))))
def test_parts_cover_every_word_once(arguments: list[str]) -> None:
    covered = [word for part in parts(arguments) for word in arguments[part.position : part.position + part.width]]
    assert covered == arguments
    assert override(arguments, []) == tuple(arguments)
