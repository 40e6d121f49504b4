"""Users, and the browsers that they sign in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody with an account."""

    name: str
    is_active: bool  #: has a token; without one, runs and datastores are still theirs
    created_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLink:
    """A link that signs one browser in, once."""

    code_hash: str
    user: str
    path: str  #: the page that it leads to
    expires_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A browser that is signed in."""

    token_hash: str
    user: str
    created_us: int
    expires_us: int
