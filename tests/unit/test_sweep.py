"""planning.sweep: GRID's table of expressions, strategies, limits, and that nothing is ever executed."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opengrid.core.errors import InvalidValue
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source, Strategy
from opengrid.planning.distributions import PARAMETERS
from opengrid.planning.sweep import Sweep, make_sweep, needs_seed
from opengrid.planning.sweep_grammar import parse


def spec(*arguments: str, **more: Any) -> RunSpec:
    program = Program(kind=ProgramKind.SCRIPT, target="t.py", arguments=arguments)
    return RunSpec(program=program, source=Source(bundle=None, root="/"), **more)


def sweep(*arguments: str, **more: Any) -> Sweep:
    return make_sweep(spec(*arguments, **more))


def points(*arguments: str, **more: Any) -> list[tuple[str, ...]]:
    return list(sweep(*arguments, **more).expand())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[32, 64, 128]", ["32", "64", "128"]),
        ("['resnet18','resnet50']", ["resnet18", "resnet50"]),
        ('["a b", "it\'s", ""]', ["a b", "it's", ""]),
        ("[1e-3, -2, True, None]", ["1e-3", "-2", "True", "None"]),
        ("[[1, 2], (3,), {'a': [4]}]", ["[1, 2]", "(3,)", "{'a': [4]}"]),
        ("['ä', [1,\n 2], 'z']", ["ä", "[1,\n 2]", "z"]),
        (" [1] ", ["1"]),
        ("range(3)", ["0", "1", "2"]),
        ("range(1, 10, 2)", ["1", "3", "5", "7", "9"]),
        ("range(3, 0, -1)", ["3", "2", "1"]),
    ],
)
def test_an_expression_gives_each_of_its_values(text: str, values: list[str]) -> None:
    assert points("--x", text) == [("--x", value) for value in values]
    assert points(f"--x={text}") == [(f"--x={value}",) for value in values]
    assert points(text) == [(value,) for value in values]


@pytest.mark.parametrize(
    "text",
    [
        "0.01", "bert", "[wip", "[wip]", "range of values", "range(n)", "[]", "[a, b]", "(1, 2)", "[f'{x}']", "[1 2]",
        "[x for x in (1,2)]", "__import__('os').system('false')", "[__import__('os')]", "print(1)", "{1: 2}", "",
        "[...]", "[b'x']", "range(open('x'))", "uniform", "[*[1]]", "key=[1,2]", "[\ud800]",
        "shuffle([1], 2)", "bytes(3)",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_passed_as_it_is(text: str) -> None:
    assert points("--x", text) == [("--x", text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("['a' 'b']", "argument 2 (--x): a comma is missing between 'a' and 'b', at character 5"),
        ("[1, ['a' 'b']]", "comma is missing"),
        ("range(1, 2, 0)", "step"),
        ("range(5, 1)", "no values"),
        ("range(1.5)", "whole numbers"),
        ("range(9**999)", "large"),
        ("uniform()", "number of samples"),
        ("uniform(0, 1)", None),
        ("uniform(0, 1, 2.5)", "number of samples"),
        ("uniform(0, 1, 2, 3, 4)", "too many"),
        ("beta(1, 3)", "b is missing"),
        ("normal(0, -1, 3)", "argument 2 (--x): normal: scale < 0"),
        ("normal(0, sd=1, size=3)", "sd is unknown"),
        (r"['a\0']", "NUL"),
    ],
)
def test_a_broken_expression_is_an_error_that_names_the_place(text: str, words: str | None) -> None:
    if words is None:
        assert len(points("--x", text)) == 1
        return
    with pytest.raises(InvalidValue) as refused:
        points("--x", text)
    assert words in refused.value.message


def test_the_last_argument_varies_fastest() -> None:
    found = points("[1,2]", "--b=['x y','z']", "-c", "range(2)")
    assert [(a, b[4:], c) for a, b, _, c in found] == [
        (a, b, c) for a in "12" for b in ("x y", "z") for c in "01"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["range(10**12)", "uniform(0,1,10**9)", "range(1000000000000)"])
def test_points_are_counted_before_they_are_made(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"1,000,000,000(,000)? experiments"):
        sweep("--x", text)


def test_more_than_ten_thousand_need_to_be_allowed() -> None:
    assert sweep("range(100)", "range(100)").count == 10_000
    with pytest.raises(InvalidValue, match="10,100"):
        sweep("range(100)", "range(101)")
    assert sweep("range(100)", "range(101)", max_experiments=10_100).count == 10_100


def test_random_search_draws_without_repeats_from_a_product_of_any_size() -> None:
    more: dict[str, Any] = {"strategy": Strategy.RANDOM_SEARCH, "num_trials": 50}
    drawn = points("range(10**12)", "range(10**12)", seed=1, **more)
    assert len(set(drawn)) == 50
    assert drawn == points("range(10**12)", "range(10**12)", seed=1, **more)
    assert drawn != points("range(10**12)", "range(10**12)", seed=2, **more)
    assert len(set(points("range(8)", "range(8)", **more))) == 50
    assert points("range(3)", "[7,8]", **more) == points("range(3)", "[7,8]")
    with pytest.raises(InvalidValue, match="num_trials"):
        sweep("range(3)", strategy=Strategy.RANDOM_SEARCH)


def test_a_seed_fixes_the_samples_and_chance_is_asked_only_where_it_matters() -> None:
    assert points("uniform(1e-5, 1e-1, 3)", seed=5) == points("uniform(1e-5, 1e-1, 3)", seed=5)
    assert points("uniform(0, 1, 3)", seed=5) != points("uniform(0, 1, 3)", seed=6)
    assert all(0 <= float(x) <= 1 for (x,) in points("uniform(3)"))
    assert needs_seed(spec("uniform(3)"))
    assert not needs_seed(spec("[1]"))
    assert not needs_seed(spec("uniform(3)", strategy=Strategy.NONE))


def test_strategy_none_leaves_everything_as_it_is() -> None:
    assert points("[1,2]", "['a' 'b']", "range(10**12)", strategy=Strategy.NONE) == [
        ("[1,2]", "['a' 'b']", "range(10**12)")
    ]


def test_the_table_of_distributions_is_numpys_own() -> None:
    found: dict[str, tuple[str, ...]] = {}
    for name, method in inspect.getmembers(np.random.Generator, callable):
        if name.startswith("_") or name in ("shuffle", "permutation", "permuted", "bytes", "spawn"):
            continue
        names = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
        before = names[: [p.name for p in names].index("size")]
        found[name] = tuple(p.name + ("" if p.default is p.empty else "?") for p in before)
    older = {"randint": found["integers"], "random_sample": found["random"]}
    assert {**found, **older} == PARAMETERS


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_distribution_gives_as_many_samples_as_its_last_argument_says(name: str) -> None:
    special = {
        "binomial": "5, 0.5", "choice": "[1, 2]", "dirichlet": "[1, 2]", "geometric": "0.5",
        "hypergeometric": "5, 5, 3",
        "integers": "1, 10", "randint": "1, 10", "logseries": "0.5", "multinomial": "5, [0.5, 0.5]",
        "multivariate_hypergeometric": "[5, 5], 3",
        "multivariate_normal": "[0, 0], [[1, 0], [0, 1]]", "negative_binomial": "5, 0.5",
        "triangular": "0, 1, 2", "zipf": "2",
    }  # fmt: skip
    arguments = special.get(name) or ", ".join("1" for _ in PARAMETERS[name])
    call = f"{name}({arguments}, 3)" if arguments else f"{name}(3)"
    assert len(points(call)) == 3


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()), min_size=1))
def test_what_python_writes_is_read_back(values: list[object]) -> None:
    assert points(repr(values), max_experiments=1000) == [(repr(value),) for value in values]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_strings_come_through_as_they_are(values: list[str]) -> None:
    assert points(repr(values)) == [(value,) for value in values]


ALPHABET = st.sampled_from(
    ["[", "]", "(", ")", ",", "'", '"', "1", "-", "**", "e9", "range(", "uniform(", "x", " ", "\n", "\\",
     "#", ".", "\0", "{", ":", "*", "lambda ", "/0", "ä"]
)  # fmt: skip


@settings(max_examples=150)
@given(st.one_of(st.text(), st.lists(ALPHABET).map("".join), st.lists(ALPHABET).map(lambda p: f"[{''.join(p)}]")))
def test_no_text_raises_anything_but_invalid_value(text: str) -> None:
    try:
        choices = parse(text)
    except InvalidValue:
        return
    assert choices is None or choices.count > 0


@pytest.mark.parametrize(
    "text", ["[" * 5000 + "]" * 5000, "range(" + "-" * 50_000 + "1)", "range(9**9**9**9)", "[1" * 99]
)
def test_hostile_texts_are_harmless(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        assert parse(text) is None
