"""JSON to and from the frozen dataclasses of core, without pydantic (agents have the standard library only).

Reads and writes the same documents as pydantic's TypeAdapter for these types: enums as their values, tuples as arrays,
missing fields take their defaults, unknown fields are dropped, unions of dataclasses are told apart by their literal
`kind`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, TypeVar, Union, cast

from opengrid.core.errors import InvalidValue

T = TypeVar("T")

#: Turns a document into a value. Made once for each type: the store decodes thousands of them at a time.
_Decoder = Callable[[Any], Any]


def to_json(value: object) -> Any:
    """Return `value` as what json.dumps takes."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    names = _field_names(kind)
    if names is not None:
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {(k.value if isinstance(k, Enum) else k): to_json(v) for k, v in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in cast("list[object]", value)]
    return value


def from_json(kind: type[T], document: object, *, at: str = "") -> T:
    """Build a `kind` from decoded JSON; InvalidValue names the place that does not fit."""
    try:
        return cast("T", _decoder(kind)(document))
    except _Misfit as misfit:
        where = at or getattr(kind, "__name__", str(kind))
        raise InvalidValue(f"{where}{''.join(reversed(misfit.place))}{misfit.what}") from None


class _Misfit(Exception):
    """A document that does not fit: where, from the inside out, and what is wrong with it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what, self.place = what, list[str]()

    def inside(self, place: str) -> _Misfit:
        """Return the same, of what this was a part of."""
        self.place.append(place)
        return self


_PLAIN = frozenset({str, int, float, bool, type(None)})


@functools.cache
def _field_names(kind: type[Any]) -> tuple[str, ...] | None:
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


@functools.cache
def _decoder(kind: Any) -> _Decoder:
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return lambda document: document
    if origin is Literal:
        return _literal(typing.get_args(kind))
    if origin is Union or origin is types.UnionType:
        return _union(typing.get_args(kind))
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast("type[Any]", kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if origin is dict:
        return _dict(*typing.get_args(kind))
    if origin is tuple:
        return _tuple(typing.get_args(kind))
    return _instance(kind)


def _literal(values: tuple[Any, ...]) -> _Decoder:
    def decode(document: Any) -> Any:
        if document not in values:
            raise _Misfit(f": {document!r} is none of {', '.join(map(repr, values))}")
        return document

    return decode


def _enum(kind: type[Enum]) -> _Decoder:
    def decode(document: Any) -> Any:
        try:
            return kind(document)
        except ValueError:
            raise _Misfit(f": {document!r} is not a {kind.__name__}") from None

    return decode


def _dict(key: Any, item: Any) -> _Decoder:
    decode_key, decode_item = _decoder(key), _decoder(item)

    def decode(document: Any) -> Any:
        values: dict[Any, Any] = {}
        for k, v in _check(document, dict).items():
            try:
                values[decode_key(k)] = decode_item(v)
            except _Misfit as misfit:
                raise misfit.inside(f".{k}") from None
        return values

    return decode


def _tuple(arguments: tuple[Any, ...]) -> _Decoder:
    is_open = len(arguments) == 2 and arguments[1] is Ellipsis
    decoders = [_decoder(kind) for kind in (arguments[:1] if is_open else arguments)]

    def decode(document: Any) -> Any:
        items = cast("list[Any]", _check(document, (list, tuple)))
        if not is_open and len(items) != len(decoders):
            raise _Misfit(f": expected {len(decoders)} items, got {len(items)}")
        values: list[Any] = []
        for number, (one, item) in enumerate(zip(decoders * len(items) if is_open else decoders, items, strict=True)):
            try:
                values.append(one(item))
            except _Misfit as misfit:
                raise misfit.inside(f"[{number}]") from None
        return tuple(values)

    return decode


def _union(kinds: tuple[Any, ...]) -> _Decoder:
    has_none = type(None) in kinds
    tagged = {_tag(cast("type[Any]", kind)): _decoder(kind) for kind in kinds if dataclasses.is_dataclass(kind)}
    rest = [kind for kind in kinds if kind is not type(None)]
    only = _decoder(rest[0]) if len(rest) == 1 else None

    def decode(document: Any) -> Any:
        if document is None and has_none:
            return None
        tag = cast("dict[str, Any]", document).get("kind") if isinstance(document, dict) else None
        if isinstance(tag, str) and tag in tagged:
            return tagged[tag](document)
        if only is not None:
            return only(document)
        raise _Misfit(f": {document!r} is none of {', '.join(getattr(k, '__name__', str(k)) for k in kinds)}")

    return decode


def _dataclass(kind: type[Any]) -> _Decoder:
    fields = dataclasses.fields(kind)
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    decoders: dict[str, _Decoder] = {}  # when it is needed first: a type may hold itself

    def decode(document: Any) -> Any:
        document = _check(document, dict)
        if not decoders:
            hints = typing.get_type_hints(kind)
            decoders.update({f.name: _decoder(hints[f.name]) for f in fields})
        values: dict[str, Any] = {}
        for name, one in decoders.items():
            if name in document:
                try:
                    values[name] = one(document[name])
                except _Misfit as misfit:
                    raise misfit.inside(f".{name}") from None
            elif name in needed:
                raise _Misfit(f".{name} is missing")
        return kind(**values)

    return decode


def _tag(kind: type[Any]) -> object:
    return next((f.default for f in dataclasses.fields(kind) if f.name == "kind"), None)


def _instance(kind: Any) -> _Decoder:
    if kind is float:
        return lambda document: float(document) if type(document) is int else _check(document, float)
    if kind is int:
        return _whole

    return lambda document: document if type(document) is kind else _check(document, kind)


def _whole(document: Any) -> Any:
    if isinstance(document, bool):
        raise _Misfit(f": expected int, got {document!r}")
    return _check(document, int)


def _check(document: Any, kind: Any) -> Any:
    if not isinstance(document, kind):
        kinds = cast("tuple[Any, ...]", kind if isinstance(kind, tuple) else (kind,))
        expected = " or ".join(getattr(k, "__name__", str(k)) for k in kinds)
        raise _Misfit(f": expected {expected}, got {document!r}")
    return document
