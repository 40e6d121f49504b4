"""What a table of experiments is ordered and filtered by, as people and pages write it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum

from opengrid.core.errors import InvalidValue


class Field(str, Enum):
    """What every experiment has."""

    INDEX = "index"
    NAME = "name"
    STATE = "state"
    CREATED = "created_at"
    STARTED = "started_at"
    ENDED = "ended_at"
    DURATION = "duration"


class Which(str, Enum):
    """A value of a metric's series."""

    LAST = "last"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A hyperparameter."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A value of a metric; `which` None means the best."""

    tag: str
    which: Which | None = None


Key = Field | Param | Metric

#: Comparisons, the longer ones first.
_OPERATORS = ("!=", "<=", ">=", "=", "<", ">", "~")
_FILTER = re.compile(f"(?P<key>.+?)(?P<operator>{'|'.join(_OPERATORS)})(?P<value>.*)", re.DOTALL)

_TEXTS = (Field.NAME, Field.STATE)
_TIMES = (Field.CREATED, Field.STARTED, Field.ENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a row must fulfil."""

    key: Key
    operator: str  #: one of = != < <= > >= and ~, which means: contains, whatever the case
    text: str
    number: float | None  #: what the text says, where that is a number


def parse_key(text: str) -> Key:
    """Return what a key names: `state`, `param:lr`, `metric:val_loss`, `metric:val_loss:last`."""
    kind, colon, name = text.partition(":")
    if colon and kind == "param" and name and '"' not in name:
        return Param(name=name)
    if colon and kind == "metric" and name:
        tag, _, which = name.rpartition(":")
        if tag and which in {one.value for one in Which}:
            return Metric(tag=tag, which=Which(which))
        return Metric(tag=name.removesuffix(":best"))
    try:
        return Field(text)
    except ValueError:
        names = ", ".join(field.value for field in Field)
        likely = f"metric:{text}, param:{text}" if text and not colon else "metric:TAG, param:NAME"
        raise InvalidValue(
            f"{text!r} is no column of experiments",
            hint=f"one of {likely}, metric:TAG:last, :min or :max, {names}",
        ) from None


def parse_filter(text: str) -> Filter:
    """Return what `param:lr<0.01`, `state=failed`, `name~exp1` ask for."""
    match = _FILTER.fullmatch(text)
    if match is None:
        raise InvalidValue(f"{text!r} is no filter", hint=f"KEY, one of {' '.join(_OPERATORS)}, VALUE: param:lr<0.01")
    key, operator, value = parse_key(match["key"].strip()), match["operator"], match["value"].strip()
    number = _number(value)
    is_order = operator[0] in "<>"
    if key in _TIMES:
        raise InvalidValue(
            f"{text!r}: experiments cannot be filtered by {match['key']}", hint="they can be ordered by it"
        )
    if key in _TEXTS and is_order:
        raise InvalidValue(f"{text!r}: {match['key']} is no number", hint="compare it by =, != or ~")
    is_numeric = isinstance(key, Metric) or (isinstance(key, Field) and key not in _TEXTS)
    if (is_numeric or is_order) and (number is None or operator == "~"):
        raise InvalidValue(f"{text!r}: {value!r} is no number to compare with")
    return Filter(key=key, operator=operator, text=value, number=number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
