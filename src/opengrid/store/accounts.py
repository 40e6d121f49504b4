"""Users and their tokens."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from opengrid.store.tables import users
from opengrid.store.upsert import upserting


class Accounts:
    """Users in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ensure_user(self, name: str, token_hash: str, now_us: int) -> None:
        """Make sure that the token with this hash is the user's, who has one: a former one is no longer valid."""
        if self.user_of_token(token_hash) == name:
            return
        self._connection.execute(update(users).where(users.c.token_hash == token_hash).values(token_hash=None))
        new = upserting(self._connection, users).values(name=name, token_hash=token_hash, created_us=now_us)
        self._connection.execute(new.on_conflict_do_update(index_elements=["name"], set_={"token_hash": token_hash}))

    def user_of_token(self, token_hash: str) -> str | None:
        """Return whose token has this hash."""
        return self._connection.execute(select(users.c.name).where(users.c.token_hash == token_hash)).scalar()
