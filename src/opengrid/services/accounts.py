"""Accounts: one token per person, known only as a hash, and taken away at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.names import check_user_name
from opengrid.core.records.accounts import User
from opengrid.core.tokens import new_token, token_hash
from opengrid.store.database import Database


class Accounts:
    """Use cases around users. `owner` runs the server and has a token in a file of their own."""

    def __init__(
        self, database: Database, owner: str, *, ended: Sequence[Callable[[str], object]], now_us: Callable[[], int]
    ) -> None:
        self._database, self._owner, self._ended, self._now_us = database, owner, ended, now_us

    def create(self, name: str) -> str:
        """Make an account, or give one without a token a new one; return the token, which nobody can ask for again."""
        check_user_name(name)
        token = new_token()
        with self._database.transaction() as tx:
            known = tx.accounts.find(name)
            if name == self._owner:
                raise Conflict(f"{name} runs the server", hint="and needs no other token than the one in GRID_HOME")
            if known is not None and known.is_active:
                raise Conflict(
                    f"there is already a user {name}",
                    hint=f"a lost token cannot be shown again: `grid user revoke {name}`, then create it anew",
                )
            tx.accounts.ensure_user(name, token_hash(token), self._now_us())
        return token

    def list(self) -> list[User]:
        """Return all users, by name."""
        with self._database.read() as tx:
            return tx.accounts.list()

    def revoke(self, name: str) -> None:
        """Make a user's token worthless at once; what runs goes on, and what they made stays theirs."""
        if name == self._owner:
            raise Conflict(
                f"{name} runs the server and cannot be shut out",
                hint="a new token for yourself: `grid server stop`, remove the file token in GRID_HOME, start again",
            )
        with self._database.transaction() as tx:
            user = tx.accounts.find(name)
            if user is None:
                names = ", ".join(other.name for other in tx.accounts.list())
                raise NotFound(f"there is no user {name!r}", hint=f"there are {names}")
            if not user.is_active:
                raise Conflict(f"{name} has no token", hint=f"`grid user create {name}` gives one again")
            tx.accounts.revoke(name)
        for forget in self._ended:
            forget(name)
