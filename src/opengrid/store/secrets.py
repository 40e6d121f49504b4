"""Users' secrets, as sealed texts: what is in them, the store cannot tell."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from opengrid.store.tables import secrets


class Secrets:
    """Secrets in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, user: str, name: str, sealed: str, now_us: int) -> None:
        """Store a secret; another one of that user and name is replaced."""
        its_row = (secrets.c.user == user, secrets.c.name == name)
        changed = self._connection.execute(update(secrets).where(*its_row).values(sealed=sealed, changed_us=now_us))
        if changed.rowcount == 0:
            row = {"user": user, "name": name, "sealed": sealed, "changed_us": now_us}
            self._connection.execute(insert(secrets).values(row))

    def list(self, user: str) -> list[tuple[str, int]]:
        """Return a user's names of secrets, with when each was changed, by name."""
        found = select(secrets.c.name, secrets.c.changed_us).where(secrets.c.user == user).order_by(secrets.c.name)
        return [(row.name, row.changed_us) for row in self._connection.execute(found)]

    def sealed(self, user: str, name: str) -> str | None:
        """Return a secret as it is stored; None when there is none."""
        found = select(secrets.c.sealed).where(secrets.c.user == user, secrets.c.name == name)
        return self._connection.execute(found).scalar()

    def remove(self, user: str, name: str) -> bool:
        """Forget a secret; False when there was none."""
        its_row = (secrets.c.user == user, secrets.c.name == name)
        return self._connection.execute(delete(secrets).where(*its_row)).rowcount == 1
