"""Whether what a process of ours lives on is gone for good, so that nobody will ever ask for its work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

#: What has been missing for so long does not come back: it is no mount that was renewed, nothing being moved.
GONE_S = 20.0


def is_missing(path: Path) -> bool:
    """Return whether there is certainly nothing at `path`. A disk that does not answer may still have it."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def missing_one(paths: Iterable[Path]) -> str | None:
    """Return the first of some files and folders that is missing, None when all are there."""
    return next((str(path) for path in paths if is_missing(path)), None)


class GoneWatch:
    """Tells that something is gone for good, by looking every few seconds whether it is missing."""

    def __init__(self, missing: Callable[[], str | None], limit_s: float = GONE_S) -> None:
        self._missing, self._limit_s = missing, limit_s
        self._since: float | None = None

    def look(self, now: float) -> str | None:
        """Return what is missing, and has been at every look of the whole limit; `now` is monotonic."""
        missing = self._missing()
        if missing is None:
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        return missing if now - self._since >= self._limit_s else None
