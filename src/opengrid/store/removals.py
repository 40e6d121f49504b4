"""What is to be removed from the disk: written down with what forgets it, crossed out when it is gone."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from opengrid.core.records.removals import Removal
from opengrid.store.tables import removals


class Removals:
    """Removals in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, removal: Removal) -> None:
        """Write down what is to be removed when the transaction is committed."""
        self._connection.execute(insert(removals).values(id=removal.id, what=removal))

    def all(self) -> list[Removal]:
        """Return what is not removed yet, as far as anybody knows."""
        return list(self._connection.execute(select(removals.c.what).order_by(removals.c.id)).scalars())

    def done(self, id: str) -> None:
        """Cross out what was removed. Repeating is harmless."""
        self._connection.execute(delete(removals).where(removals.c.id == id))
