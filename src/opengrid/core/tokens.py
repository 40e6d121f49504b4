"""Tokens: made here, stored only as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new_token() -> str:
    """Return a fresh secret with 256 bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Return what is stored of a token. Tokens are random, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, stored: str | None) -> bool:
    """Return whether `token` is the one whose hash is stored."""
    return stored is not None and hmac.compare_digest(token_hash(token), stored)


def attempt_token(secret: str, attempt_id: str) -> str:
    """Return the token of an attempt: always the same, so that a submit repeated after a crash hands out no second."""
    return hmac.new(secret.encode(), attempt_id.encode(), hashlib.sha256).hexdigest()
