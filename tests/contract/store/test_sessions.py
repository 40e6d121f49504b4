"""store.sessions: links are taken once, sessions end with their time and with their user."""

from __future__ import annotations

from tests.support.records import T0

from opengrid.core.records.accounts import BrowserSession, SignInLink
from opengrid.store.database import Database


def link(code_hash: str = "a", expires_us: int = T0 + 10) -> SignInLink:
    return SignInLink(code_hash=code_hash, user="ada", path="/runs", expires_us=expires_us)


def add_ada(database: Database) -> None:
    with database.transaction() as tx:
        tx.accounts.ensure_user("ada", "0" * 64, T0)


def test_a_link_is_taken_once_and_in_time(database: Database) -> None:
    add_ada(database)
    with database.transaction() as tx:
        for code_hash, expires_us in (("a", T0 + 10), ("b", T0 + 10), ("late", T0)):
            tx.sessions.add_link(link(code_hash, expires_us))
    with database.transaction() as tx:
        assert [tx.sessions.take_link(c, T0) for c in ("a", "a", "late", "nosuch")] == [link(), None, None, None]
    with database.transaction() as tx:
        assert tx.sessions.take_link("b", T0 + 10) is None


def test_a_session_lasts_until_its_time_or_its_end(database: Database) -> None:
    add_ada(database)
    one = BrowserSession(token_hash="a", user="ada", created_us=T0, expires_us=T0 + 10)
    other = BrowserSession(token_hash="b", user="ada", created_us=T0 + 10, expires_us=T0 + 20)
    with database.transaction() as tx:
        tx.sessions.add(one)
    with database.read() as tx:
        assert [tx.sessions.find("a", now) for now in (T0, T0 + 9, T0 + 10)] == [one, one, None]
    with database.transaction() as tx:
        tx.sessions.add(other)
        assert tx.sessions.find("a", T0) is None, "what has expired is forgotten when another one begins"
        assert tx.sessions.find("b", T0 + 10) == other
        tx.sessions.remove("b")
        assert tx.sessions.find("b", T0 + 10) is None
