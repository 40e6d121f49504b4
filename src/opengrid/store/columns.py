"""Column types that turn what records hold into what databases hold, and back."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar, cast

from sqlalchemy import JSON, BigInteger, Integer
from sqlalchemy import Text as SqlText
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from opengrid.core.codec import from_json, to_json

E = TypeVar("E", bound=Enum)

#: A number that the database counts up itself; SQLite does that for INTEGER alone.
Sequence = BigInteger().with_variant(Integer(), "sqlite")


class Text(TypeDecorator[str]):
    """Any string. What databases do not store, NUL and lone surrogates, is replaced: a rank may print anything."""

    impl = SqlText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what cannot be stored."""
        if value is None or (value.isprintable() and value.isascii()):
            return value
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Member(TypeDecorator[E]):
    """A member of an enum, stored as its value."""

    impl = SqlText
    cache_ok = True

    def __init__(self, kind: type[E]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:
        """Return the member's value."""
        return None if value is None else str(value.value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:
        """Return the member with this value."""
        return None if value is None else self.kind(value)


class Document(TypeDecorator[Any]):
    """A value of core, stored as the JSON document that core.codec makes of it; None is NULL."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: object) -> None:
        super().__init__(none_as_null=True)
        self.kind = kind

    def process_bind_param(self, value: object, dialect: Dialect) -> object:
        """Return what json.dumps takes."""
        return to_json(value)

    def process_result_value(self, value: object, dialect: Dialect) -> object:
        """Build the value from its document."""
        return None if value is None else from_json(cast("type[object]", self.kind), value)
