"""Secrets that a server keeps in files: made when there are none, readable for its user alone."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

from opengrid.core.tokens import new_token, token_hash
from opengrid.server.presence import write_private
from opengrid.server.settings import Settings
from opengrid.store.database import Database


def kept(path: Path, new: Callable[[], str]) -> str:
    """Return a secret of the server's own, made when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        write_private(path, new())
        return path.read_text()


def ensure_token(settings: Settings, database: Database, *, now_us: Callable[[], int]) -> None:
    """Make the embedded user's token when there is none, and let the store know its hash."""
    try:
        token = settings.token_file.read_text().strip()
    except FileNotFoundError:
        token = new_token()
        write_private(settings.token_file, token)
    with database.transaction() as tx:
        tx.accounts.ensure_user(getpass.getuser(), token_hash(token), now_us())
