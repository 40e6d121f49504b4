"""Attempts as agents and drivers name them. One that is gone or over is Superseded to them: they end."""

from __future__ import annotations

from opengrid.core.errors import NotFound, Superseded
from opengrid.core.records.attempts import Attempt
from opengrid.store.database import Transaction


def known_attempt(tx: Transaction, attempt_id: str) -> Attempt:
    """Return an attempt, over or not; Superseded when it does not exist any more."""
    try:
        return tx.attempts.find(attempt_id)
    except NotFound as error:
        raise Superseded(f"attempt {attempt_id} does not exist any more") from error


def open_attempt(tx: Transaction, attempt_id: str) -> Attempt:
    """Return an attempt that is not over; Superseded for any other."""
    attempt = known_attempt(tx, attempt_id)
    if attempt.state.is_terminal:
        raise Superseded(f"attempt {attempt_id} is over")
    return attempt
