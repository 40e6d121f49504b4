"""core.codec against pydantic: for everything that goes over the wire or into the store, the two agree."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import string
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from opengrid.core import gang, protocol, spec
from opengrid.core.codec import from_json, to_json
from opengrid.core.errors import InvalidValue
from opengrid.core.gang import Gang, Node
from opengrid.core.protocol import Exited, Fact, Facts, Prepared, Released
from opengrid.core.records import accounts, artifacts, attempts, clusters, datastores, experiments, scalars
from opengrid.core.records.experiments import ExperimentState, RootCause, Run
from opengrid.core.spec import Framework, ProgramKind, RunSpec

RECORDS = (accounts, artifacts, attempts, clusters, datastores, experiments, scalars)
WIRE_TYPES = sorted(
    {
        kind
        for module in (gang, protocol, *RECORDS, spec)
        for kind in vars(module).values()
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    }
    - {gang.RankPlace},  # a step of an iteration, never sent
    key=lambda kind: kind.__name__,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
GANGS = st.builds(
    lambda machines, per_machine, gpus, cpus, ranks: Gang(
        nodes=tuple(
            Node(index=i, machine=i // per_machine, gpus=gpus, cpus=cpus, ranks=ranks)
            for i in range(machines * per_machine)
        )
    ),
    *[st.integers(1, 3)] * 2,
    *[st.integers(0, 8)] * 2,
    st.integers(1, 8),
)
#: Fields that are narrower than their types.
NARROW: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (RunSpec, "name"): st.none() | st.text(string.ascii_lowercase, min_size=1, max_size=2),
    (RunSpec, "gpus"): st.none() | st.integers(0, 64),
    (RunSpec, "cpus"): st.none() | st.integers(0, 64),
    (RunSpec, "processes_per_node"): st.none() | st.integers(1, 8),
    **{
        (RunSpec, name): st.none() | st.integers(1, 99)
        for name in ("num_trials", "max_experiments", "parallel", "seed")
    },
    (RunSpec, "max_time_s"): st.none() | st.floats(1, 1e9),
    (RunSpec, "max_restarts"): st.none() | st.integers(0, 9),
    (RunSpec, "labels"): st.dictionaries(
        st.text(string.ascii_letters, min_size=1, max_size=9), st.text("ab ="), max_size=2
    ),
    (RunSpec, "environment"): st.dictionaries(st.text(string.ascii_uppercase, min_size=1), TEXT, max_size=2),
    (RunSpec, "secrets"): st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=4), max_size=2).map(tuple),
    (RunSpec, "datastore_name"): st.text(string.ascii_lowercase, min_size=1, max_size=2),
    (RunSpec, "datastore_version"): st.none() | st.integers(1, 99),
    (RunSpec, "datastore_mount_dir"): st.none() | st.just("/data/set"),
}


@functools.cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return values of a wire type, every field filled."""
    if kind is Gang:
        return GANGS
    hints = typing.get_type_hints(kind)
    fields = {f.name: NARROW.get((kind, f.name), st.from_type(hints[f.name])) for f in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


st.register_type_strategy(str, TEXT)
st.register_type_strategy(float, FLOATS)
st.register_type_strategy(int, st.integers(-(1 << 63), 1 << 63))
st.register_type_strategy(object, JSON_VALUES)
for _kind in WIRE_TYPES:
    st.register_type_strategy(_kind, values_of)


@functools.cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@pytest.mark.parametrize("kind", WIRE_TYPES, ids=lambda kind: kind.__name__)
def test_codec_and_pydantic_write_and_read_the_same_documents(kind: Any) -> None:
    @settings(max_examples=8, suppress_health_check=list(HealthCheck))
    @given(values_of(kind))
    def agree(value: object) -> None:
        text = json.dumps(to_json(value))
        document = json.loads(text)
        assert document == json.loads(adapter(kind).dump_json(value))
        assert from_json(kind, document) == value
        assert adapter(kind).validate_json(text) == value

    agree()


def taken(read: Callable[..., object], *document: object) -> object:
    """Return what was read, or None when it was refused."""
    try:
        return read(*document)
    except (InvalidValue, ValidationError):
        return None


@pytest.mark.parametrize("kind", WIRE_TYPES, ids=lambda kind: kind.__name__)
def test_missing_fields_take_their_defaults_or_are_refused_by_both(kind: Any) -> None:
    @settings(max_examples=3, suppress_health_check=list(HealthCheck))
    @given(values_of(kind), st.data())
    def agree(value: object, data: st.DataObject) -> None:
        document = to_json(value)
        for field in dataclasses.fields(kind):
            short = {name: item for name, item in document.items() if name != field.name}
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                with pytest.raises(InvalidValue, match=rf"{field.name} is missing"):
                    from_json(kind, short)
                with pytest.raises(ValidationError):
                    adapter(kind).validate_python(short)
            else:  # refused where another field needs it
                written = json.dumps(short)
                assert taken(from_json, kind, short) == taken(adapter(kind).validate_json, written)

    agree()


@pytest.mark.parametrize("kind", [k for k in WIRE_TYPES if k is not RunSpec], ids=lambda kind: kind.__name__)
def test_unknown_fields_are_dropped_by_both(kind: Any) -> None:
    @settings(max_examples=3, suppress_health_check=list(HealthCheck))
    @given(values_of(kind))
    def agree(value: object) -> None:
        document = {**to_json(value), "of_the_future": [1]}
        assert from_json(kind, document) == value
        assert adapter(kind).validate_json(json.dumps(document)) == value

    agree()


def test_what_a_user_writes_may_hold_nothing_unknown() -> None:
    """The API refuses it, through pydantic; the codec reads what the store holds, of older and newer versions too."""
    program = {"kind": "script", "target": "train.py"}
    document = {"program": program, "source": {"bundle": None, "root": "/a"}, "gpu": 8}
    with pytest.raises(ValidationError, match="gpu"):
        adapter(RunSpec).validate_python(document)
    assert from_json(RunSpec, document).gpus is None


def test_facts_are_told_apart_by_their_kind() -> None:
    exited = Exited(generation=1, rank=3, exit_code=-9, at_ns=5)
    facts = Facts(first=4, facts=(Prepared(generation=1, store_port=7), exited, Released()), now_ns=9)
    document = to_json(facts)
    assert [fact["kind"] for fact in document["facts"]] == ["prepared", "exited", "released"]
    assert from_json(Facts, document) == adapter(Facts).validate_python(document) == facts


GOOD: dict[str, Any] = {
    "program": {"kind": "script", "target": "train.py", "arguments": ["a"]},
    "source": {"bundle": None, "root": "/a"},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gpus": "many"}, "RunSpec.gpus"),
        ({"gpus": [1]}, "RunSpec.gpus"),
        ({"gpus": 3.5}, "RunSpec.gpus"),
        ({"gpus": -1}, "--gpus -1"),
        ({"name": "Bad Name"}, "Bad Name"),
        ({"name": 7}, "RunSpec.name"),
        ({"framework": "pytorch1"}, "not a Framework"),
        ({"framework": ["torch"]}, "not a Framework"),
        ({"program": None}, "RunSpec.program: expected dict"),
        ({"program": {"kind": "script"}}, "RunSpec.program.target is missing"),
        ({"program": {"kind": "poem", "target": "x"}}, "RunSpec.program.kind"),
        ({"program": {"kind": "script", "target": "x", "arguments": "abc"}}, "RunSpec.program.arguments"),
        ({"program": {"kind": "script", "target": "x", "arguments": [1]}}, r"RunSpec.program.arguments\[0\]"),
        ({"environment": {"A": 1}}, "RunSpec.environment.A"),
        ({"environment": []}, "RunSpec.environment"),
        ({"environment": {"A=B": "1"}}, "A=B"),
        ({"grace_s": "soon"}, "RunSpec.grace_s"),
        ({"simulate": "perhaps"}, "RunSpec.simulate"),
    ],
)
def test_what_does_not_fit_is_refused_by_both_and_its_place_named(change: dict[str, Any], said: str) -> None:
    document = {**GOOD, **change}
    with pytest.raises(InvalidValue, match=said):
        from_json(RunSpec, document)
    with pytest.raises(ValidationError):
        adapter(RunSpec).validate_python(document)


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "danced"},
        {"kind": None},
        {"kind": ["exited"]},
        {"kind": {}},
        [],
        None,
        "exited",
        7,
    ],
    ids=str,
)
def test_what_is_no_fact_is_refused_by_both(document: object) -> None:
    whole = {"first": 1, "facts": [document], "now_ns": 0}
    with pytest.raises(InvalidValue, match=r"Facts\.facts\[0\]"):
        from_json(Facts, whole)
    with pytest.raises(ValidationError):
        adapter(Facts).validate_python(whole)


