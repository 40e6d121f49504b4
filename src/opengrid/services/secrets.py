"""Secrets: what ranks get and nobody sees. Encrypted in the store, with a key that lies on the server's disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken

from opengrid.core.errors import InvalidValue, NotFound, Unusable
from opengrid.core.masking import LEAST_LENGTH
from opengrid.core.names import check_secret_name
from opengrid.store.database import Database

_LONGEST = 64 << 10


class Secrets:
    """Users' secrets; each user has their own."""

    def __init__(self, database: Database, key: str, *, now_us: Callable[[], int]) -> None:
        self._database, self._fernet, self._now_us = database, Fernet(key), now_us

    def put(self, user: str, name: str, value: str) -> None:
        """Store or replace a secret."""
        check_secret_name(name)
        if not LEAST_LENGTH <= len(value) <= _LONGEST or "\0" in value:
            raise InvalidValue(
                f"the value of {name} has {len(value)} characters",
                hint=f"{LEAST_LENGTH} to {_LONGEST}, none of them NUL: a shorter one could not be hidden in logs",
                field="value",
            )
        # With whose it is: a row that somebody moved to another user in the database opens no door.
        sealed = self._fernet.encrypt(json.dumps([user, name, value]).encode()).decode()
        with self._database.transaction() as tx:
            tx.secrets.put(user, name, sealed, self._now_us())

    def list(self, user: str) -> list[tuple[str, int]]:
        """Return a user's names of secrets, with when (us) each was changed."""
        with self._database.read() as tx:
            return tx.secrets.list(user)

    def remove(self, user: str, name: str) -> None:
        """Forget a secret; NotFound when there is none."""
        with self._database.transaction() as tx:
            if not tx.secrets.remove(user, name):
                raise _not_found(name, [known for known, _ in tx.secrets.list(user)])

    def check(self, user: str, names: Iterable[str]) -> None:
        """Raise NotFound when one of these does not exist."""
        known = [name for name, _ in self.list(user)]
        for name in names:
            if name not in known:
                raise _not_found(name, known)

    def values(self, user: str, names: Iterable[str]) -> dict[str, str]:
        """Return the values of secrets; NotFound when one does not exist any more."""
        return {name: self._value(user, name) for name in names}

    def known(self, user: str) -> list[str]:
        """Return all values that a user keeps secret, but for those that cannot be opened any more."""
        values: list[str] = []
        for name, _ in self.list(user):
            with suppress(NotFound, Unusable):
                values.append(self._value(user, name))
        return values

    def git_token(self, user: str, host: str) -> str | None:
        """Return the token with which a user's repositories on a host are read; None when none is stored."""
        with self._database.read() as tx:
            exists = tx.secrets.sealed(user, f"git@{host}") is not None
        return self._value(user, f"git@{host}") if exists else None

    def _value(self, user: str, name: str) -> str:
        with self._database.read() as tx:
            sealed = tx.secrets.sealed(user, name)
        if sealed is None:
            raise _not_found(name, [])
        try:
            owner, its_name, value = json.loads(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, ValueError):
            owner, its_name, value = "", "", ""
        if (owner, its_name) != (user, name):
            raise Unusable(
                f"the secret {name} cannot be opened: the server has another key than when it was stored",
                hint=f"`grid secret set {name}` stores it anew",
            )
        return value


def _not_found(name: str, known: Iterable[str]) -> NotFound:
    there = ", ".join(known)
    return NotFound(
        f"you have no secret {name}",
        hint=f"`grid secret set {name}` stores one" + (f"; there is {there}" if there else ""),
        field="secrets",
    )


def new_key() -> str:
    """Return a key to seal secrets with."""
    return Fernet.generate_key().decode()
