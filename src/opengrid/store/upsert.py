"""Inserts that mind what is there already; each database has its own way to say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(connection: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert a row; False when one with its key is there."""
    return connection.execute(upserting(connection, table).values(values).on_conflict_do_nothing()).rowcount == 1


def upserting(connection: Connection, table: Table) -> sqlite.Insert:
    """Return an INSERT that knows on_conflict_do_nothing and on_conflict_do_update."""
    if connection.dialect.name == "postgresql":
        return cast("sqlite.Insert", postgresql.insert(table))  # the same methods, but no base class that has them
    return sqlite.insert(table)
