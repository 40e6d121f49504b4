"""What experiments are ordered and filtered by, as texts."""

from __future__ import annotations

import pytest

from opengrid.core.errors import InvalidValue
from opengrid.planning.table import Field, Filter, Metric, Param, Which, parse_filter, parse_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("index", Field.INDEX),
        ("param:lr", Param(name="lr")),
        ("param:a:b", Param(name="a:b")),
        ("metric:val_loss", Metric(tag="val_loss")),
        ("metric:val_loss:best", Metric(tag="val_loss")),
        ("metric:val/loss:last", Metric(tag="val/loss", which=Which.LAST)),
        ("metric:a:b", Metric(tag="a:b")),
        ("metric:last", Metric(tag="last")),
    ],
)
def test_keys_name_columns(text: str, key: object) -> None:
    assert parse_key(text) == key


@pytest.mark.parametrize("text", ["", "lr", "param:", "metric:", 'param:a"b', "Index", "param"])
def test_what_is_no_column_is_named(text: str) -> None:
    with pytest.raises(InvalidValue, match="is no column of experiments"):
        parse_key(text)


def test_a_name_alone_is_told_how_it_is_written() -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_key("loss")
    assert str(refused.value.hint).startswith("one of metric:loss, param:loss, ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("param:lr<=0.01", Filter(key=Param(name="lr"), operator="<=", text="0.01", number=0.01)),
        ("param:lr < 1e-3", Filter(key=Param(name="lr"), operator="<", text="1e-3", number=1e-3)),
        ("param:opt=sgd", Filter(key=Param(name="opt"), operator="=", text="sgd", number=None)),
        ("state!=failed", Filter(key=Field.STATE, operator="!=", text="failed", number=None)),
        ("name~a=b", Filter(key=Field.NAME, operator="~", text="a=b", number=None)),
        ("param:opt=", Filter(key=Param(name="opt"), operator="=", text="", number=None)),
        ("metric:acc:max>0.5", Filter(key=Metric(tag="acc", which=Which.MAX), operator=">", text="0.5", number=0.5)),
    ],
)
def test_filters_compare_a_column_with_a_value(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state", "is no filter"),
        ("", "is no filter"),
        ("=1", "is no filter"),
        ("what=1", "is no column"),
        ("state<failed", "state is no number"),
        ("created_at>5", "cannot be filtered by created_at"),
        ("metric:loss=low", "'low' is no number"),
        ("metric:loss~1", "no number to compare with"),
        ("param:lr<x", "'x' is no number"),
        ("param:lr<nan", "'nan' is no number"),
        ("duration>", "'' is no number"),
    ],
)
def test_what_cannot_be_compared_is_said(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        parse_filter(text)