def test_the_codec_is_stricter_where_pydantic_guesses() -> None:
    """Words that look like numbers, numbers that look like truth: nobody who writes our documents sends them."""
    for change in ({"gpus": "8"}, {"gpus": True}, {"simulate": 1}, {"gpus": 8.0}):
        adapter(RunSpec).validate_python({**GOOD, **change})
        with pytest.raises(InvalidValue):
            from_json(RunSpec, {**GOOD, **change})


def test_a_fact_without_its_kind_is_no_fact() -> None:
    """Pydantic would guess: `{}` would say that a machine is released."""
    for document in ({"generation": 1}, {}):
        with pytest.raises(InvalidValue, match=r"Facts\.facts\[0\]"):
            from_json(Facts, {"first": 1, "facts": [document], "now_ns": 0})


def test_whole_numbers_may_stand_for_floats() -> None:
    read = from_json(RunSpec, {**GOOD, "grace_s": 20})
    assert (read.grace_s, type(read.grace_s)) == (20.0, float)


def test_enums_are_read_as_members_also_as_keys() -> None:
    read = from_json(dict[ExperimentState, int], {"queued": 3})
    assert read == {ExperimentState.QUEUED: 3}
    assert type(next(iter(read))) is ExperimentState
    assert to_json(read) == {"queued": 3}
    spec_read = from_json(RunSpec, {**GOOD, "framework": "torch"})
    assert spec_read.framework is Framework.TORCH
    assert spec_read.program.kind is ProgramKind.SCRIPT


def test_a_place_may_be_given_a_name() -> None:
    with pytest.raises(InvalidValue, match=r"^line 3 of the config\.exit_code"):
        from_json(RootCause, {"summary": "x", "exit_code": "y"}, at="line 3 of the config")


def test_every_fact_is_in_the_union() -> None:
    messages = [kind for kind in WIRE_TYPES if kind.__module__ == protocol.__name__]
    tagged = {kind for kind in messages if any(f.name == "kind" for f in dataclasses.fields(kind))}
    assert tagged == set(Fact.__args__)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_wire_types_are_all_there() -> None:
    assert {RunSpec, Run, Gang, Facts, protocol.Desired, protocol.Hello} <= set(WIRE_TYPES)
