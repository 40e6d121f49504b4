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
from enum import Enum
from typing import Any, Literal, TypeVar, Union, cast

from opengrid.core.errors import InvalidValue

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Return `value` as what json.dumps takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
    return cast("T", _decode(kind, document, at or getattr(kind, "__name__", str(kind))))


def _decode(kind: Any, document: Any, at: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return document
    if origin is Literal:
        if document not in typing.get_args(kind):
            raise InvalidValue(f"{at}: {document!r} is none of {', '.join(map(repr, typing.get_args(kind)))}")
        return document
    if origin is Union or origin is types.UnionType:
        return _decode_union(typing.get_args(kind), document, at)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(cast("type[Any]", kind), document, at)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(document)
        except ValueError:
            raise InvalidValue(f"{at}: {document!r} is not a {kind.__name__}") from None
    if origin is dict:
        key, item = typing.get_args(kind)
        return {_decode(key, k, at): _decode(item, v, f"{at}.{k}") for k, v in _check(document, dict, at).items()}
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), document, at)
    if kind is type(None):
        return _check(document, type(None), at)
    if kind is float and isinstance(document, int) and not isinstance(document, bool):
        return float(document)
    if kind is int and isinstance(document, bool):
        raise InvalidValue(f"{at}: expected int, got {document!r}")
    return _check(document, kind, at)


def _decode_tuple(arguments: tuple[Any, ...], document: Any, at: str) -> tuple[Any, ...]:
    items = cast("list[Any]", _check(document, (list, tuple), at))
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(arguments[0], item, f"{at}[{i}]") for i, item in enumerate(items))
    if len(items) != len(arguments):
        raise InvalidValue(f"{at}: expected {len(arguments)} items, got {len(items)}")
    return tuple(_decode(kind, item, f"{at}[{i}]") for i, (kind, item) in enumerate(zip(arguments, items, strict=True)))


def _decode_union(kinds: tuple[Any, ...], document: Any, at: str) -> Any:
    if document is None and type(None) in kinds:
        return None
    tagged = {_tag(kind): kind for kind in kinds if dataclasses.is_dataclass(kind)}
    tag = cast("dict[str, Any]", document).get("kind") if isinstance(document, dict) else None
    if isinstance(tag, str) and tag in tagged:
        return _decode(tagged[tag], document, at)
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) == 1:
        return _decode(rest[0], document, at)
    raise InvalidValue(f"{at}: {document!r} is none of {', '.join(getattr(k, '__name__', str(k)) for k in kinds)}")


def _decode_dataclass(kind: type[Any], document: Any, at: str) -> Any:
    document = _check(document, dict, at)
    hints, values = _hints(kind), dict[str, Any]()
    for f in dataclasses.fields(kind):
        if f.name in document:
            values[f.name] = _decode(hints[f.name], document[f.name], f"{at}.{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InvalidValue(f"{at}.{f.name} is missing")
    return kind(**values)


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _tag(kind: type[Any]) -> object:
    return next((f.default for f in dataclasses.fields(kind) if f.name == "kind"), None)


def _check(document: Any, kind: Any, at: str) -> Any:
    if not isinstance(document, kind):
        kinds = cast("tuple[Any, ...]", kind if isinstance(kind, tuple) else (kind,))
        expected = " or ".join(getattr(k, "__name__", str(k)) for k in kinds)
        raise InvalidValue(f"{at}: expected {expected}, got {document!r}")
    return document
