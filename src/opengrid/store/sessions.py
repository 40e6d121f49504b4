"""Browsers' sessions, and the one-time links that open them. Only hashes of their secrets are stored."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from opengrid.core.records.accounts import BrowserSession, SignInLink
from opengrid.store.tables import browser_sessions, fields, sign_in_links


class Sessions:
    """Sign-in links and browser sessions in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_link(self, link: SignInLink) -> None:
        """Remember a link until it is taken or has expired."""
        self._connection.execute(insert(sign_in_links).values(**_values(link)))

    def take_link(self, code_hash: str, now_us: int) -> SignInLink | None:
        """Return the link with this code and remove it, so that nobody takes it twice; None when it is not valid."""
        self._connection.execute(delete(sign_in_links).where(sign_in_links.c.expires_us <= now_us))
        its_row = sign_in_links.c.code_hash == code_hash
        row = self._connection.execute(select(sign_in_links).where(its_row)).mappings().first()
        self._connection.execute(delete(sign_in_links).where(its_row))
        return None if row is None else SignInLink(**fields(row))

    def add(self, session: BrowserSession) -> None:
        """Remember a session, and forget those that have expired."""
        self._connection.execute(delete(browser_sessions).where(browser_sessions.c.expires_us <= session.created_us))
        self._connection.execute(insert(browser_sessions).values(**_values(session)))

    def find(self, token_hash: str, now_us: int) -> BrowserSession | None:
        """Return the session with this token; None when there is none, or it has expired."""
        valid = (browser_sessions.c.token_hash == token_hash, browser_sessions.c.expires_us > now_us)
        row = self._connection.execute(select(browser_sessions).where(*valid)).mappings().first()
        return None if row is None else BrowserSession(**fields(row))

    def remove(self, token_hash: str) -> None:
        """End a session. Idempotent."""
        self._connection.execute(delete(browser_sessions).where(browser_sessions.c.token_hash == token_hash))

    def remove_all(self, user: str) -> list[str]:
        """End all sessions of a user, and what would open another; return the sessions' hashes."""
        its_rows = browser_sessions.c.user == user
        hashes = self._connection.execute(select(browser_sessions.c.token_hash).where(its_rows)).scalars().all()
        self._connection.execute(delete(browser_sessions).where(its_rows))
        self._connection.execute(delete(sign_in_links).where(sign_in_links.c.user == user))
        return list(hashes)


def _values(record: SignInLink | BrowserSession) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
