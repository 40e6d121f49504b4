"""Users and their tokens."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from opengrid.core.records.accounts import User
from opengrid.store.tables import users


class Accounts:
    """Users in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ensure_user(self, name: str, token_hash: str, now_us: int) -> None:
        """Make sure that the token with this hash is the user's, who has one: a former one is no longer valid."""
        if self.user_of_token(token_hash) == name:
            return
        self._connection.execute(update(users).where(users.c.token_hash == token_hash).values(token_hash=None))
        known = update(users).where(users.c.name == name).values(token_hash=token_hash)
        if self._connection.execute(known).rowcount == 0:
            self._connection.execute(insert(users).values(name=name, token_hash=token_hash, created_us=now_us))

    def user_of_token(self, token_hash: str) -> str | None:
        """Return whose token has this hash."""
        return self._connection.execute(select(users.c.name).where(users.c.token_hash == token_hash)).scalar()

    def find(self, name: str) -> User | None:
        """Return the user with this name; None when there is none."""
        return next((user for user in self.list() if user.name == name), None)

    def list(self) -> list[User]:
        """Return all users, by name."""
        rows = self._connection.execute(select(users).order_by(users.c.name))
        return [User(name=row.name, is_active=row.token_hash is not None, created_us=row.created_us) for row in rows]

    def revoke(self, name: str) -> None:
        """Take a user's token away; what they made stays theirs."""
        self._connection.execute(update(users).where(users.c.name == name).values(token_hash=None))
