"""Browsers signed in: a one-time link, asked for by whoever has a token, is exchanged for a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue, Unauthorized
from opengrid.core.records.accounts import BrowserSession, SignInLink
from opengrid.core.tokens import new_token, token_hash
from opengrid.store.database import Database

#: A link is for now; a session for the week.
LINK_LIFE_US, SESSION_LIFE_US = 5 * 60 * 1_000_000, 7 * 24 * 3600 * 1_000_000

_LONGEST_PATH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What an exchanged link gives."""

    token: str  #: the session's secret, known to the browser alone
    path: str  #: the page to go to
    session: BrowserSession


class SignIn:
    """Links and sessions. All of them are stored as hashes, so that they outlive the server and no reader uses them."""

    def __init__(self, database: Database, *, now_us: Callable[[], int]) -> None:
        self._database, self._now_us = database, now_us
        self._known: dict[str, BrowserSession] = {}
        self._ended: set[str] = set()  #: so that whoever read a session just before its end does not keep it

    def make_link(self, user: str, path: str) -> tuple[str, SignInLink]:
        """Return a code that signs `user` in once within five minutes, and its link; it leads to a page of ours."""
        if not path.startswith("/") or path.startswith("//") or not path.isprintable() or len(path) > _LONGEST_PATH:
            raise InvalidValue(f"{path[:100]!r} is no page of this server", hint="such as /runs", field="path")
        code = new_token()
        link = SignInLink(code_hash=token_hash(code), user=user, path=path, expires_us=self._now_us() + LINK_LIFE_US)
        with self._database.transaction() as tx:
            tx.sessions.add_link(link)
        return code, link

    def exchange(self, code: str) -> SignedIn:
        """Open a session for a link's code, which is then of no use any more; Unauthorized for any other code."""
        now, token = self._now_us(), new_token()
        with self._database.transaction() as tx:
            link = tx.sessions.take_link(token_hash(code), now)
            if link is not None:
                session = BrowserSession(
                    token_hash=token_hash(token), user=link.user, created_us=now, expires_us=now + SESSION_LIFE_US
                )
                tx.sessions.add(session)
                return SignedIn(token=token, path=link.path, session=session)
        raise Unauthorized(
            "this link was used before, or is older than five minutes", hint="`grid view` makes a new one"
        )

    def session(self, token: str) -> BrowserSession | None:
        """Return the session that has this token; from memory after the first time. None when it is over."""
        hashed = token_hash(token)
        found = self._known.get(hashed)
        if found is None and hashed not in self._ended:
            with self._database.read() as tx:
                found = tx.sessions.find(hashed, self._now_us())
            if found is not None:
                self._known[hashed] = found
        if found is None or hashed in self._ended or found.expires_us <= self._now_us():
            self._known.pop(hashed, None)
            return None
        return found

    def sign_out_all(self, user: str) -> None:
        """End all sessions of a user, and make their links worthless. Idempotent."""
        with self._database.transaction() as tx:
            self._ended.update(tx.sessions.remove_all(user))

    def sign_out(self, token: str) -> None:
        """End a session. Idempotent."""
        hashed = token_hash(token)
        self._ended.add(hashed)
        with self._database.transaction() as tx:
            tx.sessions.remove(hashed)
